"""Images, feature maps, signals and volumes: cells are whole grids, windows or bins."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from polypool import _checks
from polypool._lazy import kept
from polypool.cells import Dense
from polypool.layouts.dense import as_stored, blank, count, flat_weight, real_places
from polypool.layouts.layout import Layout
from polypool.layouts.regions import Bins, Regions, Windows

CHANNELS_FIRST = "(B, C, *S) with 1 to 3 spatial dimensions"
CHANNELS_LAST = "(B, *S, C) with 1 to 3 spatial dimensions"


class Grid(Layout):
    """One cell per image: `(B, C, *S)` with one to three spatial dimensions.

    Args:
        values: `(B, C, *S)`, or `(B, *S, C)` with `channels_last`; floating. Any strides: both memory orders are
            read in place.
        mask: `(B, *S)`, bool or 0/1 integers, True at real pixels.
        channels_last: Whether the channels are the last dimension of the shape (not only of the memory).
        weight: `(B, *S)` floating, finite and >= 0; a pixel of weight 0 is padding.

    Raises:
        TypeError: An argument has a dtype that does not fit.
        ValueError: A shape or a value does not fit.

    Example:
        >>> import torch, polypool as pp
        >>> grid = pp.Grid(torch.arange(8.0).view(1, 2, 2, 2))
        >>> pp.build("mean")(grid)
        tensor([[1.5000, 5.5000]])
    """

    kind = "grid"
    structure = ("mask",)
    settings = ("channels_last",)

    def __init__(
        self,
        values: Tensor,
        mask: Tensor | None = None,
        channels_last: bool = False,
        *,
        weight: Tensor | None = None,
    ) -> None:
        _checks.flag(channels_last, "channels_last")
        form = CHANNELS_LAST if channels_last else CHANNELS_FIRST
        self.values = _checks.values(values, "values", (3, 4, 5), form)
        self.channels_last = channels_last
        self.mask = None if mask is None else _checks.mask(mask, self._places, "(B, *S)", values)
        self.weight = None if weight is None else _checks.weight(weight, self._places, "(B, *S)", values)

    @property
    def spatial(self) -> tuple[int, ...]:
        """The spatial sizes, `S`."""
        return tuple(self.values.shape[1:-1] if self.channels_last else self.values.shape[2:])

    @property
    def _places(self) -> torch.Size:
        """`(B, *S)`."""
        return torch.Size((self.values.shape[0], *self.spatial))

    @property
    def channels(self) -> int:
        return self.values.shape[self._channel_dim]

    @property
    def num_cells(self) -> int:
        return self.values.shape[0]

    @property
    def _channel_dim(self) -> int:
        return -1 if self.channels_last else 1

    @kept
    def _real(self) -> Tensor | None:
        return real_places(self.mask, self.weight)

    @property
    def cells(self) -> Dense:
        x = self.values
        weight = flat_weight(self.weight)
        if self.channels_last:
            return Dense(x.flatten(1, -2), self._real, weight)
        if x.is_contiguous():
            return Dense(x.flatten(2), self._real, weight, channels_first=True)
        return Dense(x.flatten(2).mT, self._real, weight)

    @property
    def counts(self) -> Tensor:
        places = 1
        for size in self.spatial:
            places = places * size
        return count(self._real, self.num_cells, places, self.values.device)

    @property
    def disjoint(self) -> bool:
        return True

    def collect(self, v: Tensor) -> Tensor:
        return self._shaped(blank(self._real, v))

    def _lift(self, y: Tensor) -> Tensor:
        return as_stored(self._broadcast(y), self.values)

    def scale(self, y: Tensor) -> Tensor:
        """The values times each grid's vector; one operation where nothing is padding."""
        if self._real is None:
            return self.values * self._aligned(y)
        return super().scale(y)

    @property
    def _real_elements(self) -> Tensor | None:
        return None if self._real is None else self._shaped(self._real)

    def _shaped(self, v: Tensor) -> Tensor:
        """`(B, N, c)` in the shape of the values."""
        if self.channels_last:
            return v.unflatten(1, self.spatial)
        return v.transpose(1, 2).unflatten(2, self.spatial)

    def _broadcast(self, y: Tensor) -> Tensor:
        """`(B, c)` at every place: a view where there is no padding."""
        spread = self._aligned(y).expand(self._shape(y.shape[-1]))
        if self._real is None:
            return spread
        return torch.where(self._shaped(self._real), spread, torch.zeros((), dtype=y.dtype, device=y.device))

    def _aligned(self, y: Tensor) -> Tensor:
        """`(B, c)` with spatial dimensions of size 1."""
        places = (1,) * len(self.spatial)
        return y.reshape((y.shape[0], *places, y.shape[1]) if self.channels_last else (*y.shape, *places))

    def _shape(self, channels: int) -> tuple[int, ...]:
        if self.channels_last:
            return (self.num_cells, *self.spatial, channels)
        return (self.num_cells, channels, *self.spatial)

    def windows(
        self,
        kernel: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
    ) -> Regions:
        """Sliding windows as cells; pooling them gives `(B, C_out, *S_out)`, channels last if these are.

        Args:
            kernel: The size of a window, one int or one per spatial dimension.
            stride: The step between windows; the kernel's size when None.
            padding: Places added on both sides. They are padding: no operator reads them, and mean divides by the
                real elements.

        Example:
            >>> import torch, polypool as pp
            >>> pp.build("mean")(pp.Grid(torch.ones(1, 1, 3, 3)).windows(3, stride=1, padding=1)).unique()
            tensor([1.])
        """
        dims = len(self.spatial)
        kernels = _checks.sizes(kernel, "kernel", dims, 1)
        strides = kernels if stride is None else _checks.sizes(stride, "stride", dims, 1)
        return Regions(self, Windows(kernels, strides, _checks.sizes(padding, "padding", dims, 0)))

    def bins(self, output_size: int | Sequence[int]) -> Regions:
        """Adaptive bins of exactly equal area as cells; pooling them gives `(B, C_out, *output_size)`.

        A pixel that two bins share counts in each by the part that lies in it, so every pixel counts the same in
        all (`AdaptiveAvgPool2d` counts shared pixels twice). Where a size does not divide, members have weights.

        Args:
            output_size: Bins per spatial dimension; 1 is global pooling with the dimensions kept.

        Example:
            >>> import torch, polypool as pp
            >>> pp.build("mean")(pp.Grid(torch.tensor([[[0.0, 3.0, 6.0]]])).bins(2))
            tensor([[[1., 5.]]])
        """
        return Regions(self, Bins(_checks.sizes(output_size, "output_size", len(self.spatial), 1)))
