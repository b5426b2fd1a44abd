"""Efficient channel attention: a short convolution over the channels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from polypool import _checks
from polypool.blocks._layers import Layer, numbers_each
from polypool.blocks.gate import Gate
from polypool.blocks.registry import register
from polypool.layouts import Layout
from polypool.pooling import Pooling


@register(
    "eca",
    variants=({"pool": "mean+max", "kernel_size": 5},),
    source="Wang, Wu, Zhu, Li, Zuo, Hu 2020, ECA-Net, section 3.2: k = |log2(C) / gamma + b / gamma|, odd",
)
class ECA(Gate):
    """A gate for each channel from its own pooled number and those of its neighbours: `x * gate(conv_k(pool(x)))`.

    The same `k` taps slide over the channels, with zeros beyond the first and the last.

    Args:
        channels: The channels C of the values.
        kernel_size: The taps k, odd; when None, the odd number next to `(log2(C) + beta) / gamma`, at least 3.
        pool: A name or a pooling; one with m numbers for each channel has m rows of taps.
        gamma: How slowly k grows with the channels.
        beta: See `kernel_size`.
        gate_layer: `"sigmoid"`, another name, a class or a module.
        device: Where the parameters are made.
        dtype: What the parameters are.

    Shapes:
        The shape of the values, in and out.

    Raises:
        TypeError: `channels` or `kernel_size` is not an int.
        ValueError: `kernel_size` is even, the pooling does not give as many numbers for each channel, or it or the
            gate is unknown.

    Source:
        Wang, Wu, Zhu, Li, Zuo, Hu 2020, ECA-Net: Efficient Channel Attention for Deep CNNs, section 3.2.

    Example:
        >>> import torch, polypool as pp
        >>> block = pp.blocks.ECA(64)
        >>> block.conv.kernel_size, sum(p.numel() for p in block.parameters())
        ((3,), 3)
        >>> block(pp.Packed(torch.randn(5, 64), torch.tensor([0, 2, 5])))
        Packed(values=(5, 64), num_cells=2)
    """

    parts = ("pool", "conv")
    flavours: ClassVar[Mapping[str, Mapping[str, str | None]]] = {"timm EcaModule": {"conv": "conv"}}

    def __init__(
        self,
        channels: int,
        kernel_size: int | None = None,
        pool: str | Pooling = "mean",
        *,
        gamma: float = 2,
        beta: float = 1,
        gate_layer: Layer = "sigmoid",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(channels, pool, gate_layer, device=device, dtype=dtype)
        if kernel_size is None:
            wanted = int(abs((math.log2(channels) + beta) / gamma))
            kernel_size = max(wanted + 1 - wanted % 2, 3)
        elif _checks.size(kernel_size, "kernel_size", 1) % 2 == 0:
            raise ValueError(
                f"kernel_size must be odd, to have a middle; found {kernel_size}. Use {kernel_size + 1}."
            )
        self.conv = nn.Conv1d(
            numbers_each(self.pool, channels),
            1,
            kernel_size,
            padding=kernel_size // 2,
            bias=False,
            device=device,
            dtype=dtype,
        )

    def transform(self, pooled: Tensor, layout: Layout) -> Tensor:
        out: Tensor = self.conv(pooled.unflatten(-1, (-1, self.channels)))
        return out.squeeze(1)

    @classmethod
    def sizes_of(cls, state: Mapping[str, Tensor], source: str) -> dict[str, Any]:
        """All but the channels, which taps do not tell."""
        return {"kernel_size": state["conv.weight"].shape[-1]}
