"""Clusters of a set of elements: hard, overlapping or soft, for one graph or a batch of them."""

from __future__ import annotations

import torch
from torch import Tensor

from polypool import _checks
from polypool._lazy import kept
from polypool.cells import Members, Ragged, Soft
from polypool.layouts.nodes import graph_of_each
from polypool.layouts.ragged import RaggedLayout, discard


class Clusters(RaggedLayout):
    """One cell per cluster.

    Args:
        values: `(N, C)` floating.
        assignment: One of three forms.
            `(N,)` integers: the cluster of each element, -1 for none.
            `(2, M)` integers: pairs of element and cluster; clusters may overlap.
            `(N, K)` floating, >= 0: soft, how much of each element is in each cluster.
        num_clusters: How many clusters there are, per graph when there is a batch. When None it is read from the
            assignment (its width when soft).
        weight: `(N,)` or `(M,)`, one number >= 0 per membership; a soft assignment is its own weight.
        batch: `(N,)` integers, the graph of each element. Cluster ids then count per graph, and there are
            `num_graphs * num_clusters` cells, graph by graph.
        num_graphs: How many graphs there are; read from `batch` when None.

    Raises:
        TypeError: An argument has a dtype that does not fit.
        ValueError: A shape or a value does not fit.

    Example:
        >>> import torch, polypool as pp
        >>> clusters = pp.Clusters(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([0, 1, 0]))
        >>> pp.build("max")(clusters)
        tensor([[4.],
                [2.]])
    """

    kind = "clusters"
    structure = ("assignment", "node_batch")
    settings = ("num_clusters", "num_graphs")

    def __init__(
        self,
        values: Tensor,
        assignment: Tensor,
        num_clusters: int | None = None,
        weight: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> None:
        self.values = _checks.values(values, "values", (2,), "(N, C)")
        self.node_batch, self.num_graphs = graph_of_each(batch, num_graphs, values)
        given = _checks.tensor(assignment, "assignment")
        check = _soft if given.is_floating_point() else _pairs if given.dim() == 2 else _hard
        self.assignment, self.num_clusters = check(given, num_clusters, values)
        if self.soft and weight is not None:
            raise ValueError(
                "weight must be None with a soft assignment, which is its own weight. Multiply the two."
            )
        memberships = self.assignment.shape[-1:]
        self.weight = None
        if weight is not None:
            form = "(M,)" if self.assignment.dim() == 2 else "(N,)"
            self.weight = _checks.weight(weight, memberships, form, values)

    @property
    def soft(self) -> bool:
        """Whether the assignment is a matrix of shares."""
        return self.assignment.is_floating_point()

    @property
    def num_cells(self) -> int:
        return self.num_graphs * self.num_clusters

    @property
    def weighted(self) -> bool:
        return self.soft or self.weight is not None

    @property
    def batch(self) -> Tensor:
        """`(num_cells,)` int64, the graph of each cluster."""
        graphs = torch.arange(self.num_graphs, device=self.values.device)
        return graphs[:, None].expand(-1, self.num_clusters).flatten()

    @kept
    def members(self) -> Members:
        """The memberships; those of a soft assignment element by element."""
        if self.soft:
            elements, clusters = self.assignment.shape
            device = self.values.device
            element = torch.arange(elements, device=device)[:, None].expand(-1, clusters).flatten()
            cluster = torch.arange(clusters, device=device).expand(elements, -1).flatten()
        elif self.assignment.dim() == 2:
            element, cluster = self.assignment.unbind(0)
        else:
            element, cluster = None, self.assignment
        first = self._first_cluster
        if first is not None:
            cluster = cluster + (first if element is None else first[element])
        # Rows share the storage of the values unless some element is in no cluster.
        given = self.assignment
        partial = element is None and (not _checks.may_read(given) or bool((given < 0).any()))
        if partial:
            cluster = torch.where(self.assignment < 0, torch.full_like(cluster, self.num_cells), cluster)
        cell, partial = discard(cluster, self.num_cells, self._member_weight, partial)
        return Members(cell, self.num_cells, element=element, partial=partial)

    @property
    def cells(self) -> Ragged:
        if self.soft:
            return Soft(self.values, self.members, self.assignment, self.node_batch, self.num_graphs)
        return self._member_cells

    @property
    def _first_cluster(self) -> Tensor | None:
        """The first cell of each element's graph."""
        return None if self.node_batch is None else self.node_batch * self.num_clusters

    @property
    def _member_weight(self) -> Tensor | None:
        return self.assignment.flatten() if self.soft else self.weight

    @property
    def disjoint(self) -> bool:
        return not self.soft and self.assignment.dim() == 1


def _hard(assignment: Tensor, num_clusters: int | None, values: Tensor) -> tuple[Tensor, int]:
    index = _checks.index(assignment, "assignment", values.shape[:1], "(N,)", values)
    return index, _number(index, num_clusters, -1)


def _pairs(assignment: Tensor, num_clusters: int | None, values: Tensor) -> tuple[Tensor, int]:
    index = _checks.index(assignment, "assignment", None, "(2, M)", values)
    if index.shape[0] != 2:
        raise ValueError(
            f"assignment of pairs must have shape (2, M); found {_checks.shape(index)}. "
            "A soft assignment (N, K) must be floating."
        )
    _checks.in_range(index[0], "assignment[0]", 0, values.shape[0], "the elements", "Count elements from 0.")
    return index, _number(index[1], num_clusters, 0)


def _soft(assignment: Tensor, num_clusters: int | None, values: Tensor) -> tuple[Tensor, int]:
    if assignment.dim() != 2 or assignment.shape[0] != values.shape[0]:
        raise ValueError(
            f"a floating assignment must have shape (N, K) with N = {values.shape[0]}; found "
            f"{_checks.shape(assignment)}. Cluster ids must be integers."
        )
    width = assignment.shape[1]
    if num_clusters is not None and _checks.size(num_clusters, "num_clusters") != width:
        raise ValueError(
            f"num_clusters must be the width of a soft assignment, {width}; found {num_clusters}. "
            "Leave it out."
        )
    return _checks.weight(assignment, assignment.shape, "(N, K)", values, "assignment"), width


def _number(index: Tensor, num_clusters: int | None, least: int) -> int:
    """The number of clusters, given or read once."""
    if num_clusters is None:
        meaning = "a cluster's number" if least == 0 else "a cluster's number, -1 for none"
        return _checks.numbered(index, "assignment", least, meaning, "Count them from 0.")
    clusters = _checks.size(num_clusters, "num_clusters")
    _checks.in_range(
        index,
        "assignment",
        least,
        clusters,
        "num_clusters",
        "Count clusters from 0, or pass a larger num_clusters.",
    )
    return clusters
