"""Cells that do not fit into scratch memory, and are read again for each step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from polypool.ops.order import cpu
from polypool.ops.source import Source
from tests.ops.moments.sources import dense, listed
from tests.ops.order.loops import ASKED, agree_all, measured
from tests.ops.order.test_sizes import padded
from tests.ops.order.test_special import KINDS
from tests.support import identical, normal

SIZES = (1024, 1025, 0, 3000, 20_001)
MORE: dict[str, Callable[[Tensor], Tensor]] = {
    "ordinary": lambda x: x,
    "in waves, as long as the sample's steps": lambda x: x + 9 * (torch.arange(len(x)) % 19 == 0)[:, None],
    **KINDS,
}


@pytest.fixture(autouse=True)
def _little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_ROOM", (1024, 1024))


@pytest.mark.parametrize("kind", MORE)
def test_rows(kind: str) -> None:
    source = listed(SIZES, 3, shuffled=True)
    x = MORE[kind](normal(sum(SIZES), 3)).float()
    agree_all(source._replace(values=x, rows=None))
    agree_all(source._replace(values=x))


@pytest.mark.parametrize("kind", MORE)
def test_contiguous_cells(kind: str) -> None:
    x = MORE[kind](normal(40_000, 2)).float().T.contiguous()
    agree_all(Source(x.T[None]))
    agree_all(padded(Source(torch.stack([x.T, x.T]).transpose(1, 2).contiguous().transpose(1, 2))))


def test_room_does_not_change_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """It depends on the number of threads, on which they must not."""
    for source in (listed(SIZES, 5), dense(1, 40_000, 2, first=True)):
        for name, asked in ASKED:
            with monkeypatch.context() as more:
                more.setattr(cpu, "_ROOM", (32768, 32768))
                wanted = measured(name, asked, source)
            for one, other in zip(measured(name, asked, source), wanted, strict=True):
                identical(one, other, f"{name} of {asked}")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes(dtype: torch.dtype) -> None:
    agree_all(listed(SIZES, 40, dtype))
    agree_all(dense(1, 40_000, 2, dtype, first=True))
    agree_all(listed((5, 40_000), 1, dtype))
