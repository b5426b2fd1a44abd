"""Global pooling with any operator, where a model has `AdaptiveAvgPool2d(1)`."""

from __future__ import annotations

from torch import Tensor, nn

from polypool import _checks
from polypool.layouts import Grid
from polypool.pooling import Pooling
from polypool.registry import build


class GlobalPool(nn.Module):
    """Pools all pixels of every image and keeps the dimensions: `(B, C, *S)` to `(B, C_out, *1)`.

    It takes the place of `nn.AdaptiveAvgPool1d(1)`, `2d(1)` and `3d(1)` in `nn.Sequential`, with any pooling.

    Args:
        pool: A name or a pooling.
        channels: The channels C, for a pooling that has to be built for them.
        keepdim: Whether the spatial dimensions are kept, with size 1; otherwise the result is `(B, C_out)`, and no
            `nn.Flatten` has to follow.
        dims: The number of spatial dimensions; then one image without a batch, `(C, *S)`, is taken as well, as torch
            does. When None, the first two dimensions are the batch and the channels.
        channels_last: Whether the channels are the last dimension of the shape (not only of the memory).

    Shapes:
        `(B, C, *S)` with 1 to 3 spatial dimensions to `(B, C_out, *1)`, or `(B, *S, C)` to `(B, *1, C_out)`. A result
        of values in channels-last memory is in channels-last memory. A `Grid` gives a tensor too.

    Raises:
        TypeError: `pool` is neither a name nor a pooling, or the input is not floating.
        ValueError: The input has another number of dimensions or of channels.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from polypool.vision import GlobalPool
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), GlobalPool("mean+max"), nn.Flatten(), nn.Linear(16, 10))
        >>> net(torch.randn(2, 3, 9, 9)).shape
        torch.Size([2, 10])
        >>> GlobalPool("gem")(torch.rand(2, 8, 5, 5)).shape
        torch.Size([2, 8, 1, 1])
    """

    def __init__(
        self,
        pool: str | Pooling = "mean",
        *,
        channels: int | None = None,
        keepdim: bool = True,
        dims: int | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        settings = {} if channels is None else {"channels": _checks.size(channels, "channels", 1)}
        made: object = build(pool, **settings) if isinstance(pool, str) else pool
        if not isinstance(made, Pooling):
            raise TypeError(f"pool must be a name or a Pooling; found {made!r}.")
        if channels is not None and made.channels not in (None, channels):
            raise ValueError(f"pool must be built for channels = {channels}; found one for {made.channels}.")
        if dims is not None and _checks.size(dims, "dims", 1) > 3:
            raise ValueError(f"dims must be 1, 2, 3 or None; found {dims}.")
        self.pool = made
        self.keepdim = _checks.flag(keepdim, "keepdim")
        self.dims = dims
        self.channels_last = _checks.flag(channels_last, "channels_last")

    def forward(self, x: Grid | Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Pools a tensor with an optional mask `(B, *S)`, or a grid."""
        if isinstance(x, Grid):
            if mask is not None:
                raise ValueError(
                    "a grid already says where its pixels are; found mask too. Pass the grid alone."
                )
            return self._pooled(x)
        x = _checks.tensor(x, "x")
        if self.dims is not None and x.dim() == self.dims + 1:
            one = None if mask is None else mask.unsqueeze(0)
            return self._pooled(Grid(x.unsqueeze(0), one, self.channels_last)).squeeze(0)
        return self._pooled(Grid(x, mask, self.channels_last))

    def _pooled(self, grid: Grid) -> Tensor:
        dims = len(grid.spatial)
        if self.dims not in (None, dims):
            raise ValueError(
                f"x must have {self.dims} spatial dimensions; found {dims}, with shape {_checks.shape(grid.values)}. "
                f"Build GlobalPool with dims={dims}, or without."
            )
        pooled = self.pool(grid)
        if not self.keepdim:
            return pooled
        ones = (1,) * dims
        if grid.channels_last:
            return pooled.unflatten(-1, (*ones, -1))
        if dims > 1 and not grid.values.is_contiguous():
            # Where every order of memory fits, strides tell which one goes on.
            return pooled.unflatten(-1, (*ones, -1)).movedim(-1, 1)
        return pooled.unflatten(-1, (-1, *ones))

    def out_channels(self, in_channels: int) -> int:
        """How many channels the result has for values with `in_channels`."""
        return self.pool.out_channels(in_channels)

    def extra_repr(self) -> str:
        parts = [] if self.dims is None else [f"dims={self.dims}"]
        parts += [] if self.keepdim else ["keepdim=False"]
        return ", ".join(parts + (["channels_last=True"] if self.channels_last else []))
