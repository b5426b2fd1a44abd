"""Any pooling over whole rows or whole columns."""

from __future__ import annotations

from typing import Literal, overload

from torch import Tensor, nn

from polypool import _checks
from polypool.layouts import Grid
from polypool.pooling import Pooling
from polypool.vision._grids import as_grid, as_pooling
from polypool.vision.bin_pool import BinPool

NAMED = {"rows": 0, "columns": 1}


class StripPool(nn.Module):
    """Pools each row of an image, or each column: it keeps one coordinate and forgets the others.

    `y[:, i, 0] = pool({x[:, i, j] : j})` for rows.

    Args:
        pool: A name or a pooling.
        each: What becomes one number per channel: `"rows"`, `"columns"`, or the spatial dimension that is kept, from
            0 (in a volume, 0 is each slice of the first dimension).

    Shapes:
        `(B, C, H, W)` to `(B, C_out, H, 1)` for rows and `(B, C_out, 1, W)` for columns, so that the two broadcast
        against the image; or a `Grid` to a `Grid`. Other numbers of dimensions alike.

    Padding and weights of a grid:
        As in every layout. A strip without a real pixel gives 0, and is padding in the grid that comes out.

    Raises:
        TypeError: `each` is neither a name nor an int, or `pool` neither a name nor a pooling.
        ValueError: The input has no such dimension.

    Source:
        Hou, Zhang, Cheng, Feng 2020, Strip Pooling, eq. 1 and 2; their eq. 3 is `rows(x) + columns(x)`.

    Example:
        >>> import torch
        >>> from polypool.vision import StripPool
        >>> x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
        >>> rows, columns = StripPool("mean", "rows")(x), StripPool("max", "columns")(x)
        >>> rows, columns
        (tensor([[[[1.5000], [4.5000]]]]), tensor([[[[3., 6.]]]]))
        >>> (rows + columns).shape
        torch.Size([1, 1, 2, 2])
    """

    def __init__(self, pool: str | Pooling = "mean", each: Literal["rows", "columns"] | int = "rows") -> None:
        super().__init__()
        self.pool = as_pooling(pool)
        if isinstance(each, str) and each not in NAMED:
            raise ValueError(f'each must be "rows", "columns" or a spatial dimension; found {each!r}.')
        self.each = each
        self.kept = NAMED[each] if isinstance(each, str) else _checks.size(each, "each", 0)

    @overload
    def forward(self, x: Grid) -> Grid: ...
    @overload
    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor: ...
    def forward(self, x: Grid | Tensor, *, mask: Tensor | None = None) -> Grid | Tensor:
        """Pools a tensor `(B, C, *S)` with an optional mask `(B, *S)`, or a grid."""
        grid = as_grid(x, mask)
        dims = len(grid.spatial)
        if self.kept >= dims:
            raise ValueError(
                f"each must name one of the {dims} spatial dimensions of the input, from 0; found {self.each!r}."
            )
        strips = BinPool(self.pool, [None if d == self.kept else 1 for d in range(dims)])
        pooled = strips(grid)
        return pooled if isinstance(x, Grid) else pooled.values

    def out_channels(self, in_channels: int) -> int:
        """How many channels the result has for values with `in_channels`."""
        return self.pool.out_channels(in_channels)

    def extra_repr(self) -> str:
        return f"each={self.each!r}"
