"""Ragged cells: members listed by cell, of any number; packed, unsorted, overlapping and soft cells alike."""

from typing import Literal

import torch
from torch import Tensor

from polypool import _checks
from polypool._lazy import lazy
from polypool.cells.cells import Cells
from polypool.cells.dense import wide
from polypool.cells.members import Members
from polypool.ops import dispatch, moments, segments
from polypool.ops.elementwise import safe
from polypool.ops.source import Source


class Ragged(Cells):
    """Cells of any size over M memberships.

    Args:
        values: `(N, C)` elements in the user's dtype; never copied here.
        members: Which element is in which cell.
        weight: `(M, 1)`, one number per membership, or None.
    """

    def __init__(self, values: Tensor, members: Members, weight: Tensor | None = None) -> None:
        self.values = values
        self.members = members
        self.real = None if members.real is None else members.real[:, None]
        self.weight = None if weight is None else weight.to(torch.promote_types(values.dtype, torch.float32))

    def _wide_rows(self) -> Tensor:
        return wide(self._members)

    @lazy
    def n(self) -> Tensor:
        """The number of real members, `(K, 1)` int64."""
        return self.members.counts[: self.members.num_cells, None]

    @lazy
    def positions(self) -> Tensor:
        """The place of each member in its cell, `(M, 1)` int64."""
        return self.members.positions[:, None]

    @property
    def channels(self) -> int:
        return self.values.shape[-1]

    @property
    def dtype(self) -> torch.dtype:
        return torch.promote_types(self.values.dtype, torch.float32)

    @property
    def can_be_empty(self) -> bool:
        return True

    def source(
        self, v: Tensor | None = None, weight: Tensor | None = None, among_weights: bool = False
    ) -> Source | None:
        own = self.weight if weight is None else weight
        if own is not None and own.requires_grad and torch.is_grad_enabled() and not among_weights:
            dispatch.decline("this operation has no kernel for gradients of weights")
            return None
        if not dispatch.accelerated(self.values if v is None else v, own):
            return None
        if v is None and self.members.element is not None and self.values.requires_grad:
            v = self.rows  # an element may be a member of several cells, and its gradient is theirs added up
        return self._listed(v, own)

    def _listed(self, v: Tensor | None, weight: Tensor | None) -> Source:
        """Members cell by cell, of the values when `v` is None, with weights in the order of the list."""
        order = self.members.order
        if weight is not None and order is not None:
            weight = weight.index_select(0, order)
        if v is None:
            return Source(self.values, self.members.offsets, self.members.rows, weight)
        return Source(v, self.members.offsets, order, weight)

    def reweighted(self, density: Tensor) -> "Ragged":
        weight = density if self.weight is None else density * self.weight
        changed = Ragged(self.values, self.members, weight)
        read = density.detach() != 0
        changed.real = read if self.real is None else read & self.real
        return changed

    def first(self) -> Tensor:
        return self._pick(self.members.offsets[:-1])

    def last(self) -> Tensor:
        return self._pick((self.members.offsets[1:] - 1).clamp(min=0))

    def _pick(self, place: Tensor) -> Tensor:
        """The member at a place of the list, for each cell."""
        if self.members.order is not None and self.members.order.shape[0]:
            place = self.members.order[place.clamp(max=self.members.order.shape[0] - 1)]
        return wide(self.at(self._members, place[:, None].expand(-1, self.channels)))

    @property
    def _members(self) -> Tensor:
        """The members in the user's dtype."""
        element = self.members.element
        return self.values if element is None else self.values.index_select(0, element)

    def total(self, v: Tensor) -> Tensor:
        if v.is_floating_point() and dispatch.accelerated(v):
            return moments.moments(self._listed(v, None), ["sum"])[0]["sum"].to(v.dtype)
        return segments.total(v, self.members.cell, self.members.bins)[: self.members.num_cells]

    def expand(self, y: Tensor) -> Tensor:
        floating = y.is_floating_point()
        if floating and not self.members.partial and dispatch.accelerated(y, self.members.offsets):
            return moments.expand(y, self.members.offsets, self.members.order, self.members.size)
        if self.members.partial:
            # What is in no cell gets ones: anything finite will do, and an operator may divide by it.
            y = torch.cat([y, y.new_ones((1, y.shape[-1]))])
        return segments.expand(y, self.members.cell)

    def argbest(self, v: Tensor) -> Tensor:
        return segments.argbest(v, self.members.cell, self.members.bins)[: self.members.num_cells]

    def best(self, v: Tensor) -> Tensor:
        if v.is_floating_point() and dispatch.accelerated(v):
            return moments.moments(self._listed(v, None), ["max"])[0]["max"].to(v.dtype)
        return super().best(v)

    def at(self, v: Tensor, index: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            # One more row, for what is empty: a program must not depend on whether there are members at all.
            return torch.cat([v, v.new_zeros((1, v.shape[1]))]).gather(0, index.clamp(max=v.shape[0]))
        if v.shape[0] == 0:
            return self.total(v)
        return self.zero_where_empty(v.gather(0, index.clamp(max=v.shape[0] - 1)))

    def rank(self, v: Tensor) -> Tensor:
        place = segments.rank(v.detach(), self.members.cell, self.members.starts)
        return place if self.real is None else torch.where(self.real, place, torch.full_like(place, -1))


class Soft(Ragged):
    """Ragged cells of a soft assignment: N x K weighted pairs, whose plain sum is a matrix product.

    Args:
        values: `(N, C)` elements.
        members: The N x K memberships, element by element.
        assignment: `(N, K)`, how much of each element is in each cluster.
        graph: `(N,)` int64, the graph of each element, or None for one graph.
        num_graphs: How many graphs there are.
    """

    def __init__(
        self, values: Tensor, members: Members, assignment: Tensor, graph: Tensor | None, num_graphs: int
    ) -> None:
        super().__init__(values, members, assignment.reshape(-1, 1))
        self.assignment = assignment
        self.graph = graph
        self.num_graphs = num_graphs

    def source(
        self, v: Tensor | None = None, weight: Tensor | None = None, among_weights: bool = False
    ) -> Source | None:
        """None: the values are never listed K times."""
        dispatch.decline("soft clusters are matrix products in plain torch")
        return None

    def reduce_rows(self, how: Literal["sum", "mean"] = "sum") -> Tensor:
        """A matrix product for one graph of finite values; otherwise one cluster at a time.

        Either way the extra memory is one wide copy of the values and not K of them.
        """
        x = wide(self.values)
        assignment = self.assignment.to(x.dtype)
        # What is in no cluster must not decide how the others are added up.
        x = torch.where(
            (assignment > 0).any(1, keepdim=True), x, torch.zeros((), dtype=x.dtype, device=x.device)
        )
        if self.graph is None and _checks.may_read(x) and bool(x.isfinite().all()):
            share = torch.where(assignment > 0, assignment, torch.zeros_like(assignment))
            with torch.autocast(x.device.type, enabled=False):
                # In float64: a float32 product adds up long columns with an error that grows with their length.
                total = (share.double().transpose(0, 1) @ x.double()).to(x.dtype)
            return total if how == "sum" else total / safe(self.mass)
        graph = (
            torch.zeros(x.shape[:1], dtype=torch.int64, device=x.device) if self.graph is None else self.graph
        )
        parts = []
        for k in range(assignment.shape[1]):
            share = assignment[:, k : k + 1]
            part = share * torch.where(share > 0, x, torch.zeros((), dtype=x.dtype, device=x.device))
            parts.append(segments.total(part, graph, self.num_graphs))
        if not parts:
            return x.new_zeros((0, x.shape[1]))
        total = torch.stack(parts, dim=1).flatten(0, 1)
        return total if how == "sum" else total / safe(self.mass)
