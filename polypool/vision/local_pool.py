"""Any pooling over sliding windows: what `nn.AvgPool2d` and `nn.MaxPool2d` are for two of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polypool import _checks
from polypool.cells.dense import wide
from polypool.layouts import Grid, Regions
from polypool.pooling import Pooling
from polypool.poolings import MaxPool, MeanPool, MinPool, SumPool
from polypool.vision import _window_sums
from polypool.vision._borders import per_dimension, stored_as
from polypool.vision._grids import (
    as_grid,
    as_pooling,
    channels_first,
    expanded,
    pooled_grid,
    real_plane,
    weighted_plane,
)
from polypool.vision._sliding import Sliding, number_of_windows
from polypool.vision._window_sums import Spots


class LocalPool(nn.Module):
    """Slides a window over the grid and pools what it sees: `nn.AvgPool2d` and `nn.MaxPool2d` with any operator.

    `y[o] = pool({x[o stride - padding + t dilation] : 0 <= t < kernel})`, over the pixels that exist and are real.

    Args:
        pool: A name or a pooling.
        kernel: The size of a window, one number or one per spatial dimension.
        stride: The step between windows; the kernel when None.
        padding: Places added on both sides, at most half of a window. No operator reads them: a mean divides by the
            pixels that are there, as with `count_include_pad=False`.
        ceil_mode: Whether the last window may reach beyond the padding. It has to start before it, and sees the
            pixels that are there. Sizes are those of torch.
        count_include_pad: Whether `padding` adds zeros that count as pixels. False here, True in `nn.AvgPool2d`: pass
            it to get that module's numbers. What lies beyond the padding never counts, in torch neither.
        dilation: The step between the pixels of a window.

    Shapes:
        `(B, C, *S)` with 1 to 3 spatial dimensions to `(B, C_out, *S_out)`, in the same memory format; or a `Grid`
        to a `Grid`. `S_out = floor((S + 2 padding - dilation (kernel - 1) - 1) / stride) + 1`. The number of
        dimensions is that of the input: there is always a batch dimension.

    Padding and weights of a grid:
        As in every layout: padding is not read, weights count. A window without a real pixel gives 0, and is padding
        in the grid that comes out; the weight of a window is the mean weight of its pixels.

    Raises:
        TypeError: A size is not an int, or `pool` is neither a name nor a pooling.
        ValueError: A size is out of range or does not fit the dimensions of the input, the padding is more than half
            of a window, or no window fits.

    Cost:
        `mean`, `sum`, `max` and `min` run torch's own pooling, without a copy of the input. The others write out
        the windows: `kernel / stride` times the input for each dimension.

    Example:
        >>> import torch
        >>> from polypool.vision import LocalPool
        >>> x = torch.tensor([[[1.0, 2.0, 6.0, 3.0]]])
        >>> LocalPool("median", 3, stride=1, padding=1)(x)
        tensor([[[1.5000, 2.0000, 3.0000, 4.5000]]])
        >>> LocalPool("mean", 3, stride=2, padding=1, count_include_pad=True)(x)
        tensor([[[1.0000, 3.6667]]])
    """

    def __init__(
        self,
        pool: str | Pooling,
        kernel: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        *,
        ceil_mode: bool = False,
        count_include_pad: bool = False,
        dilation: int | Sequence[int] = 1,
    ) -> None:
        super().__init__()
        self.pool = as_pooling(pool)
        self.kernel = per_dimension(kernel, "kernel")
        self.stride = self.kernel if stride is None else per_dimension(stride, "stride")
        self.padding = per_dimension(padding, "padding", least=0)
        self.dilation = per_dimension(dilation, "dilation")
        self.ceil_mode = _checks.flag(ceil_mode, "ceil_mode")
        self.count_include_pad = _checks.flag(count_include_pad, "count_include_pad")
        given = (self.kernel, self.stride, self.padding, self.dilation)
        self._spots(max(len(size) for size in (*given, (1,)) if isinstance(size, tuple)))

    def _spots(self, dims: int) -> Spots:
        at = Spots(
            expanded(self.kernel, "kernel", dims),
            expanded(self.stride, "stride", dims),
            expanded(self.padding, "padding", dims, 0),
            expanded(self.dilation, "dilation", dims),
            self.ceil_mode,
            self.count_include_pad and any(expanded(self.padding, "padding", dims, 0)),
        )
        for kernel, padding, dilation in zip(at.kernel, at.padding, at.dilation, strict=True):
            reach = dilation * (kernel - 1) + 1
            if 2 * padding > reach:
                raise ValueError(
                    f"padding must be at most half of a window, {reach} // 2; found {padding}. "
                    "Pad less, or pad the values."
                )
        return at

    @overload
    def forward(self, x: Grid) -> Grid: ...
    @overload
    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor: ...
    def forward(self, x: Grid | Tensor, *, mask: Tensor | None = None) -> Grid | Tensor:
        """Pools a tensor `(B, C, *S)` with an optional mask `(B, *S)`, or a grid."""
        grid = as_grid(x, mask)
        at = self._spots(len(grid.spatial))
        count = tuple(
            number_of_windows(length, kernel, stride, padding, dilation, self.ceil_mode)
            for length, kernel, stride, padding, dilation in zip(
                grid.spatial, at.kernel, at.stride, at.padding, at.dilation, strict=True
            )
        )
        pooled = self._by_torch(grid, at, count)
        if pooled is None:
            pooled = self.pool(_regions(grid, at, count))
        return pooled_grid(grid, pooled, lambda g: _regions(g, at, count)) if isinstance(x, Grid) else pooled

    def _by_torch(self, grid: Grid, at: Spots, count: tuple[int, ...]) -> Tensor | None:
        """What torch's pooling can do; None for the other operators."""
        kind = type(self.pool)
        if kind in (MaxPool, MinPool):
            x, real = channels_first(grid), real_plane(grid)
            y = _window_sums.largest(-x if kind is MinPool else x, real, at, count)
            y = -y if kind is MinPool else y
        elif kind in (MeanPool, SumPool) and all(step == 1 for step in at.dilation):
            x = wide(channels_first(grid))
            real, weight = real_plane(grid), weighted_plane(grid, x.dtype)
            if real is not None:
                x = torch.where(real, x, torch.zeros((), dtype=x.dtype, device=x.device))
            if kind is MeanPool:
                y = _window_sums.mean(x, weight, at, count)
            else:
                y = _window_sums.total(x if weight is None else x * weight, at)
        else:
            return None
        return stored_as(grid, y.movedim(1, -1) if grid.channels_last else y)

    def out_channels(self, in_channels: int) -> int:
        """How many channels the result has for values with `in_channels`."""
        return self.pool.out_channels(in_channels)

    def extra_repr(self) -> str:
        said = f"kernel={self.kernel}, stride={self.stride}, padding={self.padding}"
        for name, usual in (("ceil_mode", False), ("count_include_pad", False), ("dilation", 1)):
            if getattr(self, name) != usual:
                said += f", {name}={getattr(self, name)}"
        return said


def _regions(grid: Grid, at: Spots, count: tuple[int, ...]) -> Regions:
    """The windows of any operator; with zeros that count, those of a larger grid."""
    padding = at.padding
    if at.zeros:
        grid = _with_zeros(grid, padding)
        padding = (0,) * len(padding)
    rule = Sliding(at.kernel, at.stride, padding, at.dilation, count, not at.ceil_mode)
    return Regions(grid, rule)


def _with_zeros(grid: Grid, padding: tuple[int, ...]) -> Grid:
    """The grid between zeros, which are real and count 1."""
    around = [side for size in reversed(padding) for side in (size, size)]
    values = F.pad(grid.values, [0, 0, *around] if grid.channels_last else around)
    mask = None if grid.mask is None else F.pad(grid.mask, around, value=True)
    weight = None if grid.weight is None else F.pad(grid.weight, around, value=1.0)
    return Grid(values, mask, grid.channels_last, weight=weight)
