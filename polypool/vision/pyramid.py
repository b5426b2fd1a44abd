"""Spatial pyramids: bins of several sizes, one after the other in one vector."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from polypool import _checks
from polypool.layouts import Grid
from polypool.pooling import Pooling
from polypool.vision._borders import per_dimension
from polypool.vision._grids import as_grid, as_pooling
from polypool.vision.bin_pool import BinPool, Shared


class SpatialPyramid(nn.Module):
    """Pools the whole image, its quarters, its ninths, ...: a vector of one length for images of any size.

    Args:
        levels: Bins along each dimension, level by level: one number, or one per spatial dimension. `(1, 2, 4)` are
            1, 4 and 16 bins of an image.
        pool: A name or a pooling for all levels, or a sequence with one for each. A name makes one pooling for each
            level, with parameters of its own; a pooling that is given for all is one and the same.
        shared: What a pixel counts that lies in two bins, as in `BinPool`.

    Shapes:
        `(B, C, *S)` with 1 to 3 spatial dimensions, or a `Grid`, to `(B, sum_l C_l n_l)` where level l has n_l bins:
        level after level, in each of them channel after channel, and each channel's bins in the order of the image.

    Padding and weights of a grid:
        As in `BinPool`: bins cut the tensor, and what is not real is not read.

    Raises:
        TypeError: A size is not an int, or a pooling is neither a name nor a pooling.
        ValueError: There is no level, a size is below 1 or does not fit the dimensions of the input, or there are
            not as many poolings as levels.

    Source:
        He, Zhang, Ren, Sun 2014, Spatial Pyramid Pooling in Deep Convolutional Networks, section 2.2, with maxima
        over bins that may overlap by one pixel: `shared="whole"`. Maxima over `"area"` bins are the same.

    Example:
        >>> import torch
        >>> from polypool.vision import SpatialPyramid
        >>> pyramid = SpatialPyramid((1, 2), ["mean", "max"])
        >>> pyramid(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]))
        tensor([[3., 1., 2., 3., 6.]])
        >>> pyramid.out_channels(8)
        40
    """

    def __init__(
        self,
        levels: Sequence[int | Sequence[int]] = (1, 2, 4),
        pool: str | Pooling | Sequence[str | Pooling] = "max",
        *,
        shared: Shared = "area",
    ) -> None:
        super().__init__()
        given: object = levels
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise TypeError(f"levels must be a sequence of sizes; found {type(given).__name__}.")
        self.levels = tuple(per_dimension(level, "levels") for level in levels)
        if not self.levels:
            raise ValueError("levels must hold at least one; found none. (1,) pools the whole image.")
        if isinstance(pool, str | Pooling):
            pools: Sequence[str | Pooling] = [pool] * len(self.levels)
        else:
            pools = list(pool)
        if len(pools) != len(self.levels):
            raise ValueError(
                f"pool must be one for all or one for each of the {len(self.levels)} levels; found {len(pools)}."
            )
        self.bins = nn.ModuleList(
            BinPool(as_pooling(each), level, shared=shared)
            for each, level in zip(pools, self.levels, strict=True)
        )

    def forward(self, x: Grid | Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Pools a tensor `(B, C, *S)` with an optional mask `(B, *S)`, or a grid."""
        grid = as_grid(x, mask)
        parts = []
        for bins in self.bins:
            pooled = bins(grid).values
            parts.append((pooled.movedim(-1, 1) if grid.channels_last else pooled).flatten(1))
        return torch.cat(parts, dim=1)

    def out_channels(self, in_channels: int, dims: int = 2) -> int:
        """How many numbers the vector has for values with `in_channels` and `dims` spatial dimensions."""
        return sum(
            bins.out_channels(in_channels) * prod(_checks.sizes(level, "levels", dims, 1))  # type: ignore[operator]
            for bins, level in zip(self.bins, self.levels, strict=True)
        )
