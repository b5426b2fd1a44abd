"""Tensors to pool, each with what rivals need to know about its cells, and any of its cells by themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import polypool as pp


@dataclass(frozen=True)
class Part:
    """Some of the cells.

    Attributes:
        take: Their elements out of a tensor in the shape of the values, in any number of channels.
        layout: The layout of these cells around what `take` gives.
    """

    take: Callable[[Tensor], Tensor]
    layout: Callable[[Tensor], pp.Layout]


@dataclass(frozen=True)
class Data:
    """Values in a layout.

    Attributes:
        layout: The layout; its structure is computed once, as `with_values` keeps it.
        part: The elements of some cells, given by number in ascending order.
        cells: How many cells there are.
        index: Ragged: the cell of each element.
        lengths: Ragged and tokens: the size of each cell.
        order: Ragged: the elements cell by cell; None where they lie like that.
        mask: Tokens: which are real; None where all are.
        anew: Builds the layout again from the values: what a user pays who keeps no layout.
    """

    layout: pp.Layout
    part: Callable[[Tensor], Part]
    cells: int
    index: Tensor | None = None
    lengths: Tensor | None = None
    order: Tensor | None = None
    mask: Tensor | None = None
    anew: Callable[[Tensor], pp.Layout] | None = None

    @property
    def values(self) -> Tensor:
        """The values of the layout."""
        return self.layout.values

    @property
    def offsets(self) -> Tensor:
        """Ragged: where each cell begins in `order`, and the end."""
        if self.lengths is None:
            raise ValueError("only ragged data have offsets")
        return torch.cat([self.lengths.new_zeros(1), self.lengths.cumsum(0)])

    def like(self, channels: int) -> Tensor:
        """Normal numbers in the shape of the values, with another number of channels."""
        shape = list(self.values.shape)
        shape[1 if isinstance(self.layout, pp.Grid) else -1] = channels
        return torch.randn(shape, generator=generator(1)).to(self.values.dtype)


def generator(seed: int) -> torch.Generator:
    """Random numbers of one's own."""
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, dtype: torch.dtype) -> Tensor:
    """Normal numbers."""
    return torch.randn(shape, generator=generator(0)).to(dtype)


def odd_lengths(cells: int, around: int) -> Tensor:
    """Odd sizes from half to one and a half times `around`: at an odd size all kinds of median agree."""
    drawn = torch.randint(around // 4, 3 * around // 4, (cells,), generator=generator(2))
    return 2 * drawn + 1


def ragged(
    kind: str,
    lengths: Tensor,
    channels: int,
    dtype: torch.dtype = torch.float32,
    *,
    shuffled: bool = False,
    anew: bool = False,
    values: Tensor | None = None,
) -> Data:
    """Packed sequences, nodes or clusters; `shuffled` puts the elements in no order."""
    total, cells = int(lengths.sum()), len(lengths)
    if values is None:
        values = normal(total, channels, dtype=dtype)
    index = torch.repeat_interleave(torch.arange(cells), lengths)
    order = None
    if shuffled:
        index = index[torch.randperm(total, generator=generator(3))]
        order = index.argsort(stable=True)
    ends = lengths.cumsum(0)

    def layout(v: Tensor) -> pp.Layout:
        if kind == "nodes":
            return pp.Nodes(v, index, cells)
        if kind == "clusters":
            return pp.Clusters(v, index, cells)
        return pp.Packed.from_lengths(v, lengths)

    def part(some: Tensor) -> Part:
        n = lengths[some]
        first = (ends - lengths)[some]
        within = torch.arange(int(n.sum())) - torch.repeat_interleave(n.cumsum(0) - n, n)
        rows = torch.repeat_interleave(first, n) + within
        if order is not None:
            rows = order[rows]
        return Part(lambda t: t.index_select(0, rows), lambda t: pp.Packed.from_lengths(t, n))

    return Data(layout(values), part, cells, index, lengths, order, anew=layout if anew else None)


def tokens(
    batch: int, places: int, channels: int, dtype: torch.dtype = torch.float32, *, real: float = 1.0
) -> Data:
    """A padded batch in which about a share `real` of the tokens is real, in odd numbers."""
    values = normal(batch, places, channels, dtype=dtype)
    mask = lengths = None
    if real < 1:
        low, high = int((2 * real - 1) * places), places
        lengths = torch.randint(low // 2, high // 2, (batch,), generator=generator(2)) * 2 + 1
        mask = torch.arange(places) < lengths[:, None]

    def part(some: Tensor) -> Part:
        kept = None if mask is None else mask[some]
        return Part(lambda t: t.index_select(0, some), lambda t: pp.Tokens(t, kept))

    return Data(pp.Tokens(values, mask), part, batch, lengths=lengths, mask=mask)


def grid(
    batch: int,
    channels: int,
    size: int,
    dtype: torch.dtype = torch.float32,
    *,
    channels_last: bool = False,
) -> Data:
    """Images, in either memory order."""
    values = normal(batch, channels, size, size, dtype=dtype)
    if channels_last:
        values = values.contiguous(memory_format=torch.channels_last)

    def part(some: Tensor) -> Part:
        return Part(lambda t: t.index_select(0, some), pp.Grid)

    return Data(pp.Grid(values), part, batch)
