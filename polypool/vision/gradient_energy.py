"""Differences between neighbouring pixels as a grid of their own, and what they add up to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Literal

import torch
from torch import Tensor, nn

from polypool.cells.dense import wide
from polypool.layouts import Grid
from polypool.layouts.dense import blank
from polypool.pooling import Pooling
from polypool.registry import build


def differences(grid: Grid, step: Sequence[int]) -> Grid:
    """The difference between each pixel and the one that lies `step` further: `x[p + step] - x[p]`.

    The result is a grid, so that any pooling, windows and bins follow. It is as much smaller as the step is long. A
    difference is real when both of its pixels are; its weight is the product of theirs.

    Args:
        grid: The pixels.
        step: One int per spatial dimension, not all 0: `(0, 1)` is the pixel to the right, `(1, -1)` the one below
            to the left.

    Returns:
        A grid `(B, C, *(S - |step|))`, or channels last as the grid's; in float32 for values in half precision.

    Raises:
        TypeError: `grid` is no `Grid`, or the step does not hold ints.
        ValueError: The step has another number of dimensions than the grid, or is all 0.

    Example:
        >>> import torch, polypool as pp
        >>> from polypool.vision import differences
        >>> differences(pp.Grid(torch.tensor([[[1.0, 4.0, 9.0]]])), [1]).values
        tensor([[[3., 5.]]])
    """
    if not isinstance(grid, Grid):
        raise TypeError(
            f"grid must be a polypool.Grid; found {type(grid).__name__}. Use Grid(x) for (B, C, *S)."
        )
    step = _step(step, len(grid.spatial))
    first = 1 if grid.channels_last else 2
    values = wide(grid.values)
    real = grid._real_elements
    if real is not None:
        values = blank(real, values)  # padding may hold NaN
    here, there = _pair(values, step, first)
    mask = weight = None
    if grid.mask is not None:
        a, b = _pair(grid.mask, step, 1)
        mask = a & b
    if grid.weight is not None:
        a, b = _pair(grid.weight, step, 1)
        weight = a * b
    return Grid(there - here, mask, grid.channels_last, weight=weight)


class GradientEnergy(nn.Module):
    """How much an image changes from pixel to pixel, in each direction: the least that order can add to a histogram.

    `E_d = mean over p of |x[p + d] - x[p]|^2` (or without the square) for each step `d`, over the pairs whose pixels
    are both real. Poolings of pixels do not know which pixel lies beside which; this tells stripes from a
    checkerboard.

    Args:
        steps: `"axes"`, the next pixel in each spatial dimension; `"neighbours"`, the diagonals too (a pixel and its
            3^D - 1 neighbours make half as many pairs); or a sequence of steps, each one int per spatial dimension.
        measure: `"square"`, or `"absolute"` differences.
        pool: A name or a pooling: what the numbers of a direction become.

    Shapes:
        `(B, D C)` from `(B, C, *S)`, a block of channels for each of D steps; `"axes"` are in the order of the
        dimensions.

    Empty cells:
        A direction without a single pair, as on a map of one pixel, gives 0.

    Raises:
        ValueError: `steps` or `measure` is unknown, or a step does not fit the dimensions of the input.

    Source:
        Cliff, Ord 1973, Spatial Autocorrelation: half of the square form is the variogram at lag d (Matheron 1963).

    Example:
        >>> import torch
        >>> from polypool.vision import GradientEnergy
        >>> stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)
        >>> checkerboard = stripes * stripes.mT
        >>> GradientEnergy()(stripes), GradientEnergy()(checkerboard)
        (tensor([[0., 4.]]), tensor([[4., 4.]]))
    """

    def __init__(
        self,
        steps: Literal["axes", "neighbours"] | Iterable[Sequence[int]] = "axes",
        measure: Literal["square", "absolute"] = "square",
        pool: str | Pooling = "mean",
    ) -> None:
        super().__init__()
        if measure not in ("square", "absolute"):
            raise ValueError(f'measure must be "square" or "absolute"; found {measure!r}.')
        if isinstance(steps, str):
            if steps not in ("axes", "neighbours"):
                raise ValueError(
                    f'steps must be "axes", "neighbours" or a sequence of steps; found {steps!r}.'
                )
            self.steps: str | tuple[tuple[int, ...], ...] = steps
        else:
            self.steps = tuple(_step(step, None) for step in steps)
            if not self.steps:
                raise ValueError("steps must hold at least one step; found none.")
        self.measure = measure
        self.pool = build(pool) if isinstance(pool, str) else pool

    def forward(self, x: Grid | Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Measures a tensor `(B, C, *S)` with an optional mask `(B, *S)`, or a grid."""
        grid = Grid(x, mask) if isinstance(x, Tensor) else x
        if mask is not None and not isinstance(x, Tensor):
            raise ValueError("a layout already says where its elements are; found mask too.")
        parts = []
        for step in self._steps(len(grid.spatial)):
            change = differences(grid, step)
            size = change.values.square() if self.measure == "square" else change.values.abs()
            parts.append(self.pool(change.with_values(size)))
        return torch.cat(parts, dim=-1).to(grid.values.dtype)

    def out_channels(self, in_channels: int, dims: int = 2) -> int:
        """How many channels the result has for values with `in_channels` and `dims` spatial dimensions."""
        return len(self._steps(dims)) * self.pool.out_channels(in_channels)

    def _steps(self, dims: int) -> list[tuple[int, ...]]:
        if not isinstance(self.steps, str):
            return list(self.steps)
        if self.steps == "axes":
            return [tuple(int(d == axis) for d in range(dims)) for axis in range(dims)]
        # Of a step and its opposite one is enough: the one that comes later in the order of the pixels.
        return [step for step in product((-1, 0, 1), repeat=dims) if step > (0,) * dims]

    def extra_repr(self) -> str:
        return f"steps={self.steps!r}, measure={self.measure!r}"


def _step(step: object, dims: int | None) -> tuple[int, ...]:
    if not isinstance(step, Sequence) or isinstance(step, str):
        raise TypeError(f"a step must hold one int per spatial dimension; found {step!r}.")
    if any(isinstance(one, bool) or not isinstance(one, int) for one in step):
        raise TypeError(f"a step must hold ints; found {step!r}.")
    if dims is not None and len(step) != dims:
        raise ValueError(f"a step must hold {dims} ints, one per spatial dimension; found {tuple(step)}.")
    if not any(step):
        raise ValueError(f"a step must lead to another pixel; found {tuple(step)}.")
    return tuple(step)


def _pair(x: Tensor, step: tuple[int, ...], first: int) -> tuple[Tensor, Tensor]:
    """The pixels that have one `step` further, and those."""
    here = there = x
    for dim, s in enumerate(step, start=first):
        size = x.shape[dim]
        left = max(size - abs(s), 0)
        here = here.narrow(dim, min(max(-s, 0), size), left)
        there = there.narrow(dim, min(max(s, 0), size), left)
    return here, there
