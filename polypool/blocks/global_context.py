"""Global context: the attention-pooled whole scales every element, or is added to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from polypool.blocks._layers import ACTIVATIONS, Bottleneck, Layer, layer, reduced
from polypool.blocks.block import added, cleaned
from polypool.blocks.gate import Gate
from polypool.blocks.registry import register
from polypool.layouts import Layout
from polypool.pooling import Pooling


@register(
    "global_context",
    aliases=("gc",),
    variants=({"fuse_add": True}, {"fuse_add": True, "fuse_scale": False, "pool": "max"}),
    source="Cao, Xu, Lin, Wei, Hu 2019, GCNet, section 3.3: z = x + W2 ReLU(LN(W1 sum_j softmax_j(w x_j) x_j))",
)
class GlobalContext(Gate):
    """One vector for the whole, pooled by attention, scales every element or is added to it.

    `y = x * gate(mlp(c)) + mlp'(c)` with `c = pool(x)`, either term on request, and
    `mlp(c) = W2 act(LayerNorm(W1 c))`.

    Args:
        channels: The channels C of the values.
        pool: A name or a pooling; `"attention"` is that of the paper.
        fuse_add: Whether a vector is added. It starts at 0.
        fuse_scale: Whether a gate scales.
        init_last_zero: Whether the last map of the gate starts at 0 as well.
        rd_ratio: The part of the channels that is left in the middle.
        rd_channels: Their number, in place of the ratio.
        rd_divisor: What the number is a multiple of, when it comes from the ratio.
        act_layer: The activation: a name, a class or a module.
        gate_layer: The gate: a name, a class or a module.
        device: Where the parameters are made.
        dtype: What the parameters are.

    Shapes:
        The shape of the values, in and out.

    Raises:
        TypeError: `channels` is not an int.
        ValueError: Neither path is asked for, no channel is left, or the pooling or the gate is unknown.

    Source:
        Cao, Xu, Lin, Wei, Hu 2019, GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond, section
        3.3. The score has no constant, which a softmax does not see.

    Example:
        >>> import torch, polypool as pp
        >>> block = pp.blocks.GlobalContext(16, fuse_add=True, fuse_scale=False)
        >>> x = torch.randn(2, 16, 4, 4)
        >>> torch.equal(block(x), x)  # what is added starts at 0
        True
    """

    parts = ("pool", "scale", "add")
    flavours: ClassVar[Mapping[str, Mapping[str, str | None]]] = {
        "timm GlobalContext": {
            "conv_attn.weight": "pool.score.weight",
            "conv_attn.bias": None,
            "mlp_scale.fc1": "scale.squeeze",
            "mlp_scale.norm": "scale.norm",
            "mlp_scale.fc2": "scale.excite",
            "mlp_add.fc1": "add.squeeze",
            "mlp_add.norm": "add.norm",
            "mlp_add.fc2": "add.excite",
        }
    }

    def __init__(
        self,
        channels: int,
        pool: str | Pooling = "attention",
        *,
        fuse_add: bool = False,
        fuse_scale: bool = True,
        init_last_zero: bool = False,
        rd_ratio: float = 1 / 8,
        rd_channels: int | None = None,
        rd_divisor: int = 1,
        act_layer: Layer = nn.ReLU,
        gate_layer: Layer = "sigmoid",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(channels, pool, gate_layer, device=device, dtype=dtype)
        if not (fuse_add or fuse_scale):
            raise ValueError("fuse_add or fuse_scale must be True; found both False, which changes nothing.")
        hidden = reduced(channels, rd_ratio, rd_channels, rd_divisor)
        inputs = self.pool.out_channels(channels)

        def path(zero: bool) -> Bottleneck:
            act = layer(act_layer, "act_layer", ACTIVATIONS)
            return Bottleneck(
                inputs, hidden, channels, act, normed=True, zero=zero, device=device, dtype=dtype
            )

        self.scale = path(init_last_zero) if fuse_scale else None
        self.add = path(True) if fuse_add else None

    def values_of(self, layout: Layout) -> Tensor:
        context = layout.rows_of(self.pool(layout))
        if self.scale is None:
            values = cleaned(layout)
        else:
            values = layout.scale(self.gate(self.scale(context)).to(layout.values.dtype))
        return values if self.add is None else added(layout, values, self.add(context))

    def transform(self, pooled: Tensor, layout: Layout) -> Tensor:
        """What goes into the gate."""
        if self.scale is None:
            raise NotImplementedError(
                "this GlobalContext only adds; build it with fuse_scale=True for a gate."
            )
        out: Tensor = self.scale(pooled)
        return out

    @classmethod
    def sizes_of(cls, state: Mapping[str, Tensor], source: str) -> dict[str, Any]:
        paths = [path for path in ("scale", "add") if f"{path}.excite.weight" in state]
        channels, hidden = state[f"{paths[0]}.excite.weight"].shape[:2]
        return {
            "channels": channels,
            "rd_channels": hidden,
            "fuse_scale": "scale" in paths,
            "fuse_add": "add" in paths,
            "pool": "attention" if "pool.score.weight" in state else "mean",
        }
