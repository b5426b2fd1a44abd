"""R-MAC: overlapping squares of several sizes, each with the same say, in one vector."""

from __future__ import annotations

from math import ceil, floor

import torch
from torch import Tensor, nn

from polypool import _checks
from polypool.cells import root, run, safe
from polypool.cells.dense import wide
from polypool.layouts import Grid
from polypool.pooling import Pooling
from polypool.vision._grids import as_grid, as_pooling

OVERLAP = 0.4


def rmac_regions(height: int, width: int, levels: int = 3) -> list[tuple[int, int, int]]:
    """The squares of R-MAC: `(top, left, side)`, level by level.

    At level 1 the side is that of the shorter side of the map, and as many squares lie along the longer one as make
    neighbours overlap by about 40 %: m, at least 2 when the map is no square. Level l has `l (l + m - 1)` squares of
    side `2 min(H, W) / (l + 1)`, evenly spread, first to last from border to border; sides and places are rounded
    down, in whole numbers. Levels whose side is 0 are left out.

    Args:
        height: The rows of the map.
        width: Its columns.
        levels: How many levels.

    Raises:
        TypeError: A size is not an int.
        ValueError: A size is below 1.

    Example:
        >>> from polypool.vision import rmac_regions
        >>> rmac_regions(4, 6, levels=1)
        [(0, 0, 4), (0, 2, 4)]
        >>> [len(rmac_regions(12, 12, levels=n)) for n in (1, 2, 3)]
        [1, 5, 14]
    """
    for value, what in ((height, "height"), (width, "width"), (levels, "levels")):
        _checks.size(value, what, 1)
    short, long = min(height, width), max(height, width)
    more = _along_the_longer_side(short, long) - 1
    regions = []
    for level in range(1, levels + 1):
        side = 2 * short // (level + 1)
        if side == 0:
            break
        tops = _starts(height, side, level + (more if height > width else 0))
        lefts = _starts(width, side, level + (more if width > height else 0))
        regions += [(top, left, side) for top in tops for left in lefts]
    return regions


def _along_the_longer_side(short: int, long: int) -> int:
    """m: how many squares of the shorter side overlap by as near to 40 % as can be."""
    if short == long:
        return 1
    steps = (long - short) / ((1 - OVERLAP) * short)  # between squares, were the overlap exact

    def miss(m: int) -> float:
        return abs(1 - (long - short) / ((m - 1) * short) - OVERLAP)

    return min((max(floor(steps) + 1, 2), max(ceil(steps) + 1, 2)), key=miss)


def _starts(length: int, side: int, count: int) -> list[int]:
    """Where so many squares begin along one side of the map."""
    if count == 1:
        return [0]
    return [i * (length - side) // (count - 1) for i in range(count)]


class RMAC(nn.Module):
    """Pools squares of several sizes, makes each vector one of length 1, and adds them up: a descriptor of an image.

    `y = n(sum_R n(W n(pool(R))))` over the regions R of `rmac_regions`, with `n(v) = v / |v|` and an optional map W.

    Args:
        pool: A name or a pooling: what a region becomes.
        levels: How many sizes of squares.
        whiten: A module from `(N, C_out)` to `(N, D)` for the vectors of the regions, such as a linear layer that
            holds a whitening; they are brought to length 1 before and after.
        whole: Whether the whole map is one region more, as in the code that accompanies later papers.

    Shapes:
        `(B, C, H, W)`, or a two-dimensional `Grid`, to `(B, C_out)` of length 1, or `(B, D)` with `whiten`.

    Padding and weights of a grid:
        What is not real is not read, and a region without a real pixel adds nothing. The regions are those of the
        tensor, not of the image inside its padding.

    Empty cells:
        An image without a real pixel gives 0.

    Raises:
        TypeError: `levels` is not an int, `pool` neither a name nor a pooling, or `whiten` no module.
        ValueError: `levels` is below 1, or the input has not two spatial dimensions.

    Cost:
        One read of each region, some four times the map with three levels; no region is copied. Programs that are
        compiled or exported are for one size of the map.

    Source:
        Tolias, Sicre, Jegou 2016, Particular Object Retrieval with Integral Max-Pooling of CNN Activations,
        sections 3.2 and 3.3.

    Example:
        >>> import torch
        >>> from polypool.vision import RMAC
        >>> torch.manual_seed(0)
        <torch...>
        >>> described = RMAC()(torch.rand(2, 8, 7, 10))
        >>> described.shape, described.norm(dim=1)
        (torch.Size([2, 8]), tensor([1., 1.]))
    """

    def __init__(
        self,
        pool: str | Pooling = "max",
        levels: int = 3,
        *,
        whiten: nn.Module | None = None,
        whole: bool = False,
    ) -> None:
        super().__init__()
        self.pool = as_pooling(pool)
        self.levels = _checks.size(levels, "levels", 1)
        given: object = whiten
        if given is not None and not isinstance(given, nn.Module):
            raise TypeError(f"whiten must be a module or None; found {type(given).__name__}.")
        self.whiten = whiten
        self.whole = _checks.flag(whole, "whole")

    def forward(self, x: Grid | Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Describes the images of a tensor `(B, C, H, W)` with an optional mask `(B, H, W)`, or of a grid."""
        grid = as_grid(x, mask)
        if len(grid.spatial) != 2:
            raise ValueError(
                f"values must have two spatial dimensions; found {len(grid.spatial)}. R-MAC is about squares."
            )
        height, width = grid.spatial
        regions = [
            _cut(grid, slice(top, top + side), slice(left, left + side))
            for top, left, side in rmac_regions(height, width, self.levels)
        ]
        if self.whole:
            regions.append(grid)
        vectors = torch.stack([unit(wide(self.pool(region))) for region in regions])
        if self.whiten is not None:
            flat = unit(run(self.whiten, vectors.flatten(0, 1)))
            vectors = flat.unflatten(0, vectors.shape[:2])
            if grid._real_elements is not None:
                there = torch.stack([region.counts > 0 for region in regions]).unsqueeze(-1)
                vectors = torch.where(there, vectors, torch.zeros_like(vectors))
        return unit(vectors.sum(0)).to(grid.values.dtype)

    def out_channels(self, in_channels: int) -> int:
        """How many numbers the descriptor has for values with `in_channels`, before `whiten`."""
        return self.pool.out_channels(in_channels)

    def extra_repr(self) -> str:
        return f"levels={self.levels}" + (", whole=True" if self.whole else "")


def _cut(grid: Grid, rows: slice, columns: slice) -> Grid:
    """A rectangle of a grid: views, no copies."""
    at = (slice(None), rows, columns) if grid.channels_last else (slice(None), slice(None), rows, columns)
    places = (slice(None), rows, columns)
    return Grid(
        grid.values[at],
        None if grid.mask is None else grid.mask[places],
        grid.channels_last,
        weight=None if grid.weight is None else grid.weight[places],
    )


def unit(v: Tensor) -> Tensor:
    """`v / |v|` of each row; 0 stays 0, with finite derivatives. What is divided by its largest does not overflow."""
    top = safe(v.detach().abs().amax(-1, keepdim=True))
    scaled = v / torch.where(top.isfinite(), top, torch.ones_like(top))
    return scaled / safe(root((scaled * scaled).sum(-1, keepdim=True)))
