"""Style recalibration: each channel is scaled by what its own mean and standard deviation say."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polypool.blocks._layers import Layer, numbers_each
from polypool.blocks._norm import BatchNorm
from polypool.blocks.gate import Gate
from polypool.blocks.registry import register
from polypool.layouts import Layout
from polypool.pooling import Pooling


@register(
    "style_recalibration",
    aliases=("srm",),
    variants=({"norm": False, "pool": "mean+max+std"},),
    source="Lee, Kim, Nam 2019, SRM: a Style-based Recalibration Module, section 3: sigmoid(BN(w_c . [mean_c, std_c]))",
)
class StyleRecalibration(Gate):
    """A gate for each channel from its own style: `x * gate(BN(sum_k w_k,c t_k,c))`, `t = [mean, std]`.

    Channels are never mixed. In training the normalisation is over the cells of the batch, empty ones left out.

    Args:
        channels: The channels C of the values.
        pool: A name or a pooling that gives m numbers for each channel, one block of C after the other.
        norm: Whether the gate's input is batch-normalised; without it, a constant for each channel is added.
        gate_layer: The gate: a name, a class or a module.
        device: Where the parameters are made.
        dtype: What the parameters are.

    Shapes:
        The shape of the values, in and out.

    Raises:
        TypeError: `channels` is not an int.
        ValueError: The pooling does not give as many numbers for each channel, it or the gate is unknown, or a batch
            in training has a single cell.

    Source:
        Lee, Kim, Nam 2019, SRM: A Style-based Recalibration Module for Convolutional Neural Networks, section 3. The
        deviation is that of the population, without the authors' small constant.

    Example:
        >>> import torch, polypool as pp
        >>> block = pp.blocks.StyleRecalibration(8)
        >>> x = torch.randn(2, 8, 5, 5)
        >>> torch.allclose(block(x), 0.5 * x)  # the weights start at 0
        True
    """

    parts = ("pool", "weight", "bias", "norm")

    def __init__(
        self,
        channels: int,
        pool: str | Pooling = "mean+std",
        *,
        norm: bool = True,
        gate_layer: Layer = "sigmoid",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(channels, pool, gate_layer, device=device, dtype=dtype)
        each = numbers_each(self.pool, channels)
        self.weight = nn.Parameter(torch.zeros(channels, each, device=device, dtype=dtype))
        self.norm = BatchNorm(channels, device=device, dtype=dtype) if norm else None
        self.bias = None if norm else nn.Parameter(torch.zeros(channels, device=device, dtype=dtype))

    def transform(self, pooled: Tensor, layout: Layout) -> Tensor:
        styles = pooled.unflatten(-1, (-1, self.channels))
        z = (styles * self.weight.t()).sum(-2)
        if self.norm is None:
            return z if self.bias is None else z + self.bias
        out: Tensor = self.norm(z, _filled(layout))
        return out


def _filled(layout: Layout) -> Tensor | None:
    """Which cells have elements, `(num_cells, 1)`; None when all have."""
    return (layout.counts > 0).unsqueeze(-1) if layout.cells.can_be_empty else None
