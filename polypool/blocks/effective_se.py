"""Effective Squeeze-and-Excitation: one linear map, no bottleneck."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from polypool.blocks._layers import Layer
from polypool.blocks.gate import Gate
from polypool.blocks.registry import register
from polypool.layouts import Layout
from polypool.pooling import Pooling


@register(
    "effective_se",
    aliases=("ese",),
    variants=({"pool": "mean+std"},),
    source="Lee, Park 2020, CenterMask, section 3.3, eq. 4 and 5",
)
class EffectiveSE(Gate):
    """Squeeze-and-Excitation with one linear map, so that no channel is lost on the way: `x * gate(W pool(x))`.

    Args:
        channels: The channels C of the values.
        pool: A name or a pooling; one with more output channels widens the map.
        gate_layer: `"hard_sigmoid"`, another name, a class or a module.
        device: Where the parameters are made.
        dtype: What the parameters are.

    Shapes:
        The shape of the values, in and out.

    Raises:
        TypeError: `channels` is not an int.
        ValueError: `channels` is below 1, or the pooling or the gate is unknown.

    Source:
        Lee, Park 2020, CenterMask: Real-Time Anchor-Free Instance Segmentation, section 3.3, eq. 4 and 5.

    Example:
        >>> import torch, polypool as pp
        >>> pp.blocks.EffectiveSE(8)(torch.randn(2, 8, 5, 5)).shape
        torch.Size([2, 8, 5, 5])
    """

    parts = ("pool", "fc")
    flavours: ClassVar[Mapping[str, Mapping[str, str | None]]] = {"timm EffectiveSEModule": {"fc": "fc"}}

    def __init__(
        self,
        channels: int,
        pool: str | Pooling = "mean",
        *,
        gate_layer: Layer = "hard_sigmoid",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(channels, pool, gate_layer, device=device, dtype=dtype)
        self.fc = nn.Linear(self.pool.out_channels(channels), channels, device=device, dtype=dtype)

    def transform(self, pooled: Tensor, layout: Layout) -> Tensor:
        out: Tensor = self.fc(pooled)
        return out

    @classmethod
    def sizes_of(cls, state: Mapping[str, Tensor], source: str) -> dict[str, Any]:
        return {"channels": state["fc.weight"].shape[0]}
