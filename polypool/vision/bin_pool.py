"""Any pooling over a given number of bins: what `nn.AdaptiveAvgPool2d` is for the mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor, nn

from polypool import _checks
from polypool.cells import safe
from polypool.cells.dense import wide
from polypool.layouts import Grid, Regions
from polypool.layouts.regions import Bins, Intervals
from polypool.pooling import Pooling
from polypool.poolings import MaxPool, MeanPool, MinPool, SumPool
from polypool.vision._borders import stored_as
from polypool.vision._grids import (
    as_grid,
    as_pooling,
    channels_first,
    expanded,
    pooled_grid,
    real_plane,
    weighted_plane,
)

Shared = Literal["area", "whole"]


@dataclass(frozen=True)
class Touching(Bins):
    """Bins of all the pixels that they touch: those of `nn.AdaptiveAvgPool2d`."""

    def cut(self, length: int, dim: int, device: torch.device) -> Intervals:
        exact = super().cut(length, dim, device)
        if exact.share is None:
            return exact
        share = (exact.share > 0).double()
        return Intervals(length, exact.count, exact.width, exact.index, share, True, False)


class BinPool(nn.Module):
    """Cuts the grid into so many bins along each dimension and pools each: `nn.AdaptiveAvgPool2d` with any operator.

    With sizes that divide these are the bins of torch. Where they do not, a pixel lies in two bins.

    Args:
        pool: A name or a pooling.
        output_size: Bins along each dimension, one number or one per spatial dimension; None keeps the size of the
            grid. 1 is global pooling with its dimensions kept.
        shared: What a pixel counts that lies in two bins. `"area"`: the part that lies in the bin, so that all
            pixels count the same in the end; members have weights, which order statistics cannot take. `"whole"`: 1
            in both, as in torch; a mean over the bins then counts some pixels twice.

    Shapes:
        `(B, C, *S)` with 1 to 3 spatial dimensions to `(B, C_out, *output_size)`, in the same memory format; or a
        `Grid` to a `Grid`.

    Padding and weights of a grid:
        As in every layout. Bins cut the tensor: for the bins of each image inside its padding, give `RoIPool` the
        boxes of `bounding_boxes(mask)`. A bin without a real pixel gives 0, and is padding in the grid that comes
        out.

    Raises:
        TypeError: A size is not an int, or `pool` is neither a name nor a pooling.
        ValueError: A size is below 1 or does not fit the dimensions of the input, `shared` is unknown, or the grid
            has no pixels.
        NotImplementedError: An order statistic over `"area"` bins that do not divide.

    Cost:
        `mean`, `sum`, `max` and `min` go one dimension after the other, in about one read of the input and at most
        three copies of its rows; the others write out the bins.

    Example:
        >>> import torch
        >>> from polypool.vision import BinPool
        >>> x = torch.tensor([[[0.0, 3.0, 6.0]]])
        >>> BinPool("mean", 2)(x)
        tensor([[[1., 5.]]])
        >>> BinPool("mean", 2, shared="whole")(x)
        tensor([[[1.5000, 4.5000]]])
    """

    def __init__(
        self,
        pool: str | Pooling,
        output_size: int | Sequence[int | None] | None = 1,
        *,
        shared: Shared = "area",
    ) -> None:
        super().__init__()
        self.pool = as_pooling(pool)
        self.output_size = _bins(output_size)
        if shared not in ("area", "whole"):
            raise ValueError(f'shared must be "area" or "whole"; found {shared!r}.')
        self.shared = shared

    @overload
    def forward(self, x: Grid) -> Grid: ...
    @overload
    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor: ...
    def forward(self, x: Grid | Tensor, *, mask: Tensor | None = None) -> Grid | Tensor:
        """Pools a tensor `(B, C, *S)` with an optional mask `(B, *S)`, or a grid."""
        grid = as_grid(x, mask)
        rule = self._rule(grid.spatial)
        pooled = _one_dimension_at_a_time(self.pool, grid, rule)
        if pooled is None:
            pooled = self.pool(Regions(grid, rule))
        return pooled_grid(grid, pooled, lambda g: Regions(g, rule)) if isinstance(x, Grid) else pooled

    def _rule(self, spatial: tuple[int, ...]) -> Bins:
        if not all(spatial):
            raise ValueError(f"values must have at least one pixel; found the spatial sizes {spatial}.")
        sizes = self.output_size
        listed = sizes if isinstance(sizes, tuple) else (sizes,) * len(spatial)
        if len(listed) != len(spatial):
            expanded(listed, "output_size", len(spatial))  # type: ignore[arg-type]
        chosen = tuple(own if size is None else size for size, own in zip(listed, spatial, strict=True))
        return Bins(chosen) if self.shared == "area" else Touching(chosen)

    def out_channels(self, in_channels: int) -> int:
        """How many channels the result has for values with `in_channels`."""
        return self.pool.out_channels(in_channels)

    def extra_repr(self) -> str:
        said = f"output_size={self.output_size}"
        return said if self.shared == "area" else f"{said}, shared={self.shared!r}"


def _bins(x: object) -> int | tuple[int | None, ...] | None:
    """One number of bins for all dimensions, or one for each; None where the size is that of the grid."""
    if x is None or not isinstance(x, Sequence):
        return None if x is None else _checks.size(x, "output_size", 1)
    if not 1 <= len(x) <= 3:
        raise ValueError(f"output_size must be one int or one per spatial dimension, 1 to 3; found {len(x)}.")
    return tuple(None if one is None else _checks.size(one, "output_size", 1) for one in x)


def _one_dimension_at_a_time(pool: Pooling, grid: Grid, rule: Bins) -> Tensor | None:
    """What is a sum or a maximum of sums or maxima; None for the other operators."""
    kind = type(pool)
    if kind not in (MeanPool, SumPool, MaxPool, MinPool):
        return None
    cuts = [rule.cut(length, d, grid.values.device) for d, length in enumerate(grid.spatial)]
    x, real = channels_first(grid), real_plane(grid)
    if kind in (MaxPool, MinPool):
        x = -x if kind is MinPool else x
        low = torch.full((), -torch.inf, dtype=x.dtype, device=x.device)
        y = _along(x if real is None else torch.where(real, x, low), cuts, largest=True)
        if real is not None:
            y = torch.where(_along(real.to(x.dtype), cuts, largest=True) > 0, y, torch.zeros_like(y))
        y = -y if kind is MinPool else y
    else:
        x, weight = wide(x), weighted_plane(grid, wide(x).dtype)
        if real is not None and weight is not None:
            x = torch.where(real, x, torch.zeros((), dtype=x.dtype, device=x.device)) * weight
        y = _along(x, cuts, largest=False)
        if kind is MeanPool:
            shape = (1, 1, *grid.spatial)
            mass = _along(x.new_ones(shape) if weight is None else weight, cuts, largest=False)
            y = y / safe(mass)
    return stored_as(grid, y.movedim(1, -1) if grid.channels_last else y)


def _along(x: Tensor, cuts: list[Intervals], largest: bool) -> Tensor:
    """Sums or maxima of `(B, c, *S)` over the intervals of each dimension, the last first: so the first of equals wins.

    The last first also is the order of the memory.
    """
    for d in reversed(range(len(cuts))):
        cut, dim = cuts[d], 2 + d
        if cut.width == 1 and cut.index is None:
            continue
        after = (1,) * (len(cuts) - 1 - d)
        if cut.index is None:
            x = x.narrow(dim, 0, cut.count * cut.width)
        else:
            x = x.index_select(dim, cut.index.flatten())
        x = x.unflatten(dim, (cut.count, cut.width))
        if cut.share is not None:
            share = cut.share.reshape(cut.count, cut.width, *after)
            nothing = torch.full((), -torch.inf if largest else 0.0, dtype=x.dtype, device=x.device)
            x = torch.where(share > 0, x, nothing)
            x = x if largest or cut.whole else x * share.to(x.dtype)
        x = x.max(dim + 1).values if largest else x.sum(dim + 1)
    return x
