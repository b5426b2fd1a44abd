"""Adaptive polyphase sampling: of all ways to keep every s-th pixel, the strongest, wherever the image has moved to."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import overload

import torch
from torch import Tensor, nn

from polypool import _checks
from polypool.cells import safe
from polypool.layouts import Grid
from polypool.poolings._settings import number
from polypool.vision._borders import Border, border_named, per_dimension, stored_as
from polypool.vision._grids import as_grid
from polypool.vision.blur import BlurPool


class PolyphasePool(nn.Module):
    """Keeps every `stride`-th pixel, beginning with the one that keeps the most: sampling that shifts do not change.

    There are `prod(stride)` ways to begin. `y = x[..., i::s, j::s]` with `i, j = argmax sum |x[..., i::s, j::s]|^p`,
    over all channels, image by image. When an image moves round a torus its ways to begin change places, and the same
    pixels are chosen: the result moves too, and is otherwise the same to the last bit.

    Args:
        stride: The step between the pixels that are kept, one number or one per spatial dimension.
        kernel: The taps of a blur before the sampling, as in `BlurPool`; 1 is none.
        p: What strength is measured with: the sum of powers p, or the largest size for `float("inf")`.
        border: What the blur sees beyond the border, as in `BlurPool`; only `"circular"` is exact on a torus.

    Shapes:
        `(B, C, *S)` with 1 to 3 spatial dimensions to `(B, C, *ceil(S / stride))`, in the same memory format; or a
        `Grid` to a `Grid`. The strides should divide the sizes: otherwise the last pixels are repeated (with a
        circular border: those of the other end follow), and shifts are not exact.

    Padding and weights of a grid:
        Pixels that are not real have no strength, weights multiply the powers, and the mask and the weights are
        sampled with the values.

    Ties and NaN:
        The first of equally strong beginnings is taken; one with NaN is stronger than all others. The choice has no
        gradient, the pixels have.

    Raises:
        TypeError: A size is not an int, or p is no number.
        ValueError: A size is below 1, p is not positive, or the border is unknown; or as in `BlurPool`.

    Cost:
        Two reads of the input and a copy of it in float64 for the strengths, which nothing keeps; one of the pixels
        that are kept.

    Source:
        Chaman, Dokmanic 2021, Truly Shift-Invariant Convolutional Neural Networks, section 4.

    Example:
        >>> import torch
        >>> from polypool.vision import PolyphasePool
        >>> x = torch.tensor([[[0.0, 5.0, 1.0, 2.0]]])
        >>> PolyphasePool(2)(x), PolyphasePool(2)(x.roll(1, -1))
        (tensor([[[5., 2.]]]), tensor([[[2., 5.]]]))
    """

    def __init__(
        self,
        stride: int | Sequence[int] = 2,
        kernel: int | Sequence[int] = 1,
        *,
        p: float = 2.0,
        border: Border = "circular",
    ) -> None:
        super().__init__()
        self.stride = per_dimension(stride, "stride")
        self.p = number(p, "p")
        if not self.p > 0:
            raise ValueError(f"p must be > 0; found {p}.")
        self.border = border_named(border)
        self.kernel = per_dimension(kernel, "kernel")
        self.blur = None if self.kernel == 1 else BlurPool(kernel, 1, border=border)

    @overload
    def forward(self, x: Grid, *, chosen: Tensor | None = None) -> Grid: ...
    @overload
    def forward(self, x: Tensor, *, mask: Tensor | None = None, chosen: Tensor | None = None) -> Tensor: ...
    def forward(
        self, x: Grid | Tensor, *, mask: Tensor | None = None, chosen: Tensor | None = None
    ) -> Grid | Tensor:
        """Samples a tensor `(B, C, *S)` with an optional mask `(B, *S)`, or a grid.

        Args:
            x: What to sample.
            mask: The real pixels of a tensor.
            chosen: `(B,)` integers from `choose`, to sample one branch of a network where another one was.
        """
        grid = self._extended(as_grid(x, mask))
        strides = _checks.sizes(self.stride, "stride", len(grid.spatial), 1)
        if chosen is None:
            place = self._strongest(grid, strides)
        else:
            place = _checks.index(chosen, "chosen", grid.values.shape[:1], "(B,)", grid.values)
            ways = 1
            for stride in strides:
                ways *= stride
            _checks.in_range(place, "chosen", 0, ways, "the ways to begin", "Get it from choose.")
        sampled = _sampled(grid.values, place, strides, -1 if grid.channels_last else 1)
        if not isinstance(x, Grid):
            return stored_as(grid, sampled)
        return Grid(
            stored_as(grid, sampled),
            None if grid.mask is None else _sampled(grid.mask, place, strides, None),
            grid.channels_last,
            weight=None if grid.weight is None else _sampled(grid.weight, place, strides, None),
        )

    def choose(self, x: Grid | Tensor, *, mask: Tensor | None = None) -> Tensor:
        """`(B,)` int64, where the sampling of each image begins: the offsets as digits, the last dimension lowest."""
        grid = self._extended(as_grid(x, mask))
        return self._strongest(grid, _checks.sizes(self.stride, "stride", len(grid.spatial), 1))

    def _extended(self, grid: Grid) -> Grid:
        """The blurred grid, with sizes that the strides divide."""
        if self.blur is not None:
            grid = self.blur(grid)
        strides = _checks.sizes(self.stride, "stride", len(grid.spatial), 1)
        values, mask, weight = grid.values, grid.mask, grid.weight
        for d, stride in enumerate(strides):
            length = grid.spatial[d]
            more = -length % stride
            # A program for any size always takes the copy.
            if length == 0 or (not torch.compiler.is_compiling() and more == 0):
                continue
            place = torch.arange(length + more, device=values.device)
            place = place % length if self.border == "circular" else place.clamp(max=length - 1)
            values = values.index_select(d + (1 if grid.channels_last else 2), place)
            mask = None if mask is None else mask.index_select(d + 1, place)
            weight = None if weight is None else weight.index_select(d + 1, place)
        return Grid(values, mask, grid.channels_last, weight=weight)

    def _strongest(self, grid: Grid, strides: tuple[int, ...]) -> Tensor:
        """The strengths in float64: sums of the same pixels in another order must not decide differently."""
        values, real = grid.values.detach(), grid._real_elements
        if real is not None:
            values = torch.where(real, values, torch.zeros((), dtype=values.dtype, device=values.device))
        if grid.channels_last:
            values = values.movedim(-1, 1)
        size = values.double().abs()
        # Divided by the largest, which is the same number wherever the image has moved to: no power overflows.
        top = (
            size.flatten(1).amax(1)
            if size.shape[0] * size.shape[1] and all(grid.spatial)
            else size.new_ones(1)
        )
        top = torch.where(top.isfinite(), safe(top), torch.ones_like(top))
        power = raised_to(size / top.reshape(-1, *(1,) * (size.dim() - 1)), self.p)
        if grid.weight is not None and self.p != inf:
            weight = grid.weight.detach().unsqueeze(1).double()
            power = torch.where(weight > 0, power * weight, torch.zeros_like(power))
        power = power.amax(1) if self.p == inf else power.sum(1)
        for d, stride in enumerate(strides):
            power = power.unflatten(1 + 2 * d, (power.shape[1 + 2 * d] // stride, stride))
        dims = len(strides)
        steps, offsets = [1 + 2 * d for d in range(dims)], [2 + 2 * d for d in range(dims)]
        power = power.permute(0, *offsets, *steps).flatten(1, dims).flatten(2)
        if power.shape[2] == 0:
            return torch.zeros(power.shape[:1], dtype=torch.int64, device=power.device)
        return (power.amax(2) if self.p == inf else power.sum(2)).argmax(1)

    def extra_repr(self) -> str:
        return f"stride={self.stride}, kernel={self.kernel}, p={self.p:g}, border={self.border!r}"


def raised_to(x: Tensor, p: float) -> Tensor:
    """`x ** p` for x >= 0; x itself where the largest is looked for."""
    return x if p in (1.0, inf) else x * x if p == 2.0 else x**p


def _sampled(x: Tensor, place: Tensor, strides: tuple[int, ...], channel: int | None) -> Tensor:
    """Every s-th pixel of each image, from its own beginning; `channel` is the dimension of the channels, if any."""
    before = 2 if channel == 1 else 1
    dims = len(strides)
    for d, stride in enumerate(strides):
        at = before + 2 * d
        x = x.unflatten(at, (x.shape[at] // stride, stride))
    offsets: list[Tensor] = []
    for stride in reversed(strides):
        offsets.insert(0, place % stride)
        place = place // stride
    whole = slice(None)
    index: list[Tensor | slice] = [torch.arange(x.shape[0], device=x.device)]
    index += [whole] * (before - 1)
    for offset in offsets:
        index += [whole, offset]
    # The images come first, as one index beside others that lie apart; what is left keeps its order.
    return x[tuple(index)] if dims else x
