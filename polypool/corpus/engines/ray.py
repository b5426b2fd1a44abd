"""Shards made by Ray: one actor for each worker, which loads the model once.

Without an address Ray runs on this machine, on loopback, without its dashboard, and ends with the job. With one, the
job uses that cluster: its workers need polypool, the model, the input and the output at the paths or URLs that the job
was given. Shards do not travel through Ray: each actor writes its own.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from polypool._errors import first_line
from polypool.corpus.engines.child import explain
from polypool.corpus.engines.local import ATTEMPTS
from polypool.corpus.errors import CorpusError, StoppedError
from polypool.corpus.work import Job, Made, Packed, Worker, packed, unpacked

#: The object store of the embedded Ray holds a job and counts; this is the least that it takes.
_OBJECT_STORE = 100 << 20
#: How long a cluster may take to answer.
_SECONDS = 10.0


class ShardWorker:
    """What an actor does. An exception would lose its line in Ray's own, so that each answer says what it is."""

    def __init__(self, job: Packed) -> None:
        self._job = job
        self._worker: Worker | None = None

    def ready(self) -> tuple[str, str]:
        """Loads the model."""
        try:
            self._worker = Worker(unpacked(self._job))
        except Exception as error:  # noqa: BLE001 - the job ends with it
            return "failed", explain(error)
        return "ready", ""

    def make(self, number: int) -> tuple[str, Made | str]:
        """A shard, or why there is none."""
        if self._worker is None:
            return "failed", "a worker of Ray was not made ready."
        try:
            return "made", self._worker.make(number)
        except Exception as error:  # noqa: BLE001 - the job ends with it
            return "failed", explain(error)


def run_ray(
    job: Job, todo: Sequence[int], workers: int | None, address: str | None
) -> Generator[Made, None, None]:
    """Actors of Ray.

    Args:
        job: Whose shards.
        todo: Which.
        workers: How many actors; as many as the cluster has room for when None.
        address: Of a cluster; one on this machine, for this job alone, when None.

    Raises:
        CorpusError: Ray is not installed, or there is no cluster at the address.
        StoppedError: A shard failed, or whoever made it died, `ATTEMPTS` times.
    """
    try:
        import ray
    except ImportError as error:
        raise CorpusError("engine ray needs Ray: pip install polypool[corpus].") from error
    with _cluster(ray, job, workers, address):
        if workers is None:
            workers = _room(ray, job)
        yield from _Actors(ray, job, min(workers, len(todo)), todo).shards()


class _Actors:
    """The workers of one job, and what each of them does.

    A shard goes to an actor that has said that it is there: for more of them than the cluster has room for, Ray waits,
    for ever if those that work hold what the others need.
    """

    def __init__(self, ray: Any, job: Job, workers: int, todo: Sequence[int]) -> None:
        self._ray = ray
        needs = {"num_cpus": job.threads, "num_gpus": 0 if job.device == "cpu" else 1}
        self._kind = ray.remote(**needs)(ShardWorker)
        self._job = ray.put(packed(job))
        self._waiting, self._left = deque(todo), len(todo)
        self._tried: dict[int | None, int] = {}
        self._idle: list[Any] = []
        #: By what Ray calls its result: an actor, and the shard that it makes, or None while it starts.
        self._running: dict[Any, tuple[Any, int | None]] = {}
        for _ in range(workers):
            self._start()

    def shards(self) -> Generator[Made, None, None]:
        """All of them, as they get done; no actor is left behind."""
        try:
            while self._left:
                while self._waiting and self._idle:
                    worker, number = self._idle.pop(), self._waiting.popleft()
                    self._running[worker.make.remote(number)] = (worker, number)
                made = self._next()
                if made is not None:
                    self._left -= 1
                    yield made
        finally:
            for worker in (*self._idle, *(worker for worker, _ in self._running.values())):
                self._end(worker)

    def _next(self) -> Made | None:
        """Waits for the next thing that happens: a shard, or an actor that is there, or is gone."""
        done, _ = self._ray.wait(list(self._running), num_returns=1)
        worker, number = self._running.pop(done[0])
        try:
            kind, content = self._ray.get(done[0])
        except self._ray.exceptions.RayError as error:
            self._end(worker)
            self._again(number, error)
            return None
        self._idle.append(worker)
        if kind == "failed":
            raise StoppedError(content)
        made: Made | None = content if kind == "made" else None
        return made

    def _again(self, number: int | None, error: Exception) -> None:
        """Another actor for one that died, and its shard given out again."""
        self._tried[number] = self._tried.get(number, 0) + 1
        if self._tried[number] >= ATTEMPTS:
            whose = "the start" if number is None else f"shard {number}"
            raise StoppedError(
                f"{whose} ended {ATTEMPTS} workers of Ray, the last with {first_line(error)}."
            ) from error
        if number is not None:
            self._waiting.appendleft(number)
        self._start()

    def _end(self, worker: Any) -> None:
        with suppress(self._ray.exceptions.RayError):  # it has ended, or the cluster has
            self._ray.kill(worker)

    def _start(self) -> None:
        worker = self._kind.remote(self._job)
        self._running[worker.ready.remote()] = (worker, None)


def _room(ray: Any, job: Job) -> int:
    """How many workers a cluster can hold at once."""
    has = ray.cluster_resources()
    room = has.get("CPU", 1) // job.threads if job.device == "cpu" else has.get("GPU", 1)
    return max(int(room), 1)


@contextmanager
def _cluster(ray: Any, job: Job, workers: int | None, address: str | None) -> Iterator[None]:
    """Ray, and its end if it was started here."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "configure_logging": True, "logging_level": "ERROR"}
    here = address is None or _on_loopback(ray, address)
    with _loopback(ray) if here else nullcontext():
        try:
            if address is None:
                ray.init(
                    address="local",  # and none that is here already
                    include_dashboard=False,
                    num_cpus=(workers or 1) * job.threads,
                    object_store_memory=_OBJECT_STORE,
                    **quiet,
                )
            else:
                ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = "on this machine" if address is None else f"at {address}"
            raise CorpusError(f"Ray does not start {where}: {first_line(error)}.") from error
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _loopback(ray: Any) -> Iterator[None]:
    """Ray uses 127.0.0.1 inside the block.

    It replaces a loopback address that it is given by the machine's own, which other machines can reach; the switch is
    the one by which it stays on loopback on systems whose firewalls ask.
    """
    constants = ray._private.ray_constants
    before, said = constants.ENABLE_RAY_CLUSTER, os.environ.get(constants.ENABLE_RAY_CLUSTERS_ENV_VAR)
    constants.ENABLE_RAY_CLUSTER = False
    os.environ[constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before
        if said is None:
            del os.environ[constants.ENABLE_RAY_CLUSTERS_ENV_VAR]
        else:
            os.environ[constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = said


def _on_loopback(ray: Any, address: str) -> bool:
    """Whether a cluster can be reached on loopback alone.

    Raises:
        CorpusError: Nothing answers at the address; Ray itself would wait for minutes.
    """
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdecimal():  # "auto", or Ray's own protocol
        return False
    reached = ray._private.services.resolve_ip_for_localhost(host)
    reason = _unreachable(reached, int(port))
    if reason is None:
        return False
    if reached != host and _unreachable(host, int(port)) is None:
        return True
    raise CorpusError(f"no Ray cluster answers at {reached}:{port}: {reason}. Start one: ray start --head.")


def _unreachable(host: str, port: int) -> str | None:
    """Why nothing can be reached there; None where something can."""
    try:
        socket.create_connection((host, port), timeout=_SECONDS).close()
    except (OSError, OverflowError) as error:
        return first_line(error)
    return None
