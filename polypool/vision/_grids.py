"""What the poolings of this package take and give: a grid or its tensor, any pooling by name, and the grid of cells."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from polypool import _checks
from polypool.layouts import Grid, Regions
from polypool.pooling import Pooling
from polypool.poolings import MeanPool
from polypool.registry import build


def as_grid(x: object, mask: Tensor | None = None) -> Grid:
    """A grid as it is, or the grid of a tensor `(B, C, *S)` with its mask `(B, *S)`."""
    if isinstance(x, Grid):
        if mask is not None:
            raise ValueError(
                "a layout already says where its elements are; found mask too. Pass the layout alone."
            )
        return x
    if not isinstance(x, Tensor):
        raise TypeError(
            f"x must be a tensor (B, C, *S) or a polypool.Grid; found {type(x).__name__}. Make one with Grid(x)."
        )
    return Grid(x, mask)


def as_pooling(pool: object) -> Pooling:
    """A pooling by name, or as it is."""
    if isinstance(pool, str):
        return build(pool)
    if not isinstance(pool, Pooling):
        raise TypeError(
            f"pool must be a name or a polypool.Pooling; found {type(pool).__name__}. "
            "Use build(name, ...) for one with settings."
        )
    return pool


def pooled_grid(grid: Grid, pooled: Tensor, cut: Callable[[Grid], Regions]) -> Grid:
    """The cells of a grid as the pixels of the next: a cell is real when it has a real pixel.

    Its weight is the mean weight of its real pixels, so that cells that tile the grid keep its weighted mean.

    Args:
        grid: What was pooled.
        pooled: `(B, C_out, *S_out)`, channels last as the grid's.
        cut: From a grid to its cells.
    """
    mask = weight = None
    if grid.mask is not None:
        regions = cut(grid)
        mask = (regions.counts > 0).unflatten(0, (pooled.shape[0], *regions.output_size))
    if grid.weight is not None:
        counted = grid.weight.detach() > 0
        plane = Grid(grid.weight.unsqueeze(1), counted if grid.mask is None else counted & grid.mask)
        weight = MeanPool()(cut(plane)).squeeze(1)
    return Grid(pooled, mask, grid.channels_last, weight=weight)


def real_plane(grid: Grid) -> Tensor | None:
    """`(B, 1, *S)` bool, the pixels that are neither padding nor of weight 0; None when all are."""
    real = grid._real_elements
    return real.movedim(-1, 1) if real is not None and grid.channels_last else real


def channels_first(grid: Grid) -> Tensor:
    """The values as `(B, C, *S)`: a view."""
    return grid.values.movedim(-1, 1) if grid.channels_last else grid.values


def weighted_plane(grid: Grid, dtype: torch.dtype) -> Tensor | None:
    """`(B, 1, *S)`, what each pixel counts, 0 at padding; None when every pixel counts 1."""
    real = real_plane(grid)
    if real is None:
        return None
    counted = real.to(dtype)
    if grid.weight is None:
        return counted
    weight = grid.weight.unsqueeze(1).to(dtype)
    return torch.where(real, weight, torch.zeros_like(weight))


def expanded(x: int | tuple[int, ...], what: str, dims: int, least: int = 1) -> tuple[int, ...]:
    """One size per spatial dimension of the grid at hand."""
    return _checks.sizes(x, what, dims, least)
