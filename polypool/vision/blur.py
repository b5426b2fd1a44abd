"""Blur, then sample: pooling that a shift by one pixel does not upset."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import overload

import torch
from torch import Tensor, nn

from polypool import _checks
from polypool.cells import safe
from polypool.cells.dense import wide
from polypool.layouts import Grid
from polypool.layouts.dense import blank
from polypool.poolings._settings import between, flag
from polypool.vision._borders import Border, border_named, extended, per_dimension, stored_as, windowed


def binomial(taps: int) -> list[float]:
    """The row of Pascal's triangle with so many numbers, as shares that add up to 1: `[1, 2, 1] / 4` for 3."""
    return [comb(taps - 1, t) / 2.0 ** (taps - 1) for t in range(taps)]


class BlurPool(nn.Module):
    """Every pixel becomes a weighted average of its neighbours, then every `stride`-th pixel is kept.

    `y[o] = sum_t b[t] x[o stride + t - (k - 1) // 2] / sum_t b[t]` along each dimension in turn, with `k` binomial
    taps `b` and the sums over pixels that exist. A constant stays that constant at every border, and on a grid of
    one pixel the pooling is the identity.

    Args:
        kernel: How many taps, one number or one per spatial dimension: 1 samples without a blur, 2 is the average of
            two, 3 is `[1, 2, 1] / 4`, 5 is `[1, 4, 6, 4, 1] / 16`. An even kernel reaches one pixel further to the
            end than to the beginning.
        stride: The step between the pixels that are kept, one number or one per spatial dimension; 1 only blurs.
        border: What the blur sees beyond the border. `"renormalise"`: nothing, the taps that are left are scaled to
            add up to 1. `"reflect"`: the image mirrored about its outermost pixels. `"circular"`: the other end.
        amount: How much of the blur there is: the taps are `(1 - amount)` times those that only sample plus `amount`
            times the binomial ones, in every dimension. 0 is the sampling of a strided layer.
        learn: Whether `amount` is a parameter. From 0 it begins as the sampling that it replaces, and learns how much
            blur it wants. A constant stays that constant whatever it becomes.

    Shapes:
        `(B, C, *S)` with 1 to 3 spatial dimensions to `(B, C, *ceil(S / stride))`, in the same memory format; or a
        `Grid` to a `Grid`. Channels are never mixed.

    Padding and weights of a grid:
        The blur is an average over real pixels with their weights. Pixel `o` of the result is real when pixel
        `o stride` was, so that an image in a padded batch gives what it gives alone; it is 0 elsewhere. Weights are
        blurred alike.

    NaN:
        Spreads to the results whose windows hold it, and no further. Half precision is computed in float32.

    Raises:
        TypeError: A size is not an int, or `amount` no number.
        ValueError: A size is below 1, `amount` not in [0, 1], or the border unknown; the input has another number of
            spatial dimensions than the sizes; or a grid with padding is to be mirrored.

    Cost:
        About one read of the input for every tap of the first dimension, less for the next ones.

    Source:
        Zhang 2019, Making Convolutional Networks Shift-Invariant Again, section 3.2. The authors' code pads by
        reflection, which fails on maps no wider than the padding; here a mirror goes on for as long as it has to.

    Example:
        >>> import torch
        >>> from polypool.vision import BlurPool
        >>> BlurPool(3)(torch.tensor([[[0.0, 0.0, 4.0, 0.0, 0.0]]]))
        tensor([[[0., 2., 0.]]])
        >>> BlurPool(5)(torch.full((1, 1, 7, 1), 3.0)).flatten()
        tensor([3., 3., 3., 3.])
    """

    def __init__(
        self,
        kernel: int | Sequence[int] = 3,
        stride: int | Sequence[int] = 2,
        *,
        border: Border = "renormalise",
        amount: float = 1.0,
        learn: bool = False,
    ) -> None:
        super().__init__()
        self.kernel = per_dimension(kernel, "kernel")
        self.stride = per_dimension(stride, "stride")
        self.border = border_named(border)
        self.amount: float | Tensor = between(amount, "amount", 0.0, 1.0)
        if flag(learn, "learn"):
            self.amount = nn.Parameter(torch.tensor(self.amount))

    @overload
    def forward(self, x: Grid) -> Grid: ...
    @overload
    def forward(self, x: Tensor) -> Tensor: ...
    def forward(self, x: Grid | Tensor) -> Grid | Tensor:
        """Blurs and samples a tensor `(B, C, *S)`, or the values of a grid."""
        grid = x if isinstance(x, Grid) else Grid(x)
        real = grid._real_elements
        blurred = self._whole(grid) if real is None else self._masked(grid, real)
        return blurred if isinstance(x, Grid) else blurred.values

    def _whole(self, grid: Grid) -> Grid:
        blurred = self._blur(wide(grid.values), grid)
        if self.border == "renormalise":
            # The blur of an image of ones: how much of the taps lies inside.
            shape = (1, *grid.spatial, 1) if grid.channels_last else (1, 1, *grid.spatial)
            blurred = blurred / self._blur(blurred.new_ones(shape), grid)
        return Grid(stored_as(grid, blurred), channels_last=grid.channels_last)

    def _masked(self, grid: Grid, real: Tensor) -> Grid:
        """An average over the real pixels; `real` is bool in the shape of the values with one channel."""
        if self.border == "reflect":
            raise ValueError(
                'border must be "renormalise" or "circular" for a grid with a mask or weights, whose images do not '
                'end where the tensor ends; found "reflect".'
            )
        channel = -1 if grid.channels_last else 1
        values = wide(grid.values)
        present = real.to(values.dtype)
        counted = (
            present if grid.weight is None else blank(real, grid.weight.unsqueeze(channel).to(values.dtype))
        )
        mass = self._blur(counted, grid)
        blurred = self._blur(blank(real, values) * counted, grid) / safe(mass)
        mask, weight = None, None
        if grid.mask is not None:
            kept = self._sampled(grid.mask.unsqueeze(channel), grid)
            blurred = blank(kept, blurred)
            mask = kept.squeeze(channel)
        if grid.weight is not None:
            # A learned amount may leave [0, 1], where taps are negative: what they add up to need not be a weight.
            weight = (mass / safe(self._blur(present, grid))).squeeze(channel).clamp(min=0)
        return Grid(stored_as(grid, blurred), mask, grid.channels_last, weight=weight)

    def _blur(self, x: Tensor, grid: Grid) -> Tensor:
        """The taps times the pixels of each window, one dimension after the other."""
        for dim, (kernel, stride) in enumerate(self._sizes(grid), start=1 if grid.channels_last else 2):
            pixels = windowed(extended(x, dim, kernel, self.border), dim, kernel, stride)
            x = _weighed(pixels, binomial(kernel), self.amount)
        return x

    def _sampled(self, x: Tensor, grid: Grid) -> Tensor:
        for dim, (_, stride) in enumerate(self._sizes(grid), start=1 if grid.channels_last else 2):
            (x,) = windowed(x, dim, 1, stride)
        return x

    def _sizes(self, grid: Grid) -> list[tuple[int, int]]:
        """The taps and the stride of each spatial dimension."""
        dims = len(grid.spatial)
        kernels = _checks.sizes(self.kernel, "kernel", dims, 1)
        return list(zip(kernels, _checks.sizes(self.stride, "stride", dims, 1), strict=True))

    def extra_repr(self) -> str:
        said = f"kernel={self.kernel}, stride={self.stride}, border={self.border!r}"
        if isinstance(self.amount, Tensor):
            return f"{said}, learn=True"
        return said if self.amount == 1 else f"{said}, amount={self.amount:g}"


def _weighed(pixels: Sequence[Tensor], taps: Sequence[float], amount: float | Tensor) -> Tensor:
    """The taps times the pixels of every window, blended with the pixel that the window belongs to."""
    own = (len(taps) - 1) // 2
    if isinstance(amount, Tensor):
        amount = amount.to(pixels[0].dtype)
        terms = [
            pixel * (1 - amount * (1 - tap) if t == own else amount * tap)
            for t, (tap, pixel) in enumerate(zip(taps, pixels, strict=True))
        ]
        return sum(terms[1:], terms[0])
    shares = [1 - amount * (1 - tap) if t == own else amount * tap for t, tap in enumerate(taps)]
    # What has no share is not read: 0 times inf is NaN.
    read = [(share, pixel) for share, pixel in zip(shares, pixels, strict=True) if share]
    x = read[0][0] * read[0][1]
    for share, pixel in read[1:]:
        x = x.add(pixel, alpha=share)
    return x
