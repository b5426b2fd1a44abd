"""The pairs of clusters that edges join: of overlapping clusters listed, of soft ones all K x K."""

from __future__ import annotations

import torch
from torch import Tensor

from polypool.graph._graph import Graph
from polypool.graph._products import PerGraph, neighbours
from polypool.layouts import Clusters, Layout

#: How many pairs of memberships are listed at once for overlapping clusters.
AT_ONCE = 1 << 19


class Memberships:
    """All pairs of memberships of the two ends of each edge, in the order of the first cluster."""

    def __init__(self, edge_index: Tensor, clusters: Clusters, self_loops: bool) -> None:
        members = clusters.members
        self.cell, self.clusters, self.self_loops = members.cell, clusters.num_cells, self_loops
        nodes, device = clusters.values.shape[0], members.cell.device
        element = members.element
        if element is None:
            element = torch.arange(nodes, device=device)
        share = clusters.weight
        self.share = clusters.values.new_ones(element.shape[0]) if share is None else share
        real = (members.cell < clusters.num_cells).nonzero()[:, 0]
        self.of_node = real[element[real].argsort(stable=True)]
        self.counts = torch.bincount(element[real], minlength=nodes)
        self.starts = self.counts.cumsum(0) - self.counts
        edge, first = self._each(edge_index[0])
        order = members.cell[first].argsort(stable=True)
        self.edge, self.first = edge[order], first[order]
        self.other = edge_index[1, self.edge]

    def stretches(self) -> list[slice]:
        """Slices of the first memberships, no cluster cut in two, that stand for some `AT_ONCE` pairs each."""
        cell = self.cell[self.first]
        if not cell.numel():
            return [slice(0, 0)]
        done = self.counts[self.other].cumsum(0)
        last = torch.ones_like(cell, dtype=torch.bool)
        last[:-1] = cell[1:] != cell[:-1]
        ends = last.nonzero()[:, 0]
        part = done[ends] // AT_ONCE
        final = torch.ones_like(part, dtype=torch.bool)
        final[:-1] = part[1:] != part[:-1]
        stops = (ends[final] + 1).tolist()
        return [slice(start, stop) for start, stop in zip([0, *stops[:-1]], stops, strict=True)]

    def memberships(self, some: slice) -> tuple[Tensor, Tensor, Tensor]:
        """The edge of each pair, and the numbers of its two memberships."""
        place, other = self._each(self.other[some])
        one, edge = self.first[some][place], self.edge[some][place]
        if not self.self_loops:
            kept = (self.cell[one] != self.cell[other]).nonzero()[:, 0]
            one, other, edge = one[kept], other[kept], edge[kept]
        return edge, one, other

    def _each(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Every membership of every node: the place in `nodes`, and the number of the membership."""
        times = self.counts[nodes]
        place = torch.arange(nodes.shape[0], device=nodes.device).repeat_interleave(times)
        shift = self.starts[nodes] - (times.cumsum(0) - times)
        return place, self.of_node[torch.arange(place.shape[0], device=nodes.device) + shift[place]]


class Blocks:
    """The K x K pairs of clusters of each graph, and the edges between them."""

    def __init__(self, graph: Graph, clusters: Clusters) -> None:
        self.graph, self.share = graph, clusters.assignment
        self.products = PerGraph(graph)

    def total(self, weight: Tensor) -> Tensor:
        """`S^T A S` with these numbers as the edges of A, `(B, K * K)`."""
        graph = Graph(self.graph.x, self.graph.edge_index, weight)
        return self.products.product(self.share, neighbours(self.share, graph)).flatten(1)

    @property
    def mass(self) -> Tensor:
        """The shares of the edges of each pair added up, `(B, K * K)`."""
        ones = self.share.new_ones(self.graph.edge_index.shape[1])
        return self.total(ones)

    def layout(self, v: Tensor) -> Layout:
        """Every edge in all pairs of clusters, by the product of its ends' shares: E x K x K numbers."""
        one, other = self.share[self.graph.edge_index]
        shares = (one[:, :, None] * other[:, None, :]).flatten(1)
        of_edge = None if self.graph.batch is None else self.graph.batch[self.graph.edge_index[0]]
        return Clusters(v, shares, batch=of_edge, num_graphs=self.graph.num_graphs)
