"""What blocks are built of: activations and gates by name, poolings, and how many channels are left in the middle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeAlias

import torch
from torch import Tensor, nn

from polypool.pooling import Pooling
from polypool.poolings._settings import count, positive
from polypool.registry import build

#: A name, a class that is called without arguments, or a module.
Layer: TypeAlias = str | type[nn.Module] | nn.Module


class DoubleSigmoid(nn.Module):
    """`2 sigmoid(x)`: 1 at 0, where its slope is largest. A gate that starts there changes nothing, and learns."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * torch.sigmoid(x)


class HardSigmoid(nn.Module):
    """`x / 6 + 1 / 2`, at least 0 and at most 1; unlike that of torch it can be differentiated twice."""

    def forward(self, x: Tensor) -> Tensor:
        return (x / 6 + 0.5).clamp(0, 1)


GATES: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "hard_sigmoid": HardSigmoid,
    "tanh": nn.Tanh,
    "double_sigmoid": DoubleSigmoid,
}
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "hard_swish": nn.Hardswish,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "mish": nn.Mish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def layer(given: Layer, what: str, named: Mapping[str, type[nn.Module]]) -> nn.Module:
    """A module from its name, its class or itself.

    Raises:
        TypeError: It is none of these.
        ValueError: The name is unknown.
    """
    if isinstance(given, nn.Module):
        return given
    if isinstance(given, str):
        if given not in named:
            close = get_close_matches(given, named, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"{what} must be one of {', '.join(named)}, a class or a module; found {given!r}.{hint}"
            )
        return named[given]()
    cls: object = given
    if isinstance(cls, type) and issubclass(cls, nn.Module):
        return cls()
    raise TypeError(f"{what} must be a name, a class of torch.nn or a module; found {given!r}.")


def pooling(
    pool: str | Pooling,
    channels: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    what: str = "pool",
) -> Pooling:
    """A pooling for so many channels; one made here has its parameters on `device` and in `dtype`."""
    if isinstance(pool, str):
        made: object = build(pool, channels=channels).to(device=device, dtype=dtype)
    else:
        made = pool
    if not isinstance(made, Pooling):
        raise TypeError(f"{what} must be a name or a Pooling; found {made!r}.")
    if made.channels not in (None, channels):
        raise ValueError(f"{what} must be built for channels = {channels}; found one for {made.channels}.")
    return made


def numbers_each(pool: Pooling, channels: int, what: str = "pool") -> int:
    """How many numbers a pooling gives for each channel: 2 for `"mean+std"`."""
    width = pool.out_channels(channels)
    if width % channels:
        raise ValueError(
            f"{what} must give a whole number of results for each of {channels} channels; {pool.card.name} gives "
            f"{width} in all."
        )
    return width // channels


def reduced(
    channels: int,
    rd_ratio: float | None,
    rd_channels: int | None,
    rd_divisor: int = 1,
) -> int:
    """The channels between two linear maps: `channels * rd_ratio`, to the nearest multiple of `rd_divisor` above 0.

    Args:
        channels: What is reduced.
        rd_ratio: The part that is left, used when `rd_channels` is None.
        rd_channels: The number itself.
        rd_divisor: What the result is a multiple of, when it comes from the ratio.

    Raises:
        TypeError: A number is not of its kind.
        ValueError: No channel is left.
    """
    if rd_channels is not None:
        return count(rd_channels, "rd_channels")
    ratio, divisor = positive(rd_ratio, "rd_ratio"), count(rd_divisor, "rd_divisor")
    wanted = channels * ratio
    rounded = math.floor(wanted / divisor + 0.5) * divisor
    if rounded < 1 and divisor == 1:
        raise ValueError(
            f"rd_ratio must leave at least one of {channels} channels; found {rd_ratio:g}. "
            f"Use 1 / {channels} or more, or rd_channels."
        )
    return max(rounded, divisor)


class Bottleneck(nn.Module):
    """Two linear maps with an activation between them, on rows `(..., C_in)`.

    Args:
        inputs: Channels that come in.
        hidden: Channels in the middle.
        outputs: Channels that go out.
        act: The activation.
        normed: Whether the middle is layer-normalised.
        zero: Whether the last map starts at 0.
        device: Where the parameters are.
        dtype: What they are.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        act: nn.Module,
        *,
        normed: bool = False,
        zero: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.squeeze = nn.Linear(inputs, hidden, device=device, dtype=dtype)
        self.norm = nn.LayerNorm(hidden, eps=1e-6, device=device, dtype=dtype) if normed else None
        self.act = act
        self.excite = nn.Linear(hidden, outputs, device=device, dtype=dtype)
        if zero:
            zeroed(self.excite)

    def forward(self, rows: Tensor) -> Tensor:
        hidden = self.squeeze(rows)
        if self.norm is not None:
            hidden = self.norm(hidden)
        out: Tensor = self.excite(self.act(hidden))
        return out


def zeroed(linear: nn.Linear) -> None:
    """Sets a linear map to 0."""
    nn.init.zeros_(linear.weight)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
