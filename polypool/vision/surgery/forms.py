"""Which modules pool, and how: by their class and settings alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from polypool.pooling import Pooling
from polypool.vision.bin_pool import BinPool
from polypool.vision.blur import BlurPool
from polypool.vision.global_pool import GlobalPool
from polypool.vision.local_pool import LocalPool
from polypool.vision.max_blur import MaxBlurPool
from polypool.vision.polyphase import PolyphasePool
from polypool.vision.surgery.trace import CONVOLUTIONS
from polypool.vision.surgery.windows import Windows

AVERAGES: dict[type[nn.Module], int] = {nn.AvgPool1d: 1, nn.AvgPool2d: 2, nn.AvgPool3d: 3}
MAXIMA: dict[type[nn.Module], int] = {nn.MaxPool1d: 1, nn.MaxPool2d: 2, nn.MaxPool3d: 3}
NORMS: dict[type[nn.Module], int] = {nn.LPPool1d: 1, nn.LPPool2d: 2, nn.LPPool3d: 3}
ADAPTIVE: dict[type[nn.Module], tuple[str, int]] = {
    nn.AdaptiveAvgPool1d: ("mean", 1),
    nn.AdaptiveAvgPool2d: ("mean", 2),
    nn.AdaptiveAvgPool3d: ("mean", 3),
    nn.AdaptiveMaxPool1d: ("max", 1),
    nn.AdaptiveMaxPool2d: ("max", 2),
    nn.AdaptiveMaxPool3d: ("max", 3),
}
RANDOM: dict[type[nn.Module], int] = {nn.FractionalMaxPool2d: 2, nn.FractionalMaxPool3d: 3}
SAMPLERS = (BlurPool, MaxBlurPool, PolyphasePool)


@dataclass(frozen=True)
class Form:
    """How a module pools.

    Attributes:
        how: `"windows"`, `"bins"`, `"stride"`, `"pooling"` (a `Pooling`), `"holder"` (a module of this package that
            holds one) or `"other"`.
        operator: The name of the pooling.
        dims: The spatial dimensions; None when any number will do.
        windows: The windows, if there are some.
        bins: The bins along each dimension; None where there are as many as places.
        ceil_mode: Whether a window may begin inside and reach beyond the padding.
        obstacle: Why nothing can take its place.
    """

    how: str
    operator: str
    dims: int | None
    windows: Windows | None = None
    bins: tuple[int | None, ...] | None = None
    ceil_mode: bool = False
    obstacle: str | None = None

    @property
    def to_one(self) -> bool:
        """Whether it gives one vector for maps of every size."""
        if self.bins is not None:
            return all(size == 1 for size in self.bins)
        return self.how == "pooling"


def form_of(module: nn.Module) -> Form | None:
    """How a module pools; None when it does not."""
    indices = "it gives indices too, which a maximum alone has" if _flag(module, "return_indices") else None
    for kinds, operator in ((AVERAGES, "mean"), (MAXIMA, "max"), (NORMS, "power")):
        dims = next((dims for cls, dims in kinds.items() if isinstance(module, cls)), None)
        if dims is not None:
            return _windowed(module, operator, dims, indices)
    for cls, (operator, dims) in ADAPTIVE.items():
        if isinstance(module, cls):
            bins = _each(module.output_size, dims)
            return Form("bins", operator, dims, bins=bins, obstacle=indices)
    for cls, dims in RANDOM.items():
        if isinstance(module, cls):
            return Form("other", "max", dims, obstacle="its windows are random")
    if isinstance(module, CONVOLUTIONS) and any(step > 1 for step in module.stride):
        return _strided(module)
    return _of_this_package(module)


def _windowed(module: Any, operator: str, dims: int, obstacle: str | None) -> Form:
    kernel = _each(module.kernel_size, dims)
    # torch takes None for the size of the window.
    stride = kernel if module.stride is None else _each(module.stride, dims)
    padding = _each(getattr(module, "padding", 0), dims)
    dilation = _each(getattr(module, "dilation", 1), dims)
    with_zeros = bool(_flag(module, "count_include_pad"))
    if getattr(module, "divisor_override", None) is not None:
        obstacle = "it divides by a number of its own (divisor_override)"
    windows = Windows(kernel, stride, padding, dilation, operator == "mean", with_zeros)
    return Form("windows", operator, dims, windows, ceil_mode=module.ceil_mode, obstacle=obstacle)


def _strided(module: Any) -> Form:
    dims = len(module.kernel_size)
    # "valid" is the one name that goes with a stride.
    padding = (0,) * dims if isinstance(module.padding, str) else module.padding
    windows = Windows(module.kernel_size, module.stride, padding, module.dilation)
    return Form("stride", "convolution", dims, windows)


def _of_this_package(module: nn.Module) -> Form | None:
    if isinstance(module, Pooling):
        return Form("pooling", module.card.name, None)
    if isinstance(module, GlobalPool):
        return Form("holder", module.pool.card.name, module.dims, bins=(1,))
    if isinstance(module, BinPool):
        sizes = module.output_size
        bins = sizes if isinstance(sizes, tuple) else (sizes,)
        return Form("holder", module.pool.card.name, None, bins=bins)
    if isinstance(module, LocalPool):
        return Form("holder", module.pool.card.name, None)
    if isinstance(module, SAMPLERS):
        named = {BlurPool: "blur", MaxBlurPool: "max_blur", PolyphasePool: "polyphase"}
        return Form("other", named[type(module)], None, obstacle="it samples already without aliasing")
    return None


def _each(sizes: Any, dims: int) -> tuple[Any, ...]:
    return tuple(sizes) if isinstance(sizes, tuple | list) else (sizes,) * dims


def _flag(module: nn.Module, name: str) -> bool:
    return getattr(module, name, False) is True
