"""`BinPool`, `StripPool` and `SpatialPyramid`: bins of any pooling, with exact areas or as torch has them."""

from __future__ import annotations

from itertools import product
from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import polypool as pp
from polypool.vision import BinPool, SpatialPyramid, StripPool, bin_pool
from tests.support import close, identical, normal, uniform

FAST = ("mean", "sum", "max", "min")
SIZES: list[Any] = [1, 3, (5, 8), (None, 1), (9, 3), (7, 4)]


def grids() -> list[pp.Grid]:
    x, mask, weight = normal(2, 3, 7, 8), uniform(2, 7, 8, seed=1) > 0.5, uniform(2, 7, 8, seed=2)
    mask[:, :4, :4] = False
    weight[0, 2:4] = 0
    return [
        pp.Grid(x),
        pp.Grid(x.masked_fill(~mask[:, None], torch.nan), mask),
        pp.Grid(x.movedim(1, -1), weight=weight, channels_last=True),
    ]


@pytest.mark.parametrize("shared", ["area", "whole"])
@pytest.mark.parametrize("name", FAST)
def test_the_fast_ways_are_those_of_the_cells(name: str, shared: Any) -> None:
    for size, grid in product(SIZES, grids()):
        pool, results = BinPool(name, size, shared=shared), []
        for fast in (True, False):
            x = grid.values.clone().requires_grad_()
            w = None if grid.weight is None else grid.weight.clone().requires_grad_()
            own = pp.Grid(x, grid.mask, grid.channels_last, weight=w)
            way = bin_pool._one_dimension_at_a_time if fast else lambda *_: None
            with mock.patch.object(bin_pool, "_one_dimension_at_a_time", way):
                out = pool(own)
            wanted = [x] if w is None or name in ("max", "min") else [x, w]
            gradients = torch.autograd.grad(out.values, wanted, normal(*out.values.shape, seed=3))
            results.append((out.values, *gradients))
        for found, expected in zip(*results, strict=True):
            close(found, expected, f"{name} {size} of {grid}")
        assert out.channels_last == grid.channels_last
        if grid.mask is not None:
            assert out.mask is not None
            identical(out.mask, F.adaptive_max_pool2d(grid.mask.double(), out.spatial) > 0, "real bins")


def test_area_bins_are_those_of_the_layout() -> None:
    x = normal(2, 3, 7, 8)
    sizes: list[Any] = [3, (2, 5)]
    for name, size in product(("mean", "max", "std", "logsumexp"), sizes):
        close(BinPool(name, size)(x), pp.build(name)(pp.Grid(x).bins(size)), name)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_drop_in_for_adaptive_pooling(size: Any) -> None:
    x = normal(2, 3, 7, 8)
    close(BinPool("mean", size, shared="whole")(x), F.adaptive_avg_pool2d(x, size), "mean")
    for shared in ("area", "whole"):
        close(BinPool("max", size, shared=shared)(x), F.adaptive_max_pool2d(x, size), "max")
    model = nn.Sequential(BinPool("gem", 1), nn.Flatten(), nn.Linear(3, 2).double())
    assert model(x).shape == (2, 2)


def test_order_statistics_take_whole_pixels() -> None:
    x = normal(2, 3, 7, 8)
    with pytest.raises(NotImplementedError, match="median"):
        BinPool("median", 3)(x)
    found = BinPool("median", 3, shared="whole")(x)
    close(found[:, :, 0, 0], pp.build("median")(pp.Grid(x[:, :, :3, :3])), "the first bin")
    close(found[:, :, 1, 2], pp.build("median")(pp.Grid(x[:, :, 2:5, 5:])), "another bin")


def test_every_pixel_counts_the_same_in_area_bins_alone() -> None:
    """What each pixel adds to the mean of the bins: torch counts shared pixels twice, up to 3.2 times as much."""
    shares = {}
    for shared in ("area", "whole"):
        x = torch.zeros(1, 1, 5, 7, dtype=torch.float64, requires_grad=True)
        pool = BinPool("mean", (3, 4), shared=shared)
        (shares[shared],) = torch.autograd.grad(pool(x).mean() * 35, x)
    close(shares["area"], torch.ones(1, 1, 5, 7, dtype=torch.float64), "each pixel")
    assert shares["whole"].amax() / shares["whole"].amin() > 1.5


def test_nan_stays_in_its_bins() -> None:
    x = torch.zeros(1, 2, 7)
    x[0, 0, 4] = torch.nan
    for name in FAST:
        out = BinPool(name, 3)(x)
        assert out[0, 0].isnan().tolist() == [False, True, True]  # 4 lies in [14/3, 7) and in [7/3, 14/3)
        assert out[0, 1].isfinite().all()


def test_the_first_of_equal_pixels_takes_the_gradient() -> None:
    x = torch.tensor([[[[0.0, 5.0], [5.0, 5.0]]]], requires_grad=True)
    for size in (1, (1, None)):
        (gradient,) = torch.autograd.grad(BinPool("max", size)(x).sum(), x)
        assert gradient.flatten().tolist() == ([0, 1, 0, 0] if size == 1 else [0, 1, 1, 0])


def test_half_precision_and_memory_formats() -> None:
    x = torch.full((1, 2, 300, 300), 3.0, dtype=torch.float16)
    for name, value in (("mean", 3.0), ("max", 3.0)):
        out = BinPool(name, 1)(x)
        assert out.dtype == torch.float16
        assert out.unique().item() == value
    last = x.float().contiguous(memory_format=torch.channels_last)
    assert BinPool("mean", 7)(last).is_contiguous(memory_format=torch.channels_last)


def test_strips_are_rows_and_columns() -> None:
    x, mask = normal(2, 3, 4, 5), uniform(2, 4, 5, seed=4) > 0.4
    mask[0, 1] = False
    for name in ("mean", "max", "std", "median"):
        rows, columns = StripPool(name, "rows")(x), StripPool(name, "columns")(x)
        assert rows.shape == (2, 3, 4, 1)
        assert columns.shape == (2, 3, 1, 5)
        pool = pp.build(name)
        for i in range(4):
            close(rows[:, :, i, 0], pool(pp.Grid(x[:, :, i])), f"{name} of row {i}")
        for j in range(5):
            close(columns[:, :, 0, j], pool(pp.Grid(x[..., j])), f"{name} of column {j}")
        masked = StripPool(name, "rows")(pp.Grid(x.masked_fill(~mask[:, None], torch.nan), mask))
        close(masked.values[:, :, 2, 0], pool(pp.Grid(x[:, :, 2], mask[:, 2])), f"{name}, masked")
        assert masked.mask is not None
        identical(masked.mask, mask.any(2, keepdim=True), "rows with a real pixel")
        assert (masked.values[0, :, 1] == 0).all()
        close(StripPool(name, "rows")(x.nan_to_num(), mask=mask), masked.values, "a tensor with its mask")
    volume = normal(1, 2, 3, 4, 5)
    close(StripPool("mean", 2)(volume), volume.mean((2, 3), keepdim=True), "slices of a volume")


def test_a_pyramid_is_its_levels() -> None:
    x, mask = normal(2, 3, 7, 8), uniform(2, 7, 8, seed=1) > 0.5
    pyramid = SpatialPyramid((1, 2, (3, 1)), ["mean", "max", "std"])
    out = pyramid(x, mask=mask)
    assert out.shape == (2, pyramid.out_channels(3)) == (2, 3 * (1 + 4 + 3))
    grid = pp.Grid(x, mask)
    parts = [
        pp.build("mean")(grid.bins(1)),
        pp.build("max")(grid.bins(2)),
        pp.build("std")(grid.bins((3, 1))),
    ]
    close(out, torch.cat([part.flatten(1) for part in parts], 1), "level after level")
    last = pp.Grid(x.movedim(1, -1), mask, channels_last=True)
    close(pyramid(last), out, "channels last, in the same order")
    usual = torch.cat([F.adaptive_max_pool2d(x, n).flatten(1) for n in (1, 2, 3, 6)], 1)
    close(SpatialPyramid((1, 2, 3, 6))(x), usual, "He et al.: maxima")
    assert SpatialPyramid((1, 2))(normal(2, 3, 5)).shape == (2, SpatialPyramid((1, 2)).out_channels(3, 1))


def test_a_pyramid_is_as_long_for_images_of_any_size() -> None:
    pyramid = SpatialPyramid()
    assert {pyramid(normal(1, 2, h, w)).shape for h, w in ((1, 1), (3, 5), (16, 9))} == {(1, 42)}


def test_poolings_of_a_pyramid() -> None:
    """A name is one pooling for each level; a pooling is one for all."""
    assert len(list(SpatialPyramid((1, 2), "gem").parameters())) == 2
    assert len(list(SpatialPyramid((1, 2), pp.build("gem")).parameters())) == 1


def test_derivatives() -> None:
    x = normal(1, 2, 5, 4).requires_grad_()
    mask = uniform(1, 5, 4, seed=7) > 0.3
    for pool in (
        BinPool("mean", 3),
        BinPool("max", 3),
        BinPool("mean", 3, shared="whole"),
        SpatialPyramid((1, 3), "std"),
        StripPool("max", "columns"),
    ):
        assert torch.autograd.gradcheck(pool, x)
        assert torch.autograd.gradgradcheck(pool, x)
        assert torch.autograd.gradcheck(lambda x, pool=pool: pool(x, mask=mask), x)
    stacked = normal(3, 1, 2, 5, 4)
    many = torch.func.vmap(BinPool("mean", 3))(stacked)
    close(many, torch.stack([BinPool("mean", 3)(one) for one in stacked]), "vmap")


@pytest.mark.parametrize(
    "pool",
    [BinPool("mean", 3), SpatialPyramid((1, 2), "std"), StripPool("max")],
    ids=lambda p: type(p).__name__,
)
def test_programs(pool: nn.Module) -> None:
    """Compiled and exported for any batch; strips for any size."""
    torch.compiler.reset()
    x = normal(2, 3, 7, 8)
    compiled = torch.compile(pool, fullgraph=True, backend="aot_eager")
    close(compiled(x), pool(x), "compiled")
    dims = {0: torch.export.Dim.DYNAMIC}
    if isinstance(pool, StripPool):
        dims |= {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.export.export(pool, (x,), dynamic_shapes={"x": dims}).module()
    y = normal(5, 3, 9, 6) if isinstance(pool, StripPool) else normal(5, 3, 7, 8)
    close(program(y), pool(y), "exported")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: BinPool("mean", 0), ValueError, "output_size must be >= 1; found 0"),
        (lambda: BinPool("mean", ()), ValueError, "output_size must be one int or one per spatial dimension"),
        (
            lambda: BinPool("mean", output_size=2.5),  # type: ignore[arg-type]
            TypeError,
            "output_size must be an int; found float",
        ),
        (lambda: BinPool("mean", 2, shared="half"), ValueError, 'shared must be "area" or "whole"'),  # type: ignore[arg-type]
        (lambda: BinPool("mean", (2, 2))(normal(1, 1, 4)), ValueError, "output_size must be one int or 1"),
        (lambda: BinPool("mean", 2)(normal(1, 1, 0, 4)), ValueError, "at least one pixel"),
        (lambda: StripPool(each="row"), ValueError, 'each must be "rows", "columns"'),  # type: ignore[arg-type]
        (
            lambda: StripPool("mean", "columns")(normal(1, 1, 4)),
            ValueError,
            "one of the 1 spatial dimensions",
        ),
        (lambda: SpatialPyramid(()), ValueError, "levels must hold at least one"),
        (lambda: SpatialPyramid(levels=3), TypeError, "levels must be a sequence of sizes; found int"),  # type: ignore[arg-type]
        (lambda: SpatialPyramid((1, 2), ["max"]), ValueError, "one for each of the 2 levels; found 1"),
        (lambda: SpatialPyramid((1, 0)), ValueError, "levels must be >= 1"),
    ],
)
def test_what_makes_no_sense(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
