"""Squeeze-and-Excitation over any pooling, on any layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from polypool.blocks._layers import ACTIVATIONS, Layer, layer, reduced, zeroed
from polypool.blocks.gate import Gate
from polypool.blocks.registry import register
from polypool.layouts import Layout
from polypool.pooling import Pooling


@register(
    "squeeze_excite",
    aliases=("se",),
    variants=({"pool": "mean+max", "rd_ratio": 0.25}, {"bias": False, "gate": "double_sigmoid"}),
    source="Hu, Shen, Sun 2018, Squeeze-and-Excitation Networks, eq. 2 to 4",
)
class SqueezeExcite(Gate):
    """Scales each channel by a gate that sees the pooled whole: `x * gate(W2 relu(W1 pool(x)))`.

    Tensor in, tensor out; layout in, layout out. Memory format and dtype are kept, padding becomes 0.

    Args:
        channels: The channels C of the values.
        reduction: C is squeezed to `C // reduction` between the two linear maps.
        pool: A name or a pooling; one with more output channels widens the first map.
        gate: `"sigmoid"`, `"hard_sigmoid"`, `"tanh"`, `"double_sigmoid"` (which is 1 at 0), a class or a module.
        rd_ratio: In place of `reduction`, the part of the channels that is left, rounded to the nearest multiple of
            `rd_divisor` and at least that.
        rd_channels: In place of both, the number of channels that are left.
        rd_divisor: See `rd_ratio`.
        bias: Whether the linear maps have constants.
        act_layer: The activation between them: a name, a class or a module.
        gate_layer: Another name of `gate`.
        init_last_zero: Whether the second map starts at 0; with `"double_sigmoid"` the block then starts as identity.
        device: Where the parameters are made.
        dtype: What the parameters are.

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

    parts = ("pool", "squeeze", "excite")
    flavours: ClassVar[Mapping[str, Mapping[str, str | None]]] = {
        "timm SEModule, torchvision": {"fc1": "squeeze", "fc2": "excite"},
        "timm's EfficientNet": {"conv_reduce": "squeeze", "conv_expand": "excite"},
        "transformers' RegNet": {"attention.0": "squeeze", "attention.2": "excite"},
        "transformers' EfficientNet": {"reduce": "squeeze", "expand": "excite"},
    }

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        pool: str | Pooling = "mean",
        gate: Layer = "sigmoid",
        *,
        rd_ratio: float | None = None,
        rd_channels: int | None = None,
        rd_divisor: int = 8,
        bias: bool = True,
        act_layer: Layer = nn.ReLU,
        gate_layer: Layer | None = None,
        init_last_zero: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if gate_layer is not None and gate != "sigmoid":
            raise ValueError(
                f"gate and gate_layer are two names of one thing; found {gate!r} and {gate_layer!r}."
            )
        super().__init__(
            channels, pool, gate if gate_layer is None else gate_layer, device=device, dtype=dtype
        )
        if rd_ratio is None and rd_channels is None:
            squeezed = _divided(channels, reduction)
        elif reduction != 16 or None not in (rd_ratio, rd_channels):
            raise ValueError(
                f"reduction, rd_ratio and rd_channels are three ways to say one thing; found {reduction}, {rd_ratio} "
                f"and {rd_channels}. Give one."
            )
        else:
            squeezed = reduced(channels, rd_ratio, rd_channels, rd_divisor)
        inputs = self.pool.out_channels(channels)
        self.squeeze = nn.Linear(inputs, squeezed, bias=bias, device=device, dtype=dtype)
        self.act = layer(act_layer, "act_layer", ACTIVATIONS)
        self.excite = nn.Linear(squeezed, channels, bias=bias, device=device, dtype=dtype)
        if init_last_zero:
            zeroed(self.excite)

    def transform(self, pooled: Tensor, layout: Layout) -> Tensor:
        out: Tensor = self.excite(self.act(self.squeeze(pooled)))
        return out

    @classmethod
    def sizes_of(cls, state: Mapping[str, Tensor], source: str) -> dict[str, Any]:
        channels, squeezed = state["excite.weight"].shape[:2]
        sizes: dict[str, Any] = {"rd_channels": squeezed, "bias": "excite.bias" in state}
        if "EfficientNet" in source:
            sizes["act_layer"] = nn.SiLU
        return {"channels": channels} | sizes


def _divided(channels: int, reduction: object) -> int:
    if isinstance(reduction, bool) or not isinstance(reduction, int):
        raise TypeError(
            f"reduction must be an int; found {type(reduction).__name__}. Pass rd_ratio for a fraction."
        )
    squeezed = channels // reduction if reduction > 0 else 0
    if squeezed < 1:
        raise ValueError(
            f"reduction must leave at least one of {channels} channels; found {reduction}. Use at most {channels}."
        )
    return squeezed
