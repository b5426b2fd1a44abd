"""Ray makes the same files, and goes on when a worker dies."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest

from polypool.corpus import CorpusError, StoppedError
from polypool.corpus.engines import ray as engine
from polypool.corpus.engines.local import ATTEMPTS
from tests.corpus.stub import contents, lines, run


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CorpusError, match=r"engine ray needs Ray: pip install polypool\[corpus\]"):
        run(lines(tmp_path, 3), tmp_path / "out", engine="ray")


class _Dead(Exception):
    """Stands for Ray's own."""


#: What an actor is asked for: which actor, which of its methods, and with what.
Asked: TypeAlias = "tuple[_Actor, str, tuple[int, ...]]"


class _Method:
    def __init__(self, worker: _Actor, name: str) -> None:
        self._worker, self._name = worker, name

    def remote(self, *arguments: int) -> Asked:
        return self._worker, self._name, arguments


class _Actor:
    """A worker of the pretended Ray.

    It dies at the shards that are listed, each time they are listed; at its start where -1 is. It is there only while
    there is room for it.
    """

    dies: list[int]
    room: int
    alive: list[_Actor]

    def __init__(self, job: Any) -> None:
        self._worker = engine.ShardWorker(job)
        self.ready, self.make = _Method(self, "ready"), _Method(self, "make")
        self.alive.append(self)

    @property
    def placed(self) -> bool:
        return self in self.alive[: self.room]

    def run(self, name: str, *arguments: int) -> Any:
        number = arguments[0] if arguments else -1
        if number in self.dies:
            self.dies.remove(number)
            raise _Dead("the worker died")
        return getattr(self._worker, name)(*arguments)


class _Remote:
    @staticmethod
    def remote(job: Any) -> _Actor:
        return _Actor(job)


class PretendedRay:
    """What `run_ray` uses of Ray, in this process: which shards are given out again is ours, and not Ray's."""

    exceptions = SimpleNamespace(RayError=_Dead)

    def remote(self, **_: Any) -> Any:
        return lambda _: _Remote

    def put(self, content: Any) -> Any:
        return content

    def wait(self, tasks: list[Asked], num_returns: int) -> tuple[list[Asked], list[Asked]]:
        done = [task for task in tasks if task[0].placed][:num_returns]
        assert done, "Ray would wait for ever"
        return done, [task for task in tasks if task not in done]

    def get(self, task: Asked) -> Any:
        actor, name, arguments = task
        return actor.run(name, *arguments)

    def kill(self, actor: _Actor) -> None:
        _Actor.alive.remove(actor)

    def is_initialized(self) -> bool:
        return True


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setitem(sys.modules, "ray", PretendedRay())
    _Actor.dies, _Actor.room, _Actor.alive = [], 10, []
    return _Actor.dies


@pytest.mark.parametrize("deaths", [[], [0], [2, 2], [0, 1, 2, 3], [-1, 3, -1]])
def test_a_worker_that_dies_is_replaced(deaths: list[int], dies: list[int], tmp_path: Path) -> None:
    run(lines(tmp_path, 14), tmp_path / "here")
    dies += deaths
    done = run(lines(tmp_path, 14), tmp_path / "out", engine="ray", workers=2)
    assert (done.made, dies) == (4, [])
    assert contents(tmp_path / "out") == contents(tmp_path / "here")


def test_a_shard_that_always_kills_its_worker_ends_the_job(dies: list[int], tmp_path: Path) -> None:
    dies += [1] * ATTEMPTS
    with pytest.raises(StoppedError, match="shard 1 ended 3 workers of Ray, the last with the worker died"):
        run(lines(tmp_path, 14), tmp_path / "out", engine="ray", workers=2)


def test_workers_that_cannot_start_end_the_job(dies: list[int], tmp_path: Path) -> None:
    dies += [-1] * ATTEMPTS
    with pytest.raises(StoppedError, match="the start ended 3 workers of Ray, the last with the worker died"):
        run(lines(tmp_path, 14), tmp_path / "out", engine="ray", workers=2)
    assert not _Actor.alive


@pytest.mark.parametrize("deaths", [[], [1, 2]])
def test_workers_without_room_get_no_shards(deaths: list[int], dies: list[int], tmp_path: Path) -> None:
    """There is room for one of four; none is left when the job is done."""
    _Actor.room = 1
    dies += deaths
    assert run(lines(tmp_path, 14), tmp_path / "out", engine="ray", workers=4).made == 4
    assert not _Actor.alive


def test_a_shard_that_fails_ends_the_job(
    dies: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from polypool.corpus.work import Worker

    def make(*_: object) -> None:
        raise OSError(28, "No space left on device", "part")

    monkeypatch.setattr(Worker, "make", make)
    with pytest.raises(StoppedError, match="part: No space left on device"):
        run(lines(tmp_path, 14), tmp_path / "out", engine="ray", workers=2)


def test_an_address_where_nothing_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(CorpusError, match=rf"no Ray cluster answers at .*:{port}: .*refused"):
        run(lines(tmp_path, 3), tmp_path / "out", engine="ray", address=f"127.0.0.1:{port}")


def listening() -> set[str]:
    """The addresses of this machine, in hexadecimal, at which something listens to TCP."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                found.add(fields[1])
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp6").exists(), reason="there is no /proc/net to see who listens")
def test_ray_on_this_machine_is_on_loopback(tmp_path: Path) -> None:
    before = listening()
    seen: set[str] = set()
    run(
        lines(tmp_path, 8),
        tmp_path / "out",
        engine="ray",
        workers=1,
        on_event=lambda event: seen.update(listening() - before) if event["event"] == "shard" else None,
    )
    loopback = ("0100007F:", "0000000000000000FFFF00000100007F:", "00000000000000000000000001000000:")
    assert seen
    assert not [address for address in seen if not address.startswith(loopback)]


@pytest.mark.slow
def test_ray_itself(tmp_path: Path) -> None:
    """On loopback, with a real model; it ends with the job."""
    import json

    import ray

    from polypool.corpus import embed
    from tests.text import tiny

    model = tiny.plain_folder(tmp_path / "model")
    source = tmp_path / "t.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in list(tiny.TEXTS) * 4))
    settings: dict[str, Any] = {"pool": "mean", "shard_rows": 8, "device": "cpu"}
    embed(source, tmp_path / "here", model, workers=1, **settings)
    done = embed(source, tmp_path / "ray", model, workers=2, engine="ray", **settings)
    assert done.made == 4
    assert contents(tmp_path / "here") == contents(tmp_path / "ray")
    assert not ray.is_initialized()


@pytest.mark.slow
def test_a_cluster_by_its_address(tmp_path: Path) -> None:
    """It takes as many workers as the cluster has room for, and the cluster outlives the job."""
    import ray
    from ray.cluster_utils import Cluster

    run(lines(tmp_path, 18), tmp_path / "here")
    head = {
        "num_cpus": 2,
        "node_ip_address": "127.0.0.1",
        "include_dashboard": False,
        "object_store_memory": 100 << 20,
    }
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for out in ("first", "second"):
            done = run(
                lines(tmp_path, 18), tmp_path / out, engine="ray", workers=None, address=cluster.address
            )
            assert done.made == 5
            assert contents(tmp_path / out) == contents(tmp_path / "here")
            assert not ray.is_initialized()
    finally:
        cluster.shutdown()
