"""The memory meter sees a known allocation, by torch or not, and nothing else."""

import mmap
import sys
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from polypool.bench import memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts with /proc")

MB = 1 << 20


def test_scratch_of_torch() -> None:
    def call() -> Sequence[Tensor]:
        return [torch.ones(16 * MB).sum()]

    _, extra = memory.measured(call)
    assert extra is not None
    assert 62 * MB < extra < 72 * MB


def test_scratch_that_torch_knows_nothing_of() -> None:
    def call() -> Sequence[Tensor]:
        with mmap.mmap(-1, 64 * MB) as scratch:
            scratch.write(b"x" * (64 * MB))
        return []

    memory.measured(call)
    _, extra = memory.measured(call)
    assert extra is not None
    assert 62 * MB < extra < 140 * MB  # the bytes that are written are there too


def test_results_do_not_count() -> None:
    results, extra = memory.measured(lambda: [torch.ones(16 * MB)])
    assert extra is not None
    assert extra < 6 * MB
    assert results[0].numel() == 16 * MB


def test_nothing_is_little() -> None:
    _, extra = memory.measured(list)
    assert extra is not None
    assert extra < 2 * MB


def test_without_a_peak_a_thread_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_reset_peak", lambda: False)

    def call() -> Sequence[Tensor]:
        scratch = torch.ones(16 * MB)
        for _ in range(20):
            scratch.mul_(1.0)
        return [scratch[:1].clone()]

    _, extra = memory.measured(call)
    assert extra is not None
    assert 50 * MB < extra < 72 * MB


def test_without_proc_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "resident", lambda: None)
    results, extra = memory.measured(lambda: [torch.ones(3)])
    assert extra is None
    assert len(results) == 1


def test_what_results_hold() -> None:
    x = torch.ones(100)
    assert memory.held([x]) == 400
    assert memory.held([x, x]) == 400
    assert memory.held([x[:10]]) == 40
    assert memory.held([torch.ones(1).expand(1000)]) == 4
