"""Coordinate attention: a gate for every row and every column, from strips pooled across."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polypool.blocks._layers import ACTIVATIONS, Layer, layer, reduced
from polypool.blocks._norm import BatchNorm
from polypool.blocks.block import cleaned, times_map
from polypool.blocks.gate import Gate
from polypool.blocks.registry import register
from polypool.layouts import Grid, Layout, Regions
from polypool.pooling import Pooling
from polypool.poolings import MeanPool
from polypool.poolings._settings import count


@register(
    "coordinate_attention",
    aliases=("ca",),
    variants=(
        {"pool": "mean+max", "norm": False, "rd_channels": 2},
        {"dims": 1},
        {"dims": 3, "rd_ratio": 0.5, "rd_divisor": 1},
    ),
    source="Hou, Zhou, Feng 2021, Coordinate Attention for Efficient Mobile Network Design, eq. 4 to 9",
)
class CoordinateAttention(Gate):
    """Scales every pixel by the gates of its row and of its column: `x[i, j] * gate(W_h f_h[i]) * gate(W_w f_w[j])`.

    `[f_h, f_w] = act(BN(W [z_h, z_w]))`, where `z_h[i]` pools row `i` and `z_w[j]` pools column `j`; likewise with one
    or three dimensions, where a strip is a slice.

    Args:
        channels: The channels C of the values.
        pool: What a strip becomes, a name or a pooling; one with more output channels widens the first map.
        rd_ratio: The part of the channels that is left in the middle, to the nearest multiple of `rd_divisor`.
        rd_channels: Their number, in place of the ratio.
        rd_divisor: See `rd_ratio`; at least so many channels are left.
        act_layer: The activation: a name, a class or a module.
        gate_layer: The gates: a name, a class or a module.
        norm: Whether the middle is batch-normalised, over the strips that have a real pixel.
        dims: Spatial dimensions of the grids.
        device: Where the parameters are made.
        dtype: What the parameters are.

    Shapes:
        `(B, C, *S)` in and out: grids alone, as strips need rows and columns.

    Raises:
        TypeError: `channels` is not an int.
        ValueError: No channel is left, or the pooling or the gate is unknown.

    Source:
        Hou, Zhou, Feng 2021, Coordinate Attention for Efficient Mobile Network Design, eq. 4 to 9.

    Example:
        >>> import torch, polypool as pp
        >>> pp.blocks.CoordinateAttention(16)(torch.randn(2, 16, 5, 7)).shape
        torch.Size([2, 16, 5, 7])
    """

    layouts = ("grid",)
    parts = ("pool", "squeeze", "norm", "excite")

    def __init__(
        self,
        channels: int,
        pool: str | Pooling = "mean",
        *,
        rd_ratio: float = 1 / 32,
        rd_channels: int | None = None,
        rd_divisor: int = 8,
        act_layer: Layer = nn.Hardswish,
        gate_layer: Layer = "sigmoid",
        norm: bool = True,
        dims: int = 2,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(channels, pool, gate_layer, device=device, dtype=dtype, dims=count(dims, "dims"))
        hidden = reduced(channels, rd_ratio, rd_channels, rd_divisor)
        self.squeeze = nn.Linear(self.pool.out_channels(channels), hidden, device=device, dtype=dtype)
        self.norm = BatchNorm(hidden, device=device, dtype=dtype) if norm else None
        self.act = layer(act_layer, "act_layer", ACTIVATIONS)
        self.excite = nn.ModuleList(
            [nn.Linear(hidden, channels, device=device, dtype=dtype) for _ in range(dims)]
        )

    def transform(self, pooled: Tensor, layout: Layout) -> Tensor:
        """The middle, `(strips, hidden)`, of pooled strips."""
        raise NotImplementedError("CoordinateAttention has one transform for each dimension; see values_of.")

    def values_of(self, layout: Layout) -> Tensor:
        if not isinstance(layout, Grid):
            raise TypeError(f"CoordinateAttention needs a Grid; found {type(layout).__name__}.")
        pooled = [self._strips_pooled(layout, dim) for dim in range(len(layout.spatial))]
        hidden = self.squeeze(torch.cat(pooled, dim=1))  # (B, sum of sizes, hidden)
        if self.norm is not None:
            hidden = self.norm(hidden, _real(layout))
        hidden = self.act(hidden)
        values = cleaned(layout)
        parts = hidden.split(list(layout.spatial), dim=1)
        for dim, (part, excite) in enumerate(zip(parts, self.excite, strict=True)):
            gates = self.gate(excite(part))  # (B, size, C)
            shape = [1] * len(layout.spatial)
            shape[dim] = layout.spatial[dim]
            values = times_map(layout, values, gates.unflatten(1, tuple(shape)))
        return values

    def _strips_pooled(self, grid: Grid, dim: int) -> Tensor:
        """`(B, size, C_out)`, one row for every place along a dimension."""
        if type(self.pool) is MeanPool and grid.mask is None and grid.weight is None:
            # What torch does in one operation, in the order of the memory.
            first = 1 if grid.channels_last else 2
            others = [first + d for d in range(len(grid.spatial)) if d != dim]
            wide = torch.promote_types(grid.values.dtype, torch.float32)
            mean = grid.values.mean(others, dtype=wide).to(grid.values.dtype) if others else grid.values
            return mean if grid.channels_last else mean.mT
        strips = _strips(grid, dim)
        return _in_line(grid, dim, strips.rows_of(self.pool(strips)))


def _strips(grid: Grid, dim: int) -> Regions:
    """One cell for every place along a dimension."""
    return grid.bins([size if d == dim else 1 for d, size in enumerate(grid.spatial)])


def _in_line(grid: Grid, dim: int, rows: Tensor) -> Tensor:
    """Rows of strips as `(B, size, c)`."""
    return rows.unflatten(0, (grid.num_cells, grid.spatial[dim]))


def _real(grid: Grid) -> Tensor | None:
    """Which strips have a real pixel, `(B, sum of sizes, 1)`; None when all have."""
    if grid.mask is None and grid.weight is None:
        return None
    dims = range(len(grid.spatial))
    counts = [_in_line(grid, dim, _strips(grid, dim).counts.unsqueeze(-1)) for dim in dims]
    return torch.cat(counts, dim=1) > 0
