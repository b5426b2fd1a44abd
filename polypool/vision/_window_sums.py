"""Sums, means and maxima of sliding windows by torch's own pooling: no window is ever written out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from polypool.cells import safe

MEAN = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
LARGEST = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
# torch adds up a window one pixel after the other: longer ones are summed one dimension at a time, and sides that are
# longer still in float64, so that the error does not grow with the window.
DIRECT, NARROW = 64, 128


@dataclass(frozen=True)
class Spots:
    """The windows of one call, one number per spatial dimension.

    Args:
        kernel: The size of the windows.
        stride: The step between them.
        padding: Places added on both sides.
        dilation: The step between the pixels of a window.
        ceil_mode: Whether windows may reach beyond the padding.
        zeros: Whether padding holds zeros that count.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool
    zeros: bool

    @property
    def area(self) -> int:
        """The places of a window."""
        product = 1
        for size in self.kernel:
            product *= size
        return product


def mean(x: Tensor, weight: Tensor | None, at: Spots, count: tuple[int, ...]) -> Tensor:
    """`sum w x / sum w` of every window; x `(B, C, *S)` is 0 where the weight `(B, 1, *S)` is."""
    if weight is None and at.area <= DIRECT:
        return MEAN[len(at.kernel)](x, at.kernel, at.stride, at.padding, at.ceil_mode, at.zeros)
    spatial = tuple(x.shape[2:])
    if weight is None:
        mass = places(spatial, at, count, at.zeros, x)
        return total(x, at) / mass
    mass = total(weight, at)
    if at.zeros:
        mass = mass + places(spatial, at, count, True, x) - places(spatial, at, count, False, x)
    return total(x * weight, at) / safe(mass)


def total(x: Tensor, at: Spots) -> Tensor:
    """The sum of every window."""
    dtype = x.dtype
    if max(at.kernel) > NARROW:
        x = x.double()
    if at.area <= DIRECT:
        return _total(x, at.kernel, at.stride, at.padding, at.ceil_mode).to(dtype)
    dims = len(at.kernel)
    for d in range(dims):

        def along(sizes: tuple[int, ...], other: int, d: int = d) -> tuple[int, ...]:
            return tuple(size if axis == d else other for axis, size in enumerate(sizes))

        x = _total(x, along(at.kernel, 1), along(at.stride, 1), along(at.padding, 0), at.ceil_mode)
    return x.to(dtype)


def _total(
    x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...], ceil_mode: bool
) -> Tensor:
    """An average with 1 for a divisor, which one dimension alone does not have."""
    if len(kernel) == 3:
        return F.avg_pool3d(x, kernel, stride, padding, ceil_mode, True, divisor_override=1)
    if len(kernel) == 2:
        return F.avg_pool2d(x, kernel, stride, padding, ceil_mode, True, divisor_override=1)
    row = F.avg_pool2d(
        x.unsqueeze(2), (1, *kernel), (1, *stride), (0, *padding), ceil_mode, True, divisor_override=1
    )
    return row.squeeze(2)


def largest(x: Tensor, real: Tensor | None, at: Spots, count: tuple[int, ...]) -> Tensor:
    """The largest real pixel of every window, 0 where there is none; the first of equal ones takes the gradient."""
    spatial = tuple(x.shape[2:])
    if real is not None:
        x = torch.where(real, x, torch.full((), -torch.inf, dtype=x.dtype, device=x.device))
    y: Tensor = LARGEST[len(at.kernel)](
        x, at.kernel, at.stride, at.padding, at.dilation, ceil_mode=at.ceil_mode
    )
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    if at.zeros:
        more = places(spatial, at, count, True, x) > places(spatial, at, count, False, x)
        y = torch.where(more & (y < 0), zero, y)
    if real is None:
        return y
    alone = LARGEST[len(at.kernel)](
        real.to(x.dtype), at.kernel, at.stride, at.padding, at.dilation, ceil_mode=at.ceil_mode
    )
    empty = alone <= 0
    return torch.where(empty & ~more if at.zeros else empty, zero, y)


def places(spatial: tuple[int, ...], at: Spots, count: tuple[int, ...], padded: bool, like: Tensor) -> Tensor:
    """`(1, 1, *S_out)`, how many pixels each window has; with those of the padding when it is `padded`."""
    product = torch.ones((1,) * (2 + len(count)), dtype=like.dtype, device=like.device)
    for d, length in enumerate(spatial):
        start = torch.arange(count[d], device=like.device) * at.stride[d] - at.padding[d]
        place = start[:, None] + torch.arange(at.kernel[d], device=like.device) * at.dilation[d]
        more = at.padding[d] if padded else 0
        inside = ((place >= -more) & (place < length + more)).sum(-1).to(like.dtype)
        product = product * inside.reshape((-1,) + (1,) * (len(count) - 1 - d))
    return product
