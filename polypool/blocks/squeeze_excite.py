"""Squeeze-and-Excitation over any pooling, on any layout."""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor, nn

from polypool.layouts import Layout, Packed, as_layout
from polypool.pooling import Pooling
from polypool.registry import build

GATES: dict[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "hard_sigmoid": nn.Hardsigmoid, "tanh": nn.Tanh}


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate that sees the pooled whole: `x * gate(W2 relu(W1 pool(x)))`.

    Tensor in, tensor out; layout in, layout out. Memory format and dtype are kept, padding becomes 0.

    Args:
        channels: The channels C of the values.
        reduction: C is squeezed to `C // reduction` between the two linear maps.
        pool: A name or a pooling; one with more output channels widens the first map.
        gate: `"sigmoid"`, `"hard_sigmoid"`, `"tanh"`, or a module.

    Shapes:
        The shape of the values, in and out.

    Raises:
        TypeError: `channels` or `reduction` is not an int.
        ValueError: `reduction` leaves no channel, or the gate is unknown.

    Source:
        Hu, Shen, Sun 2018, Squeeze-and-Excitation Networks, eq. 2 to 4. Unlike most implementations it never counts
        padding, in the squeeze or after the gate.

    Example:
        >>> import torch, polypool as pp
        >>> block = pp.blocks.SqueezeExcite(32)
        >>> block(torch.randn(2, 32, 8, 8)).shape
        torch.Size([2, 32, 8, 8])
        >>> block(pp.Nodes(torch.randn(5, 32), torch.tensor([0, 0, 1, 1, 1])))
        Nodes(values=(5, 32), num_cells=2)
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        pool: str | Pooling = "mean",
        gate: str | nn.Module = "sigmoid",
    ) -> None:
        super().__init__()
        for what, value in (("channels", channels), ("reduction", reduction)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{what} must be an int; found {type(value).__name__}.")
        if channels < 1:
            raise ValueError(f"channels must be at least 1; found {channels}.")
        squeezed = channels // reduction if reduction > 0 else 0
        if squeezed < 1:
            raise ValueError(
                f"reduction must leave at least one of {channels} channels; found {reduction}. "
                f"Use at most {channels}."
            )
        self.channels = channels
        self.pool = _pool(pool, channels)
        self.squeeze = nn.Linear(self.pool.out_channels(channels), squeezed)
        self.act = nn.ReLU()
        self.excite = nn.Linear(squeezed, channels)
        self.gate = _gate(gate)

    @overload
    def forward(self, x: Layout) -> Layout: ...
    @overload
    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        offsets: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> Tensor: ...
    def forward(
        self,
        x: Layout | Tensor,
        *,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        offsets: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> Layout | Tensor:
        """Scales the values of a layout, or of a tensor with what `as_layout` takes."""
        layout = as_layout(x, mask=mask, lengths=lengths, offsets=offsets, batch=batch, num_graphs=num_graphs)
        if layout.channels != self.channels:
            raise ValueError(
                f"values must have the {self.channels} channels that the block was built for; found "
                f"{layout.channels}. Build it for {layout.channels}."
            )
        pooled = layout.rows_of(self.pool(layout))
        gate = self.gate(self.excite(self.act(self.squeeze(pooled))))
        scaled = layout.scale(gate.to(layout.values.dtype))
        if isinstance(x, Layout):
            return layout.with_values(scaled)
        if isinstance(layout, Packed) and x.is_nested:
            return torch.nested.nested_tensor_from_jagged(scaled, layout.offsets)
        return scaled


def _pool(pool: str | Pooling, channels: int) -> Pooling:
    built = build(pool, channels=channels) if isinstance(pool, str) else pool
    if not isinstance(built, Pooling):
        raise TypeError(f"pool must be a name or a Pooling; found {built!r}.")
    if built.channels not in (None, channels):
        raise ValueError(f"pool must be built for channels = {channels}; found one for {built.channels}.")
    return built


def _gate(gate: str | nn.Module) -> nn.Module:
    if isinstance(gate, nn.Module):
        return gate
    if gate not in GATES:
        raise ValueError(f"gate must be one of {', '.join(GATES)} or a module; found {gate!r}.")
    return GATES[gate]()
