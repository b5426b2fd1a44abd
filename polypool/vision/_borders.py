"""What lies beyond the border of a grid, and windows that start on every pixel of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from polypool import _checks
from polypool.layouts import Grid
from polypool.layouts.dense import as_stored

Border = Literal["renormalise", "reflect", "circular"]
BORDERS: tuple[str, ...] = ("renormalise", "reflect", "circular")


def border_named(border: object) -> Border:
    """One of the three, or an error that lists them."""
    if border not in BORDERS:
        raise ValueError(f"border must be one of {', '.join(BORDERS)}; found {border!r}.")
    return border  # type: ignore[return-value]


def per_dimension(x: object, what: str, least: int = 1) -> int | tuple[int, ...]:
    """One size for all dimensions, or one for each of one to three."""
    if not isinstance(x, Sequence):
        return _checks.size(x, what, least)
    if not 1 <= len(x) <= 3:
        raise ValueError(f"{what} must be one int or one per spatial dimension, 1 to 3; found {len(x)}.")
    return _checks.sizes(tuple(x), what, len(x), least)


def reach(width: int) -> tuple[int, int]:
    """How far a window of so many pixels reaches before and after the pixel that it belongs to."""
    before = (width - 1) // 2
    return before, width - 1 - before


def extended(x: Tensor, dim: int, width: int, border: Border | Literal["nearest"]) -> Tensor:
    """`x` with as many pixels on both sides as windows of `width` reach; any width fits any size above 0.

    Args:
        x: Any tensor.
        dim: The dimension to extend.
        width: The width of the windows.
        border: `"reflect"` mirrors about the outermost pixel, `"circular"` goes round, `"nearest"` repeats the
            outermost pixel; `"renormalise"` puts zeros.
    """
    before, after = reach(width)
    if before + after == 0:
        return x
    size = x.shape[dim]
    if border in ("nearest", "renormalise"):
        if border == "nearest":
            ends = [x.narrow(dim, 0, 1), x.narrow(dim, size - 1, 1)]
        else:
            ends = [x.new_zeros((*x.shape[:dim], 1, *x.shape[dim + 1 :]))] * 2
        return torch.cat([*[ends[0]] * before, x, *[ends[1]] * after], dim=dim)
    place = torch.arange(-before, size + after, device=x.device)
    if border == "circular":
        place = place % size
    else:
        period = max(2 * (size - 1), 1)  # one pixel mirrors to itself
        place = place % period
        place = torch.minimum(place, period - place).clamp(max=size - 1)
    return x.index_select(dim, place)


def windowed(x: Tensor, dim: int, width: int, stride: int) -> list[Tensor]:
    """The first, second, ... pixel of every window of an extended tensor: `width` views, `ceil(size / stride)` long.

    Window o belongs to pixel `o stride`: sampling never depends on the width.
    """
    size = x.shape[dim] - (width - 1)
    before = (slice(None),) * dim
    return [x[(*before, slice(t, t + size, stride))] for t in range(width)]


def stored_as(grid: Grid, x: Tensor) -> Tensor:
    """`x` in the dtype and the memory format of the grid's values."""
    return as_stored(x.to(grid.values.dtype), grid.values)
