"""The one shape of most blocks: pool, transform, gate, and bring the gate back to the elements."""

from __future__ import annotations

import torch
from torch import Tensor

from polypool.blocks._layers import GATES, Layer, layer, pooling
from polypool.blocks.block import Block
from polypool.layouts import Layout
from polypool.pooling import Pooling


class Gate(Block):
    """Scales every element by what the pooled whole says: `x * gate(transform(pool(x)))`.

    A subclass defines `transform`; without one, the pooled row is the gate's input as it is. For overlapping or soft
    cells an element takes the weighted sum of the gates of its cells.

    Args:
        channels: The channels C of the values.
        pool: A name or a pooling.
        gate: `"sigmoid"`, `"hard_sigmoid"`, `"tanh"`, `"double_sigmoid"` (which is 1 at 0), a class or a module.
        device: Where the parameters are made.
        dtype: What the parameters are.
        dims: The spatial dimensions of the grids, for a block that is built for some; None when any number will do.

    Shapes:
        The shape of the values, in and out.

    Raises:
        TypeError: `channels` is not an int, or `pool` is no pooling.
        ValueError: The pooling or the gate is unknown, or the pooling does not give what the transform takes.

    Example:
        >>> import torch, polypool as pp
        >>> gate = pp.blocks.Gate(1, pool="max", gate=torch.nn.Identity())
        >>> gate(pp.Tokens(torch.tensor([[[1.0], [3.0]]]))).values
        tensor([[[3.],
                 [9.]]])
    """

    def __init__(
        self,
        channels: int,
        pool: str | Pooling = "mean",
        gate: Layer = "sigmoid",
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        dims: int | None = None,
    ) -> None:
        super().__init__(channels, dims)
        self.pool = pooling(pool, self.channels, device, dtype)
        self.gate = layer(gate, "gate", GATES)
        if type(self).transform is Gate.transform and self.pool.out_channels(channels) != channels:
            raise ValueError(
                f"pool must give {channels} channels, as nothing follows that changes them; {self.pool.card.name} "
                f"gives {self.pool.out_channels(channels)}."
            )

    def transform(self, pooled: Tensor, layout: Layout) -> Tensor:
        """What goes into the gate, `(num_cells, C)`, from the pooled rows `(num_cells, C_out)` of the layout."""
        return pooled

    def gates(self, layout: Layout) -> Tensor:
        """The gate of each cell, `(num_cells, C)`."""
        pooled = layout.rows_of(self.pool(layout))
        gates: Tensor = self.gate(self.transform(pooled, layout))
        return gates

    def values_of(self, layout: Layout) -> Tensor:
        return layout.scale(self.gates(layout).to(layout.values.dtype))
