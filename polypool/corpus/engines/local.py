"""Shards made by this process, or by several of this machine.

Several are fresh interpreters (`engines.child`) and no forks, and they do not import the main module of the user's
program again. A child that dies is replaced, and its shard given out again. A child whose parent dies ends at once.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from polypool.corpus.adapter import Adapter
from polypool.corpus.errors import StoppedError
from polypool.corpus.work import Job, Made, Packed, Worker, packed

#: Called with a shard and so many more of its rows and tokens.
ShardTick = Callable[[int, int, int], None]
#: How often a shard is tried when whoever makes it dies.
ATTEMPTS = 3


def run_here(job: Job, todo: Sequence[int], adapter: Adapter, tick: ShardTick) -> Generator[Made, None, None]:
    """One shard after the other, in this process.

    Args:
        job: Whose shards.
        todo: Which.
        adapter: With its model loaded.
        tick: Told of every batch.
    """
    threads = torch.get_num_threads()
    try:
        worker = Worker(job, adapter)
        for number in todo:
            yield worker.make(number, partial(tick, number))
    finally:
        torch.set_num_threads(threads)


def run_local(job: Job, todo: Sequence[int], workers: int, tick: ShardTick) -> Generator[Made, None, None]:
    """Several processes, each with a model of its own.

    Args:
        job: Whose shards.
        todo: Which.
        workers: How many processes.
        tick: Told of every batch.

    Raises:
        StoppedError: A shard failed, or whoever made it died, `ATTEMPTS` times.
    """
    sent, waiting = packed(job), deque(todo)
    tried = dict.fromkeys(todo, 0)
    children: dict[Any, _Child] = {}
    try:
        for _ in range(min(workers, len(todo))):
            _start(sent, children)
        while waiting or any(child.shard is not None for child in children.values()):
            for child in children.values():
                if child.shard is None and child.ready and waiting:
                    child.give(waiting.popleft())
            for ready in wait(list(children)):
                child = children[ready]
                try:
                    kind, *content = child.connection.recv()
                except (EOFError, ConnectionResetError):
                    del children[ready]
                    _again(child, waiting, tried)
                    _start(sent, children)
                    continue
                if kind == "tick":
                    tick(*content)
                elif kind == "failed":
                    raise StoppedError(content[0])
                else:
                    child.ready = True
                    if kind == "made":
                        child.shard = None
                        yield content[0]
    finally:
        for child in children.values():
            child.end()


def _start(job: Packed, children: dict[Any, _Child]) -> None:
    child = _Child(job)
    children[child.connection] = child


def _again(child: _Child, waiting: deque[int], tried: dict[int, int]) -> None:
    """Gives the shard of a dead child out again."""
    code = child.end()
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    if child.shard is None:
        raise StoppedError(f"a worker ended at its start, with {how}; what it said is above.")
    tried[child.shard] += 1
    if tried[child.shard] >= ATTEMPTS:
        raise StoppedError(
            f"shard {child.shard} ended {ATTEMPTS} workers, the last with {how}. Is there enough memory for so many "
            "workers?"
        )
    waiting.appendleft(child.shard)


class _Child:
    """A process that makes shards."""

    def __init__(self, job: Packed) -> None:
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).parents[3])
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        }
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "polypool.corpus.engines.child", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,  # standard output is for the job's own lines
                env=environment,
                start_new_session=True,  # Ctrl-C is for the parent alone
            )
        finally:
            theirs.close()
        self.connection = Connection(ours.detach())
        self.shard: int | None = None
        self.ready = False
        self._send(job)

    def give(self, shard: int) -> None:
        """The next shard to make."""
        self.shard = shard
        self._send(shard)

    def _send(self, content: object) -> None:
        with suppress(ConnectionError):  # it has died; the next read says so
            self.connection.send(content)

    def end(self) -> int:
        """Ends it, whatever it is doing: what it was writing is no shard yet. Returns its exit code."""
        self.connection.close()
        try:
            return self.process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
