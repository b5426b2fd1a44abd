"""Values where they are: any strides, rows in any order, gradients where their values are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from polypool.ops.exponential import op
from polypool.ops.source import Source
from tests.ops.exponential.loops import LOOPS, agree, measured
from tests.ops.moments.sources import shares
from tests.support import identical, normal

# 3 cells of 70 places and 20 channels, stored in many ways.
STORED: dict[str, Callable[[], Tensor]] = {
    "without the first place": lambda: normal(3, 71, 20)[:, 1:],
    "every second place": lambda: normal(3, 140, 20)[:, ::2],
    "the last channels": lambda: normal(3, 70, 33)[..., 13:],
    "every second channel": lambda: normal(3, 70, 40)[..., ::2],
    "every second cell": lambda: normal(6, 70, 20)[::2],
    "channels first, without the first place": lambda: normal(3, 20, 71)[..., 1:].transpose(1, 2),
    "channels first, every second channel": lambda: normal(3, 40, 70)[:, ::2].transpose(1, 2),
    "places first": lambda: normal(70, 3, 20).transpose(0, 1),
    "places, channels, cells": lambda: normal(70, 20, 3).permute(2, 0, 1),
    "channels, cells, places": lambda: normal(20, 3, 70).permute(1, 2, 0),
    "one cell for all": lambda: normal(1, 70, 20).expand(3, 70, 20),
    "not at the beginning of a cache line": lambda: normal(3 * 70 * 20 + 1)[1:].view(3, 70, 20),
}


@pytest.mark.parametrize("stored", STORED)
def test_dense(stored: str) -> None:
    x = STORED[stored]()
    for source in (Source(x), Source(x, weight=shares(210, 1, x.dtype, torch.arange(3) * 70).view(3, 70, 1))):
        for name in LOOPS:
            agree(name, source, torch.linspace(0.5, 1.5, 20, dtype=x.dtype))
    assert op.softmax(Source(x), 1.0).stride() == torch.empty_like(x).stride()


# 210 rows of 20 channels, or of one.
ROWS: dict[str, Callable[[], Tensor]] = {
    "the first channels": lambda: normal(210, 33)[:, :20],
    "every second row": lambda: normal(420, 20)[::2],
    "channels first": lambda: normal(20, 210).T,
    "one row for all": lambda: normal(1, 20).expand(210, 20),
    "one column": lambda: normal(210, 5)[:, 2:3],
}


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("stored", ROWS)
def test_listed(stored: str, shuffled: bool) -> None:
    offsets = torch.tensor([[0, 0], [70, 1], [70, 2], [75, 3], [210, 4]])[:, 0]
    rows = torch.randperm(210, generator=torch.Generator().manual_seed(0)) if shuffled else None
    for dtype in (torch.float32, torch.float64):
        x = ROWS[stored]().to(dtype)
        for weight in (None, shares(210, 1, dtype, offsets[:-1])):
            for name in LOOPS:
                agree(name, Source(x, offsets, rows, weight), 0.7)


@pytest.mark.parametrize("channels", [1, 20])
def test_more_rows_than_the_cells_have(channels: int) -> None:
    """What no cell lists is not read, and has neither a density nor a gradient."""
    x = normal(100, channels, dtype=torch.float32)
    x[40:60] = float("nan")
    ends = torch.tensor([0, 10, 40])
    behind = torch.cat([torch.arange(60, 100), torch.arange(60)])
    for source, outside in (
        (Source(x[:60], ends), torch.arange(40, 60)),
        (Source(x, ends, behind), behind[40:]),
    ):
        for name in LOOPS:
            result, gradient, *_ = measured(name, source, 1.0)
            assert not gradient[outside].any()
            assert bool(result.isfinite().all())
            if name == "softmax":
                assert not result[outside].any()


def test_a_density_is_where_its_value_is() -> None:
    x, order = (
        normal(100, 5, dtype=torch.float32),
        torch.randperm(100, generator=torch.Generator().manual_seed(2)),
    )
    offsets = torch.tensor([0, 30, 100])
    for values in (x, x[:, :1].contiguous()):
        found = op.softmax(Source(values, offsets, order), 0.7)
        identical(found[order], op.softmax(Source(values[order], offsets), 0.7), "in the order of the list")
