"""Maximal sets of nodes that are more than k steps apart, and the regions around them."""

from typing import Literal

import torch
from torch import Tensor, nn

from polypool import _checks
from polypool.graph._graph import Graph
from polypool.graph._matching import best_first
from polypool.graph._noise import mixed, uniform
from polypool.graph.select._registry import register
from polypool.graph.select._settings import chosen
from polypool.graph.select.base import Select, Selection, partition
from polypool.poolings._settings import count

ORDERS = ("degree", "random", "score")


@register(
    "k_mis",
    "partition",
    learnable=True,
    source="Bacciu, Conte, Landolfi 2023, Generalizing Downsampling from Regular Data to Graphs, algorithm 1",
)
class KMIS(Select):
    """Centres more than k steps apart, every node within k steps of one and merged into the nearest.

    Args:
        k: How far centres keep off each other, in steps.
        order: Who becomes a centre first: `"degree"`, the nodes with most edges; `"random"`; or `"score"`, the nodes
            with the largest learned projection, whose sigmoid then gates the clusters so that it learns.
        channels: The channels C of the features, for `order="score"`.
        seed: Decides between nodes of the same degree, and the random order.

    On a path with k = 1 it is a stride of two or three, on a regular grid of pixels about what a stride is. Edges are
    followed in both directions.

    Differences: the authors give a node to the centre that comes first in their order within k steps; here to the
    nearest, and to the first of those, so that clusters are connected. They let the order rest on powers of the
    adjacency; here on degrees.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from polypool.graph import Coarsen
        >>> star = Data(x=torch.ones(5, 1), edge_index=torch.tensor([[0, 0, 0, 0], [1, 2, 3, 4]]))
        >>> Coarsen("k_mis")(star).x
        tensor([[5.]])
    """

    def __init__(
        self,
        k: int = 1,
        order: Literal["degree", "random", "score"] = "degree",
        channels: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.k = count(k, "k")
        self.order = chosen(order, "order", ORDERS)
        self.seed = _checks.size(seed, "seed")
        self.linear: nn.Linear | None = None
        if self.order == "score":
            if channels is None:
                raise TypeError(
                    'k_mis needs channels with order="score": build("k_mis", order="score", channels=...).'
                )
            self.linear = nn.Linear(count(channels, "channels"), 1)

    def forward(self, graph: Graph) -> Selection:
        tie = mixed(self.seed, graph.position)
        gate = None
        if self.linear is not None:
            score = self.linear(graph.x)[:, 0]
            gate = score.sigmoid()
        else:
            score = _degree(graph) if self.order == "degree" else uniform(tie)
        row, col = _both_ways(graph.edge_index)
        order = best_first(score, tie)
        rank = torch.empty_like(order).index_copy_(
            0, order, torch.arange(order.shape[0], device=order.device)
        )
        centre = independent(row, col, rank, self.k)
        clusters, leaders = partition(graph, nearest(row, col, rank, centre, self.k))
        return Selection(clusters, gate=None if gate is None else gate[leaders])

    def extra_repr(self) -> str:
        return f"k={self.k}, order={self.order!r}, seed={self.seed}"


def independent(row: Tensor, col: Tensor, rank: Tensor, k: int) -> Tensor:
    """`(N,)` bool: a maximal set of nodes more than k steps apart, those of the smallest rank first.

    Args:
        row: `(E,)` int64, one end of each edge; every edge is there in both directions.
        col: `(E,)` int64, the other end.
        rank: `(N,)` int64, all different.
        k: Steps.
    """
    last = torch.full_like(rank, torch.iinfo(torch.int64).max)
    active = torch.ones_like(rank, dtype=torch.bool)
    centre = torch.zeros_like(active)
    while bool(active.any()):
        best = torch.where(active, rank, last)
        for _ in range(k):
            best = best.scatter_reduce(0, row, best[col], "amin")
        found = active & (best == rank)
        centre |= found
        for _ in range(k):
            reached = found.clone()
            reached[row[found[col]]] = True
            found = reached
        active &= ~found
    return centre


def nearest(row: Tensor, col: Tensor, rank: Tensor, centre: Tensor, k: int) -> Tensor:
    """`(N,)` int64: the centre nearest to each node, the one of smallest rank among several; -1 beyond k steps."""
    last = torch.full_like(rank, torch.iinfo(torch.int64).max)
    owner = torch.where(centre, rank, last)
    for _ in range(k):
        offered = last.scatter_reduce(0, row, owner[col], "amin")
        owner = torch.where(owner == last, offered, owner)
    node = torch.empty_like(rank).index_copy_(0, rank, torch.arange(rank.shape[0], device=rank.device))
    return torch.where(
        owner == last, torch.full_like(owner, -1), node[owner.clamp(max=max(rank.shape[0] - 1, 0))]
    )


def _both_ways(edge_index: Tensor) -> Tensor:
    proper = edge_index[:, edge_index[0] != edge_index[1]]
    return torch.cat([proper, proper.flip(0)], dim=1)


def _degree(graph: Graph) -> Tensor:
    row, _ = _both_ways(graph.edge_index)
    return torch.bincount(row, minlength=graph.num_nodes).double()
