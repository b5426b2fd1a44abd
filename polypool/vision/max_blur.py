"""Maximum of a window, then blur and sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polypool import _checks
from polypool.layouts import Grid
from polypool.vision._borders import Border, extended, per_dimension, stored_as
from polypool.vision.blur import BlurPool

SLIDING = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


class MaxBlurPool(nn.Module):
    """The largest pixel of the window at every pixel, and `BlurPool` of that: max pooling without its aliasing.

    `MaxPool2d(2, 2)` is the maximum at every pixel, sampled: what falls between the samples is lost, so a shift by
    one pixel changes everything. Here the blur comes between the maximum and the samples.

    Args:
        kernel: The taps of the blur, as in `BlurPool`.
        stride: The step between the pixels that are kept.
        window: The size of the maximum's window, one number or one per spatial dimension. As with the taps, an even
            window reaches one pixel further to the end.
        border: As in `BlurPool`. The maximum never looks beyond the border, but for `"circular"`.
        amount, learn: How much blur there is, and whether that is learned, as in `BlurPool`: from 0 it begins as the
            maximum with a stride.

    Shapes:
        `(B, C, *S)` to `(B, C, *ceil(S / stride))`, or a `Grid` to a `Grid`, as in `BlurPool`.

    Ties and NaN:
        The first of equal pixels takes the gradient of the maximum. NaN wins its windows.

    Raises:
        TypeError: A size is not an int.
        ValueError: As in `BlurPool`.

    Source:
        Zhang 2019, Making Convolutional Networks Shift-Invariant Again, section 3.2, eq. 4. The authors' maximum
        drops the last pixel of every dimension, so that a map of one pixel fails; here the sizes are those of
        `BlurPool`.

    Example:
        >>> import torch
        >>> from polypool.vision import MaxBlurPool
        >>> MaxBlurPool(3)(torch.tensor([[[0.0, 0.0, 4.0, 0.0, 0.0]]]))
        tensor([[[1.3333, 3.0000, 0.0000]]])
    """

    def __init__(
        self,
        kernel: int | Sequence[int] = 3,
        stride: int | Sequence[int] = 2,
        *,
        window: int | Sequence[int] = 2,
        border: Border = "renormalise",
        amount: float = 1.0,
        learn: bool = False,
    ) -> None:
        super().__init__()
        self.window = per_dimension(window, "window")
        self.blur = BlurPool(kernel, stride, border=border, amount=amount, learn=learn)

    @overload
    def forward(self, x: Grid) -> Grid: ...
    @overload
    def forward(self, x: Tensor) -> Tensor: ...
    def forward(self, x: Grid | Tensor) -> Grid | Tensor:
        """Pools a tensor `(B, C, *S)`, or the values of a grid."""
        grid = x if isinstance(x, Grid) else Grid(x)
        pooled = self.blur(grid.with_values(self._largest(grid)))
        return pooled if isinstance(x, Grid) else pooled.values

    def _largest(self, grid: Grid) -> Tensor:
        """The maximum at every pixel."""
        x, real = grid.values, grid._real_elements
        if real is not None:
            x = torch.where(real, x, torch.full((), -torch.inf, dtype=x.dtype, device=x.device))
        x = x.movedim(-1, 1) if grid.channels_last else x
        windows = _checks.sizes(self.window, "window", len(grid.spatial), 1)
        # The nearest pixel is in the window too: repeating it changes no maximum.
        border: Border | Literal["nearest"] = "circular" if self.blur.border == "circular" else "nearest"
        for dim, width in enumerate(windows, start=2):
            x = extended(x, dim, width, border)
        x = SLIDING[len(windows)](x, windows, 1)
        return x.movedim(1, -1) if grid.channels_last else stored_as(grid, x)

    def extra_repr(self) -> str:
        return f"window={self.window}"
