"""Sliding windows against torch's own pooling, in one to three dimensions and both memory orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import polypool as pp
from tests.support import close, identical, normal

AVERAGE: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
MAXIMUM: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}

CASES: list[tuple[tuple[int, ...], Any, Any, Any]] = [
    ((9,), 3, None, 0),
    ((9,), 3, 2, 1),
    ((10,), 4, 3, 2),
    ((7,), 2, 5, 1),
    ((6, 8), 2, None, 0),
    ((7, 8), 3, 2, 1),
    ((7, 8), (2, 3), (1, 2), (0, 1)),
    ((5, 5), 5, 1, 2),
    ((5, 6), (1, 6), 1, 0),
    ((9, 7), (3, 2), (4, 3), (1, 1)),
    ((1, 1), 3, 1, 1),
    ((4, 5, 6), 2, None, 0),
    ((4, 5, 6), 3, 2, 1),
    ((4, 5, 6), (1, 2, 3), (2, 1, 2), (0, 1, 1)),
]
cases = pytest.mark.parametrize(("space", "kernel", "stride", "padding"), CASES, ids=str)


def ignoring_padding(x: Tensor, dims: int, kernel: Any, stride: Any, padding: Any) -> Tensor:
    """`count_include_pad=False`, which one dimension and three know too."""
    return AVERAGE[dims](x, kernel, stride, padding, count_include_pad=False)


@cases
@pytest.mark.parametrize("name", ["mean", "max"])
def test_values_and_gradients_are_those_of_torch(
    name: str, space: tuple[int, ...], kernel: Any, stride: Any, padding: Any
) -> None:
    x = normal(2, 3, *space).requires_grad_()
    dims = len(space)
    wanted = (
        ignoring_padding(x, dims, kernel, stride, padding)
        if name == "mean"
        else MAXIMUM[dims](x, kernel, stride, padding)
    )
    found = pp.build(name)(pp.Grid(x).windows(kernel, stride, padding))
    close(found, wanted, name)
    assert found.is_contiguous()
    cotangent = normal(*wanted.shape, seed=1)
    (of_ours,), (of_torch,) = (torch.autograd.grad(y, x, cotangent) for y in (found, wanted))
    close(of_ours, of_torch, f"gradient of {name}")


@cases
@pytest.mark.parametrize("name", ["mean", "max"])
def test_channels_last_in_and_out(
    name: str, space: tuple[int, ...], kernel: Any, stride: Any, padding: Any
) -> None:
    """In the shape, and where torch has it, in the memory."""
    x = normal(2, 3, *space)
    wanted = pp.build(name)(pp.Grid(x).windows(kernel, stride, padding))
    last = pp.Grid(x.movedim(1, -1).contiguous(), channels_last=True)
    found = pp.build(name)(last.windows(kernel, stride, padding))
    assert found.shape == wanted.movedim(1, -1).shape
    close(found.movedim(-1, 1), wanted, "channels last in the shape")
    if len(space) > 1:
        stored = torch.channels_last if len(space) == 2 else torch.channels_last_3d
        found = pp.build(name)(pp.Grid(x.contiguous(memory_format=stored)).windows(kernel, stride, padding))
        close(found, wanted, "channels last in memory")
        assert found.is_contiguous(memory_format=stored)


def test_each_window_is_a_picture_of_its_own() -> None:
    """Any operator on windows is that operator on each crop."""
    x, kernel, stride = normal(2, 3, 6, 7), (3, 4), (2, 3)
    grid = pp.Grid(x)
    for name in pp.names(grid):
        pool = pp.build(name, channels=3).double()
        found = pool(grid.windows(kernel, stride))
        for i in range(found.shape[2]):
            for j in range(found.shape[3]):
                crop = x[:, :, i * 2 : i * 2 + 3, j * 3 : j * 3 + 4]
                close(found[:, :, i, j], pool(pp.Grid(crop)), f"{name} of window {i}, {j}")


def test_constant_pictures_stay_constant_at_the_border() -> None:
    """Padding is not there: no window is darker than the others."""
    for name in ("mean", "max", "min", "median", "rms", "logsumexp"):
        pooled = pp.build(name)(pp.Grid(torch.full((1, 2, 5, 6), 3.0)).windows(3, 1, 1))
        close(pooled, torch.full((1, 2, 5, 6), 3.0), name)


def test_a_window_without_a_real_pixel_is_zero() -> None:
    mask = torch.ones(1, 4, 4, dtype=torch.bool)
    mask[:, :2, :2] = False
    x = normal(1, 2, 4, 4).masked_fill(~mask[:, None], float("nan")).requires_grad_()
    layout = pp.Grid(x, mask).windows(2)
    assert layout.counts.tolist() == [0, 4, 4, 4]
    for name in pp.names(layout):
        pool = pp.build(name, channels=2).double()
        pooled = pool(layout)
        assert not pooled[:, :, 0, 0].any()
        (gradient,) = torch.autograd.grad(pooled.sum(), x)
        assert not gradient[:, :, :2, :2].any()
        assert bool(gradient.isfinite().all())


def test_the_first_of_equal_pixels_wins_as_in_torch() -> None:
    x = (normal(2, 3, 6, 6) > 0).double().requires_grad_()
    (ours,) = torch.autograd.grad(pp.build("max")(pp.Grid(x).windows(3, 2, 1)).sum(), x)
    (torchs,) = torch.autograd.grad(F.max_pool2d(x, 3, 2, 1).sum(), x)
    identical(ours, torchs, "gradient")


def test_windows_of_a_grid_with_weights() -> None:
    x, weight = normal(1, 2, 5, 5), normal(1, 5, 5, seed=1).abs()
    found = pp.build("mean")(pp.Grid(x, weight=weight).windows(3, 2, 1))
    share = ignoring_padding(weight[:, None], 2, 3, 2, 1)
    close(found, ignoring_padding(x * weight[:, None], 2, 3, 2, 1) / share, "weighted mean")


def test_output_size_and_cells() -> None:
    windows = pp.Grid(normal(2, 3, 7, 8)).windows(3, 2, 1)
    assert windows.output_size == (4, 4)
    assert windows.num_cells == 32
    assert windows.counts[:4].tolist() == [4, 6, 6, 6]
    assert windows.spatial == (7, 8)
    assert not windows.weighted
