"""Matrix products per graph, for graphs of different sizes, without a matrix that is nodes by nodes."""

from __future__ import annotations

import torch
from torch import Tensor

from polypool.graph._graph import Graph

#: Padding all graphs to the largest may cost so many times the nodes; beyond, graphs are taken one by one.
PADDED = 4


class PerGraph:
    """`a^T b` and `s y` of each graph of a batch.

    Small graphs of like size are padded to the largest and multiplied at once, so that memory is at most `PADDED` times
    that of the rows; others one by one.

    Args:
        graph: The batch.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        widest = int(graph.counts.max()) if graph.num_graphs > 1 else graph.num_nodes
        self.width = max(widest, 1)
        self.padded = graph.num_graphs * self.width <= PADDED * max(graph.num_nodes, 1)

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """`sum_i a_i b_i^T` over the nodes of each graph: `(N, p)` and `(N, q)` to `(B, p, q)`."""
        if self.graph.num_graphs == 1:
            return (a.transpose(0, 1) @ b)[None]
        if self.padded:
            return self._pad(a).transpose(1, 2) @ self._pad(b)
        return torch.stack([a[nodes].transpose(0, 1) @ b[nodes] for nodes in self._nodes()])

    def spread(self, s: Tensor, y: Tensor) -> Tensor:
        """`s_i y` of each node with the matrix of its graph: `(N, p)` and `(B, p, q)` to `(N, q)`."""
        if self.graph.num_graphs == 1:
            return s @ y[0]
        if self.padded:
            return (self._pad(s) @ y).flatten(0, 1).index_select(0, self._slots())
        listed = torch.cat([s[nodes] @ y[g] for g, nodes in enumerate(self._nodes())])
        return listed.index_select(0, self.graph.place)

    def _slots(self) -> Tensor:
        return self.graph.of_node * self.width + self.graph.position

    def _pad(self, v: Tensor) -> Tensor:
        rows = v.new_zeros((self.graph.num_graphs * self.width, v.shape[1])).index_copy(0, self._slots(), v)
        return rows.view(self.graph.num_graphs, self.width, v.shape[1])

    def _nodes(self) -> tuple[Tensor, ...]:
        order = self.graph.order
        listed = torch.arange(self.graph.num_nodes, device=self.graph.x.device) if order is None else order
        return listed.split(self.graph.counts.tolist())


def neighbours(s: Tensor, graph: Graph) -> Tensor:
    """`A s`: the rows of each node's neighbours along its edges, weighted and added up, `(N, p)`."""
    row, col = graph.edge_index
    sent = s.index_select(0, col)
    if graph.edge_weight is not None:
        sent = sent * graph.edge_weight.to(s.dtype)[:, None]
    return torch.zeros_like(s).index_add(0, row, sent)
