"""Which element is a member of which cell: the structure of ragged cells, without any values."""

import torch
from torch import Tensor

from polypool._lazy import kept


class Members:
    """A list of memberships. It holds integers only, so a layout can keep it without keeping a graph alive.

    Args:
        cell: `(M,)` int64, the cell of each membership, in `[0, num_cells]`; `num_cells` means "in no cell".
        num_cells: How many cells there are.
        element: `(M,)` int64, the element of each membership; None when membership i is element i.
        partial: Whether some membership might be in no cell.
        sorted: Whether `cell` is known to be non-decreasing.
    """

    def __init__(
        self,
        cell: Tensor,
        num_cells: int,
        element: Tensor | None = None,
        partial: bool = False,
        sorted: bool = False,
    ) -> None:
        self._cell = cell
        self.num_cells = num_cells
        self.element = element
        self.partial = partial
        self.sorted = sorted

    @property
    def cell(self) -> Tensor:
        """`(M,)` int64, the cell of each membership, in `[0, num_cells]`; `num_cells` means "in no cell"."""
        return self._cell

    @property
    def size(self) -> int:
        """M, the number of memberships."""
        return self._cell.shape[0]

    @property
    def bins(self) -> int:
        """The number of cells, with one more to throw away what is in no cell."""
        return self.num_cells + 1 if self.partial else self.num_cells

    @kept
    def real(self) -> Tensor | None:
        """`(M,)` bool, which memberships are in a cell; None when all are."""
        return self.cell < self.num_cells if self.partial else None

    @kept
    def counts(self) -> Tensor:
        """`(bins,)` int64, how many members each cell has; the last may be the bin of those in no cell."""
        if self.sorted and not self.partial:
            return self.offsets.diff()
        zeros = torch.zeros(self.bins, dtype=torch.int64, device=self.cell.device)
        return zeros.index_add(0, self.cell, torch.ones_like(self.cell))

    @kept
    def starts(self) -> Tensor:
        """`(bins,)` int64, where each cell begins when members are listed cell by cell."""
        return self.counts.cumsum(0) - self.counts

    @kept
    def order(self) -> Tensor | None:
        """`(M,)` int64, the memberships listed cell by cell, stable; None when they already are."""
        return None if self.sorted else self.cell.argsort(stable=True)

    @kept
    def offsets(self) -> Tensor:
        """`(num_cells + 1,)` int64, where each cell begins when members are listed cell by cell, and the last ends."""
        if self.sorted and not self.partial:
            return torch.searchsorted(self.cell, torch.arange(self.num_cells + 1, device=self.cell.device))
        ends = self.counts[: self.num_cells].cumsum(0)
        return torch.cat([ends.new_zeros(1), ends])

    @kept
    def rows(self) -> Tensor | None:
        """`(M,)` int64, the elements cell by cell, those in no cell last; None when they are in this order."""
        if self.element is None or self.order is None:
            return self.order if self.element is None else self.element
        return self.element[self.order]

    @kept
    def positions(self) -> Tensor:
        """`(M,)` int64, the place of each member in its cell, from 0, in the order of the elements."""
        places = torch.arange(self.cell.shape[0], device=self.cell.device)
        if self.order is None:
            return places - self.starts[self.cell]
        listed = places - self.starts[self.cell[self.order]]
        return torch.zeros_like(places).scatter(0, self.order, listed)


class Stretches(Members):
    """All elements in order: stretches that follow each other. Most operations never ask which element is in which.

    Args:
        offsets: `(num_cells + 1,)` int64, from 0 to the number of elements.
        size: The number of elements.
    """

    def __init__(self, offsets: Tensor, size: int) -> None:
        self.offsets = offsets
        self.num_cells = offsets.shape[0] - 1
        self.element = None
        self.partial = False
        self.sorted = True
        self._size = size

    @property
    def size(self) -> int:
        return self._size

    @kept
    def cell(self) -> Tensor:
        places = torch.arange(self._size, device=self.offsets.device)
        return torch.bucketize(places, self.offsets[1:], right=True)
