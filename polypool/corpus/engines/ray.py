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
from contextlib import contextmanager, nullcontext
from typing import Any

from polypool.corpus.engines.child import explain
from polypool.corpus.engines.local import ATTEMPTS
from polypool.corpus.errors import CorpusError, StoppedError, first_line
from polypool.corpus.work import Job, Made, Worker

#: The object store of the embedded Ray holds a job and counts; this is the least that it takes.
_OBJECT_STORE = 100 << 20
#: How long a cluster may take to answer.
_SECONDS = 10.0


class ShardWorker:
    """What an actor does."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._worker: Worker | None = None

    def make(self, number: int) -> tuple[str, Made | str]:
        """A shard, or why there is none: an exception would lose its line in Ray's own."""
        try:
            self._worker = self._worker or Worker(self._job)
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
        needs = {"num_cpus": job.threads, "num_gpus": 0 if job.device == "cpu" else 1}
        actor = ray.remote(**needs)(ShardWorker)
        shared = ray.put(job)
        waiting, tried = deque(todo), dict.fromkeys(todo, 0)
        idle = [actor.remote(shared) for _ in range(min(workers, len(todo)))]
        running: dict[Any, tuple[Any, int]] = {}
        while waiting or running:
            while waiting and idle:
                worker, number = idle.pop(), waiting.popleft()
                running[worker.make.remote(number)] = (worker, number)
            done, _ = ray.wait(list(running), num_returns=1)
            worker, number = running.pop(done[0])
            try:
                kind, content = ray.get(done[0])
            except ray.exceptions.RayError as error:
                tried[number] += 1
                if tried[number] >= ATTEMPTS:
                    raise StoppedError(
                        f"shard {number} ended {ATTEMPTS} workers of Ray, the last with {first_line(error)}."
                    ) from error
                waiting.appendleft(number)
                idle.append(actor.remote(shared))
                continue
            if kind == "failed":
                raise StoppedError(content)
            idle.append(worker)
            yield content


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
