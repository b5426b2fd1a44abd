"""What packed sequences, nodes, clusters and spans share: a list of memberships."""

from abc import abstractmethod

import torch
from torch import Tensor

from polypool._lazy import kept
from polypool.cells import Members, Ragged
from polypool.layouts.layout import Layout
from polypool.ops import dispatch, moments, segments


class RaggedLayout(Layout):
    """A layout whose cells are `Members` over the rows of its values."""

    @property
    @abstractmethod
    def members(self) -> Members:
        """Which element is in which cell."""

    @property
    def channels(self) -> int:
        return self.values.shape[-1]

    @property
    def num_cells(self) -> int:
        return self.members.num_cells

    @property
    def counts(self) -> Tensor:
        return self._member_counts

    # What subclasses build on has names of its own: a compiler cannot see through `super()` to a property.
    @property
    def _member_counts(self) -> Tensor:
        return self.members.counts[: self.num_cells]

    @property
    def cells(self) -> Ragged:
        return self._member_cells

    @property
    def _member_cells(self) -> Ragged:
        weight = self._member_weight
        return Ragged(self._flat, self.members, None if weight is None else weight[:, None])

    @property
    def _flat(self) -> Tensor:
        """The elements as rows, `(N, C)`."""
        return self.values

    @property
    def _member_weight(self) -> Tensor | None:
        """`(M,)`, the weight of each membership."""
        return self.weight

    @property
    def disjoint(self) -> bool:
        return True

    def collect(self, v: Tensor) -> Tensor:
        return self._shaped(self._gathered(v))

    def _lift(self, y: Tensor) -> Tensor:
        members = self.members
        if members.element is None and y.is_floating_point() and dispatch.accelerated(y, members.offsets):
            return self._shaped(moments.expand(y, members.offsets, members.order, members.size))
        if members.partial:
            y = torch.cat([y, y.new_zeros((1, y.shape[-1]))])
        spread = segments.expand(y, members.cell)
        weight = self._member_weight
        if weight is not None and not self.disjoint:
            spread = spread * weight[:, None].to(y.dtype)
            if members.real is not None:
                spread = torch.where(members.real[:, None], spread, torch.zeros_like(spread))
        return self._shaped(self._gathered(spread))

    @kept
    def _real_elements(self) -> Tensor | None:
        members = self.members
        if members.real is None and members.element is None:
            return None
        real = torch.ones_like(members.cell) if members.real is None else members.real.to(torch.int64)
        return self._shaped(self._gathered(real[:, None])) > 0

    def _gathered(self, v: Tensor) -> Tensor:
        """Numbers of the memberships added up at their elements, `(N, c)`; 0 for those in no cell."""
        members = self.members
        if members.real is not None:
            v = torch.where(members.real[:, None], v, torch.zeros((), dtype=v.dtype, device=v.device))
        if members.element is None:
            return v
        return v.new_zeros((self._flat.shape[0], v.shape[-1])).index_add(0, members.element, v)

    def _shaped(self, v: Tensor) -> Tensor:
        """`(N, c)` in the shape of the values."""
        return v


def discard(cell: Tensor, num_cells: int, weight: Tensor | None, partial: bool) -> tuple[Tensor, bool]:
    """Puts memberships of weight 0 in no cell; returns the cells and whether some might be in none."""
    if weight is None:
        return cell, partial
    return torch.where(weight.detach() > 0, cell, torch.full_like(cell, num_cells)), True
