"""Windows and bins of a grid: cells that are products of intervals, one interval per spatial dimension."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from polypool.cells import Dense
from polypool.cells.dense import wide
from polypool.layouts.dense import as_stored
from polypool.layouts.layout import Layout

if TYPE_CHECKING:
    from polypool.layouts.grid import Grid


@dataclass(frozen=True)
class Intervals:
    """Along one dimension: interval o has the places `index[o]`, each counted `share[o]`.

    Args:
        length: Places along this dimension.
        count: How many intervals.
        width: Places per interval.
        index: `(count, width)` int64, clamped into the dimension; None when the intervals tile it in order.
        share: `(count, width)` float64 in [0, 1], 0 outside; None when all places count 1.
        whole: Whether shares are only 0 and 1.
        disjoint: Whether no place is in two intervals.
    """

    length: int
    count: int
    width: int
    index: Tensor | None
    share: Tensor | None
    whole: bool
    disjoint: bool


class Rule(Protocol):
    """How a dimension is cut into intervals."""

    def cut(self, length: int, dim: int, device: torch.device) -> Intervals: ...


@dataclass(frozen=True)
class Windows:
    """Sliding windows."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]

    def __post_init__(self) -> None:
        for kernel, padding in zip(self.kernel, self.padding, strict=True):
            if 2 * padding > kernel:
                raise ValueError(
                    f"padding must be at most half of the kernel, {kernel} // 2; found {padding}. "
                    "Pad less, or pad the values."
                )

    def cut(self, length: int, dim: int, device: torch.device) -> Intervals:
        kernel, stride, padding = self.kernel[dim], self.stride[dim], self.padding[dim]
        if length + 2 * padding < kernel:
            raise ValueError(
                f"kernel must fit the grid with its padding, {length + 2 * padding} places in spatial dimension "
                f"{dim}; found {kernel}. Use bins(1) to pool whatever there is."
            )
        count = (length + 2 * padding - kernel) // stride + 1
        disjoint = stride >= kernel
        if stride == kernel and padding == 0:
            return Intervals(length, count, kernel, None, None, True, True)
        starts = torch.arange(count, device=device) * stride - padding
        places = starts[:, None] + torch.arange(kernel, device=device)
        inside = (places >= 0) & (places < length)
        share = inside.double() if padding else None
        return Intervals(length, count, kernel, places.clamp(0, length - 1), share, True, disjoint)


@dataclass(frozen=True)
class Bins:
    """Adaptive bins of equal area."""

    output_size: tuple[int, ...]

    def cut(self, length: int, dim: int, device: torch.device) -> Intervals:
        count = self.output_size[dim]
        if length % count == 0:
            return Intervals(length, count, length // count, None, None, True, True)
        width = length // count + 2
        bins = torch.arange(count, device=device)
        places = (bins * length // count)[:, None] + torch.arange(width, device=device)
        # In units of 1 / count of a place all borders are integers, so shares are exact.
        start, end = (bins * length)[:, None], ((bins + 1) * length)[:, None]
        overlap = torch.minimum(end, (places + 1) * count) - torch.maximum(start, places * count)
        share = overlap.clamp(min=0).double() / count
        return Intervals(length, count, width, places.clamp(max=length - 1), share, False, False)


torch.serialization.add_safe_globals([Windows, Bins])  # tuples of ints


class Regions(Layout):
    """The windows or bins of a grid, made by `Grid.windows` and `Grid.bins`: B x prod(S_out) cells."""

    kind = "grid"
    structure = ("mask",)
    settings = ("channels_last", "rule")

    def __init__(self, grid: Grid, rule: Windows | Bins) -> None:
        self.values = grid.values
        self.mask = grid.mask
        self.weight = grid.weight
        self.channels_last = grid.channels_last
        self.rule = rule
        self._intervals()  # raises now, not at the first use

    @classmethod
    def _to_json(cls, context: tuple[Any, ...]) -> list[Any]:
        channels_last, rule = context
        return [channels_last, type(rule).__name__, [list(sizes) for sizes in astuple(rule)]]

    @classmethod
    def _from_json(cls, context: list[Any]) -> tuple[Any, ...]:
        channels_last, name, sizes = context
        rule: type[Windows | Bins] = {"Windows": Windows, "Bins": Bins}[name]
        return channels_last, rule(*map(tuple, sizes))

    @property
    def spatial(self) -> tuple[int, ...]:
        """The spatial sizes of the grid."""
        return tuple(self.values.shape[1:-1] if self.channels_last else self.values.shape[2:])

    @property
    def channels(self) -> int:
        return self.values.shape[self._channel_dim]

    @property
    def _channel_dim(self) -> int:
        return -1 if self.channels_last else 1

    @property
    def output_size(self) -> tuple[int, ...]:
        """The cells along each spatial dimension."""
        return tuple(cut.count for cut in self._intervals())

    @property
    def num_cells(self) -> int:
        cells = self.values.shape[0]
        for size in self.output_size:
            cells = cells * size
        return cells

    @property
    def weighted(self) -> bool:
        return self.weight is not None or not all(cut.whole for cut in self._intervals())

    @property
    def cells(self) -> Dense:
        cuts = self._intervals()
        values = self.values if self.channels_last else self.values.movedim(1, -1)
        real, weight = self._real(cuts), self._weight(cuts)
        # Wide before an element is copied to several windows: half precision would add up its gradients.
        return Dense(self._take(wide(values), cuts), real, weight)

    @property
    def counts(self) -> Tensor:
        cuts = self._intervals()
        real = self._real(cuts)
        if real is not None:
            return real.sum((-2, -1))
        places = 1
        for cut in cuts:
            places = places * cut.width
        return torch.full((self.num_cells,), places, dtype=torch.int64, device=self.values.device)

    def arrange(self, y: Tensor) -> Tensor:
        y = y.unflatten(0, (self.values.shape[0], *self.output_size))
        if self.channels_last:
            return y
        return as_stored(y.movedim(-1, 1), self.values)

    def rows_of(self, pooled: Tensor) -> Tensor:
        if pooled.dim() != self.values.dim():
            return pooled
        return (pooled if self.channels_last else pooled.movedim(1, -1)).flatten(0, -2)

    @property
    def disjoint(self) -> bool:
        return all(cut.disjoint for cut in self._intervals())

    def collect(self, v: Tensor) -> Tensor:
        cuts = self._intervals()
        real = self._real(cuts)
        kept = v if real is None else torch.where(real, v, torch.zeros_like(v))
        return self._give(kept, cuts)

    def _lift(self, y: Tensor) -> Tensor:
        cuts = self._intervals()
        places = 1
        for cut in cuts:
            places = places * cut.width
        spread = y.unsqueeze(1).expand(-1, places, -1)
        real = self._real(cuts)
        if not all(cut.disjoint for cut in cuts):
            weight = self._weight(cuts)
            spread = spread if weight is None else spread * weight.to(y.dtype)
        if real is not None:
            spread = torch.where(real, spread, torch.zeros((), dtype=y.dtype, device=y.device))
        return self._give(spread, cuts)

    @property
    def _real_elements(self) -> Tensor | None:
        cuts = self._intervals()
        real = self._real(cuts)
        if real is None:
            places = 1
            for cut in cuts:
                places = places * cut.width
            real = torch.ones((1, 1, 1), dtype=torch.bool, device=self.values.device).expand(
                self.num_cells, places, 1
            )
        return self._give(real.to(torch.int64), cuts) > 0

    def _intervals(self) -> list[Intervals]:
        return [self.rule.cut(length, dim, self.values.device) for dim, length in enumerate(self.spatial)]

    def _real(self, cuts: list[Intervals]) -> Tensor | None:
        """`(cells, places, 1)` bool, or None."""
        real = None
        if any(cut.share is not None for cut in cuts):
            real = self._shares(cuts) > 0
        if self.mask is not None:
            own = self._take(self.mask.unsqueeze(-1), cuts)
            real = own if real is None else real & own
        if self.weight is not None:
            own = self._take(self.weight.detach().unsqueeze(-1), cuts) > 0
            real = own if real is None else real & own
        return real

    def _weight(self, cuts: list[Intervals]) -> Tensor | None:
        """`(cells, places, 1)`, or None when every member counts 1."""
        weight = None if all(cut.whole for cut in cuts) else self._shares(cuts)
        if self.weight is not None:
            own = self._take(self.weight.unsqueeze(-1), cuts)
            weight = own if weight is None else own * weight.to(own.dtype)
        return weight

    def _shares(self, cuts: list[Intervals]) -> Tensor:
        """The product of the shares along each dimension, `(cells, places, 1)`."""
        device = self.values.device
        product = torch.ones((1, 1), dtype=torch.float64, device=device)
        for cut in cuts:
            share = cut.share
            if share is None:
                share = torch.ones((cut.count, cut.width), dtype=torch.float64, device=device)
            product = (product[:, None, :, None] * share[None, :, None, :]).flatten(2).flatten(0, 1)
        return product.repeat(self.values.shape[0], 1).unsqueeze(-1)

    def _take(self, x: Tensor, cuts: list[Intervals]) -> Tensor:
        """`(B, *S, c)` as `(cells, places, c)`: a view where the cells are whole grids."""
        for dim, cut in enumerate(cuts):
            at = 1 + 2 * dim
            if cut.index is None:
                x = x.narrow(at, 0, cut.count * cut.width)
            else:
                x = x.index_select(at, cut.index.flatten())
            x = x.unflatten(at, (cut.count, cut.width))
        dims = len(cuts)
        outer, inner = [1 + 2 * d for d in range(dims)], [2 + 2 * d for d in range(dims)]
        return x.permute(0, *outer, *inner, 2 * dims + 1).flatten(1 + dims, 2 * dims).flatten(0, dims)

    def _give(self, v: Tensor, cuts: list[Intervals]) -> Tensor:
        """The adjoint of `_take`: `(cells, places, c)` added up at the elements, in the shape of the values."""
        dims = len(cuts)
        v = v.unflatten(0, (self.values.shape[0], *(cut.count for cut in cuts)))
        v = v.unflatten(1 + dims, tuple(cut.width for cut in cuts))
        paired = [axis for d in range(dims) for axis in (1 + d, 1 + dims + d)]
        v = v.permute(0, *paired, 2 * dims + 1)
        for dim, cut in enumerate(cuts):
            at = 1 + dim
            v = v.flatten(at, at + 1)
            if cut.index is None:
                missing = cut.length - cut.count * cut.width
                if missing:
                    v = torch.cat([v, v.new_zeros((*v.shape[:at], missing, *v.shape[at + 1 :]))], dim=at)
            else:
                zeros = v.new_zeros((*v.shape[:at], cut.length, *v.shape[at + 1 :]))
                v = zeros.index_add(at, cut.index.flatten(), v)
        if self.channels_last:
            return v.contiguous()
        return as_stored(v.movedim(-1, 1), self.values)
