"""Values where they are: any strides, rows in any order, cells in any order of memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.ops.cpu.job import Job
from polypool.ops.source import Source
from tests.ops.moments.sources import DTYPES, agree, measured, shares
from tests.support import close, identical, integers, normal

# 3 cells of 70 places and 20 channels, stored in many ways.
STORED: dict[str, Callable[[], Tensor]] = {
    "in order": lambda: normal(3, 70, 20),
    "without the first place": lambda: normal(3, 71, 20)[:, 1:],
    "every second place": lambda: normal(3, 140, 20)[:, ::2],
    "the first channels": lambda: normal(3, 70, 33)[..., :20],
    "the last channels": lambda: normal(3, 70, 33)[..., 13:],
    "every second channel": lambda: normal(3, 70, 40)[..., ::2],
    "every second cell": lambda: normal(6, 70, 20)[::2],
    "channels first": lambda: normal(3, 20, 70).transpose(1, 2),
    "channels first, without the first place": lambda: normal(3, 20, 71)[..., 1:].transpose(1, 2),
    "channels first, every second channel": lambda: normal(3, 40, 70)[:, ::2].transpose(1, 2),
    "places first": lambda: normal(70, 3, 20).transpose(0, 1),
    "places, channels, cells": lambda: normal(70, 20, 3).permute(2, 0, 1),
    "channels, places, cells": lambda: normal(20, 70, 3).permute(2, 1, 0),
    "channels, cells, places": lambda: normal(20, 3, 70).permute(1, 2, 0),
    "one cell for all": lambda: normal(1, 70, 20).expand(3, 70, 20),
    "one row for all": lambda: normal(3, 1, 20).expand(3, 70, 20),
    "one channel for all": lambda: normal(3, 70, 1).expand(3, 70, 20),
    "one number for all": lambda: normal(1, 1, 1).expand(3, 70, 20),
    "not at the beginning of a cache line": lambda: normal(3 * 70 * 20 + 1)[1:].view(3, 70, 20),
}
every_way = pytest.mark.parametrize("stored", STORED)


def in_dtype(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The same numbers with the same strides."""
    base = torch.zeros(x.untyped_storage().nbytes() // x.element_size(), dtype=dtype)
    base.copy_(x.as_strided((len(base),), (1,), 0))
    return base.as_strided(x.shape, x.stride(), x.storage_offset())


@every_way
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dense(stored: str, dtype: torch.dtype) -> None:
    x = in_dtype(STORED[stored](), dtype)
    assert x.shape == (3, 70, 20)
    agree(Source(x))
    agree(Source(x, weight=shares(210, 2, dtype, torch.arange(3) * 70).view(3, 70, 2)))


@every_way
def test_gradients_look_like_what_a_compiler_was_told(stored: str) -> None:
    """In the strides of `empty_like`."""
    x = STORED[stored]()
    assert measured(Source(x), ("max", "mean")).values.stride() == torch.empty_like(x).stride()
    known = torch.ops.polypool.moments(x, None, None, None, [0])
    gradient = torch.ops.polypool.moments_backward(
        torch.ones_like(known[0]), x, None, None, None, *known, [0]
    )
    assert gradient.stride() == torch.empty_like(x).stride()


# 210 rows of 20 channels.
ROWS: dict[str, Callable[[], Tensor]] = {
    "in order": lambda: normal(210, 20),
    "the first channels": lambda: normal(210, 33)[:, :20],
    "every second row": lambda: normal(420, 20)[::2],
    "every second channel": lambda: normal(210, 40)[:, ::2],
    "channels first": lambda: normal(20, 210).T,
    "one row for all": lambda: normal(1, 20).expand(210, 20),
    "one channel for all": lambda: normal(210, 1).expand(210, 20),
}


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("stored", ROWS)
def test_listed(stored: str, shuffled: bool) -> None:
    offsets = torch.tensor([0, 70, 70, 75, 210])
    rows = torch.randperm(210, generator=torch.Generator().manual_seed(0)) if shuffled else None
    for dtype in DTYPES:
        x = in_dtype(ROWS[stored](), dtype)
        agree(Source(x, offsets, rows))
        agree(Source(x, offsets, rows, shares(210, 4, dtype, offsets[:-1])))


def test_one_channel_of_many() -> None:
    """A column is neither contiguous nor a row."""
    x = normal(210, 5, dtype=torch.float32)[:, 2:3]
    agree(Source(x, torch.tensor([0, 70, 210])))
    agree(Source(x.view(3, 70, 1)))
    agree(Source(x.contiguous(), torch.tensor([0, 70, 210])))


def test_offsets_weights_and_rows_with_strides() -> None:
    x = normal(210, 6, dtype=torch.float32)
    offsets = torch.tensor([[0, 0], [70, 1], [210, 2]])[:, 0]
    rows = torch.randperm(210, generator=torch.Generator().manual_seed(0)).repeat_interleave(2)[::2]
    weight = shares(2, 210, torch.float32, torch.zeros(1, dtype=torch.int64)).T
    agree(Source(x, offsets, rows, weight))


def test_more_rows_than_the_cells_have() -> None:
    """What no cell lists is not read, and has gradient 0."""
    x = normal(100, 20, dtype=torch.float32)
    x[40:60] = float("nan")
    ends = torch.tensor([0, 10, 40])
    found = agree(Source(x[:60], ends))
    assert not found.values[40:].any()
    rows = torch.cat([torch.arange(60, 100), torch.arange(60)])
    assert not agree(Source(x, ends, rows)).values[rows[40:]].any()
    assert not agree(Source(x[:60, :1].contiguous(), ends)).values[40:].any()


def test_cells_without_members_at_either_end() -> None:
    for channels in (1, 20):
        x = normal(8, channels, dtype=torch.float32)
        for offsets in ([0, 0, 0, 8], [0, 8, 8, 8], [0, 0, 3, 3, 8, 8], [0, 8]):
            agree(Source(x, torch.tensor(offsets)))


def test_values_stay_where_they_are() -> None:
    """No copy of what a kernel can read in place."""
    grid = normal(2, 3, 8, 8, dtype=torch.float32)
    for x in (grid.flatten(2).transpose(1, 2), normal(2, 9, 5)[:, 1:], normal(2, 9, 8)[..., :5]):
        assert Job(Source(x)).values.data_ptr() == x.data_ptr()
    rows = normal(20, 12)[::2, :7]
    assert Job(Source(rows, torch.tensor([0, 10]))).values.data_ptr() == rows.data_ptr()


@pytest.mark.parametrize("name", ["std", "max", "mean+max+std"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_grids_in_both_orders_of_memory(name: str, dtype: torch.dtype) -> None:
    """The same pictures, and gradients in the order of the pictures."""
    pictures = normal(3, 17, 9, 13, dtype=dtype)
    real = integers(3, 3, 9, 13) > 0
    pool = pp.build(name)
    for mask in (None, real):
        results = []
        for form in (torch.contiguous_format, torch.channels_last):
            x = pictures.contiguous(memory_format=form).requires_grad_()
            y = pool(pp.Grid(x, mask))
            (gradient,) = torch.autograd.grad(y.square().sum(), x)
            assert gradient.is_contiguous(memory_format=form)
            results.append((y, gradient))
        close(results[1][0], results[0][0], "channels_last")
        close(results[1][1], results[0][1], "gradient")


def test_a_crop_is_not_written_beside() -> None:
    """Gradients of a view end where it ends."""
    whole = normal(2, 6, 40, 7, dtype=torch.float32).requires_grad_()
    crop = whole[:, 1:4, 5:30, :5]
    (gradient,) = torch.autograd.grad(pp.build("mean+max+std")(pp.Grid(crop)).sum(), whole)
    inside = torch.zeros_like(gradient, dtype=torch.bool)
    inside[:, 1:4, 5:30, :5] = True
    assert not gradient[~inside].any()
    with pp.kernels("reference"):
        (wanted,) = torch.autograd.grad(pp.build("mean+max+std")(pp.Grid(crop)).sum(), whole)
    close(gradient, wanted, "gradient")
    identical(gradient != 0, wanted != 0, "places")
