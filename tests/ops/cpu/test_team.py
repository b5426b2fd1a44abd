"""Kernels on torch's threads: in forked children, in workers, from several Python threads, beside torch."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.ops.cpu import team
from tests.support import normal

CHILDREN = Path(__file__).with_name("children.py")


def child(task: str, *arguments: str, **environment: str) -> Any:
    """What a task found in a process of its own."""
    root = str(Path(pp.__file__).parents[1])
    inherited = {name: value for name, value in os.environ.items() if name != "POLYPOOL_KERNELS"}
    # Into files: a pipe has no end as long as a grandchild that hangs holds it.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, str(CHILDREN), task, *arguments],
            stdout=out,
            stderr=errors,
            env=inherited | {"PYTHONPATH": root} | environment,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout=300)
        finally:
            # Its children too, if any are left.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        errors.seek(0)
        assert status == 0, errors.read()
        return json.loads(out.read().splitlines()[-1])


@pytest.fixture(params=["OpenMP", "pool"])
def _threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two threads, of torch's own team or, where there is none to borrow, of a pool."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    if request.param == "pool":
        monkeypatch.setattr(team, "_gomp", lambda: None)
    team._team.cache_clear()
    yield
    team._team.cache_clear()
    torch.set_num_threads(before)


states, graph = normal(4000, 24, dtype=torch.float32), torch.arange(4000) * 3 % 7
pictures = normal(2, 3, 150, 150, dtype=torch.float32)
POOL = pp.build("mean+max+std")


def pooled() -> list[Tensor]:
    """Results and a gradient, with kernels of both ways to store cells."""
    x = states.clone().requires_grad_()
    y = POOL(pp.Nodes(x, graph, 7))
    return [y.detach(), *torch.autograd.grad(y.square().sum(), x), POOL(pp.Grid(pictures))]


def equal(found: list[Tensor], wanted: list[Tensor]) -> bool:
    return all(map(torch.equal, found, wanted))


@pytest.fixture(scope="module")
def alone() -> list[Tensor]:
    """By one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return pooled()
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
def test_several_threads_of_python(alone: list[Tensor]) -> None:
    """Eight of them, twenty calls each, none of which waits for another."""

    def twenty(_: int) -> bool:
        return all(equal(pooled(), alone) for _ in range(20))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(twenty, range(8)))


@pytest.mark.usefixtures("_threads")
def test_beside_operations_of_torch(alone: list[Tensor]) -> None:
    x = normal(300, 300, dtype=torch.float32)
    product, total = x @ x, x.repeat(2, 2).sum(0)
    for _ in range(20):
        assert equal(pooled(), alone)
        assert torch.equal(x @ x, product)
        assert torch.equal(x.repeat(2, 2).sum(0), total)


@pytest.mark.usefixtures("_threads")
def test_a_backward_pass_in_another_thread(alone: list[Tensor]) -> None:
    """One thread pools, another differentiates."""
    x = states.clone().requires_grad_()
    loss = POOL(pp.Nodes(x, graph, 7)).square().sum()
    backward = threading.Thread(target=loss.backward)
    backward.start()
    backward.join()
    assert x.grad is not None
    assert torch.equal(x.grad, alone[1])


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_any_number_of_threads(alone: list[Tensor], threads: int) -> None:
    torch.set_num_threads(threads)
    assert team.threads() == threads
    assert equal(pooled(), alone)


def test_threads_of_torch_are_borrowed() -> None:
    """On Linux torch comes with the runtime that has the entry point."""
    if sys.platform == "linux":
        assert team._gomp() is not None


def test_without_an_entry_point_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another OpenMP runtime has no such name, and on other platforms the library has another one."""

    def missing(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert team._gomp() is None
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert team._gomp() is None


@pytest.mark.usefixtures("_threads")
def test_every_thread_runs_a_kernel_once() -> None:
    """With the pointer that it was given, without the interpreter's lock."""
    job, calls = np.zeros(8, np.int64), []

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    def kernel(pointer: int) -> None:
        calls.append((pointer, threading.get_ident()))

    address = ctypes.cast(kernel, ctypes.c_void_p).value
    assert address is not None
    before = team.launches()
    team.launch("a kernel of a test", address, job, 2)
    assert [pointer for pointer, _ in calls] == [job.ctypes.data] * 2
    assert team.launches() == before | {"a kernel of a test": 1}
    team.launch("a kernel of a test", address, job, 1)
    assert calls[-1] == (job.ctypes.data, threading.get_ident())
    assert team.launches()["a kernel of a test"] == 2
    del team._launches["a kernel of a test"]


def test_few_numbers_need_no_second_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    launch = team.launch

    def noted(name: str, address: int, job: team.Job, threads: int) -> None:
        started.append(threads)
        launch(name, address, job, threads)

    monkeypatch.setattr(team, "launch", noted)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        pp.build("std")(pp.Nodes(states[:100], graph[:100], 7))
        pp.build("std")(pp.Nodes(states, graph, 7))
    finally:
        torch.set_num_threads(before)
    assert started == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_forked_children() -> None:
    """They have no team, as torch has none there: one thread computes, and nothing hangs."""
    found = child("fork", OMP_NUM_THREADS="2")
    wanted = found.pop("wanted")
    items = found.pop("wanted items")
    assert found.pop("threads") == 1
    for how in ("os.fork", "twice", "after", "pool", "pool, os.fork"):
        assert found[how] == wanted, how
    for how in ("loader", "pool, loader"):
        assert found[how] == items, how


def test_spawned_children() -> None:
    """They have a team of their own."""
    found = child("spawn", OMP_NUM_THREADS="2")
    assert found["loader"] == found["wanted items"]
