"""The nodes of a batch of graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from polypool import _checks
from polypool._lazy import kept
from polypool.cells import Members
from polypool.layouts.ragged import RaggedLayout, discard

if TYPE_CHECKING:
    from polypool.layouts.clusters import Clusters


class Nodes(RaggedLayout):
    """One cell per graph.

    Args:
        values: `(N, C)` floating.
        batch: `(N,)` integers, the graph of each node, in any order; None for one graph.
        num_graphs: How many graphs there are. When None it is read from `batch`, which a GPU has to wait for and a
            compiler cannot do.
        weight: `(N,)` floating, finite and >= 0; a node of weight 0 is in no graph.

    Raises:
        TypeError: An argument has a dtype that does not fit.
        ValueError: A shape does not fit, or an index is negative or not below `num_graphs`.

    Example:
        >>> import torch, polypool as pp
        >>> nodes = pp.Nodes(torch.tensor([[1.0], [2.0], [4.0]]), batch=torch.tensor([1, 0, 1]))
        >>> pp.build("sum")(nodes)
        tensor([[2.],
                [5.]])
    """

    kind = "nodes"
    structure = ("batch",)
    settings = ("num_graphs",)

    def __init__(
        self,
        values: Tensor,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        *,
        weight: Tensor | None = None,
    ) -> None:
        self.values = _checks.values(values, "values", (2,), "(N, C)")
        self.batch, self.num_graphs = graph_of_each(batch, num_graphs, values)
        self.weight = None if weight is None else _checks.weight(weight, values.shape[:1], "(N,)", values)

    @classmethod
    def from_data(cls, data: Any, *, weight: Tensor | None = None) -> Self:
        """From a PyG `Data` or `Batch`: its `x`, `batch` and number of graphs."""
        values = getattr(data, "x", None)
        if values is None:
            raise ValueError("data must hold node features x; found none. Pass Nodes(values, batch) instead.")
        batch = getattr(data, "batch", None)
        graphs = None if batch is None else getattr(data, "num_graphs", None)
        return cls(values, batch, graphs, weight=weight)

    @kept
    def members(self) -> Members:
        """The graph of each node."""
        if self.batch is None:
            cell = torch.zeros(self.values.shape[0], dtype=torch.int64, device=self.values.device)
            ordered = True
        else:
            cell = self.batch
            ordered = _checks.may_read(cell) and _checks.ordered(cell)
        cell, partial = discard(cell, self.num_graphs, self.weight, False)
        return Members(cell, self.num_graphs, partial=partial, sorted=ordered and not partial)

    def clusters(self, assignment: Tensor, num_clusters: int | None = None) -> Clusters:
        """Clusters of each graph's nodes; ids count per graph, so there are `num_graphs * num_clusters` cells.

        Args:
            assignment: As for `Clusters`: `(N,)` integers with -1 for none, `(2, M)` pairs, or `(N, K)` soft.
            num_clusters: Clusters per graph; read from the assignment when None.
        """
        from polypool.layouts.clusters import Clusters

        weight = self.weight
        if weight is not None and isinstance(assignment, Tensor):
            if assignment.is_floating_point():
                assignment, weight = assignment * weight[:, None], None
            elif assignment.dim() == 2:
                weight = weight[assignment[0]]
        return Clusters(
            self.values, assignment, num_clusters, weight, batch=self.batch, num_graphs=self.num_graphs
        )


def graph_of_each(batch: object, num_graphs: int | None, values: Tensor) -> tuple[Tensor | None, int]:
    """The checked graph index of each node and the number of graphs."""
    elements = values.shape[:1]
    if batch is None:
        graphs = 1 if num_graphs is None else _checks.size(num_graphs, "num_graphs")
        if graphs != 1:
            raise ValueError(
                f"batch must be given for more than one graph; found num_graphs = {graphs}. "
                "Pass batch=, the graph of each node."
            )
        return None, 1
    index = _checks.index(batch, "batch", elements, "(N,)", values)
    if num_graphs is None:
        return index, _checks.numbered(index, "batch", 0, "a graph's number", "Count graphs from 0.")
    graphs = _checks.size(num_graphs, "num_graphs")
    _checks.in_range(
        index, "batch", 0, graphs, "num_graphs", "Count graphs from 0, or pass a larger num_graphs."
    )
    return index, graphs
