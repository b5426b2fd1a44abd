"""A graph, or a batch of graphs, as coarsening sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from polypool._checks import ordered


@dataclass(frozen=True)
class Graph:
    """A graph, or a batch of graphs, as a select sees it.

    Attributes:
        x: `(N, C)`, the features of the nodes.
        edge_index: `(2, E)` int64, every edge within one graph.
        edge_weight: `(E,)`, numbers >= 0; None when each edge counts 1.
        batch: `(N,)` int64, the graph of each node, in any order; None for one graph.
        num_graphs: How many graphs there are.
        attributes: What else the data object holds, by name.
        batched: Whether the data object had a batch vector.
    """

    x: Tensor
    edge_index: Tensor
    edge_weight: Tensor | None = None
    batch: Tensor | None = None
    num_graphs: int = 1
    attributes: Mapping[str, Any] = field(default_factory=dict)
    batched: bool = False

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.x.shape[0]

    @cached_property
    def of_node(self) -> Tensor:
        """`(N,)` int64, the graph of each node."""
        if self.batch is None:
            return torch.zeros(self.num_nodes, dtype=torch.int64, device=self.x.device)
        return self.batch

    @cached_property
    def counts(self) -> Tensor:
        """`(B,)` int64, how many nodes each graph has."""
        return torch.bincount(self.of_node, minlength=self.num_graphs)

    @cached_property
    def order(self) -> Tensor | None:
        """`(N,)` int64, the nodes graph by graph; None when they already are."""
        return None if self.batch is None or ordered(self.batch) else self.batch.argsort(stable=True)

    @cached_property
    def place(self) -> Tensor:
        """`(N,)` int64, where each node stands when they are listed graph by graph."""
        listed = torch.arange(self.num_nodes, device=self.x.device)
        return listed if self.order is None else torch.empty_like(listed).index_copy_(0, self.order, listed)

    @cached_property
    def position(self) -> Tensor:
        """`(N,)` int64, the number of each node within its graph, whatever else is in the batch."""
        if self.batch is None:
            return self.place
        starts = self.counts.cumsum(0) - self.counts
        return self.place - starts[self.of_node]

    @cached_property
    def weight(self) -> Tensor:
        """`(E,)`, the weight of each edge, 1 where there are none."""
        if self.edge_weight is not None:
            return self.edge_weight
        return torch.ones(self.edge_index.shape[1], dtype=self.x.dtype, device=self.x.device)

    @cached_property
    def degree(self) -> Tensor:
        """`(N,)`, the weights of the edges out of each node added up, in float64."""
        zeros = torch.zeros(self.num_nodes, dtype=torch.float64, device=self.x.device)
        return zeros.index_add(0, self.edge_index[0], self.weight.double())
