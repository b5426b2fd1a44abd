"""What a select sees, what it gives, and what every select is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from polypool.graph._graph import Graph
from polypool.graph.clusters import GraphClusters
from polypool.layouts import Clusters


@dataclass(frozen=True)
class Selection:
    """What a select decided.

    Attributes:
        clusters: Which node is in which cluster, over the nodes' features. Coarse nodes are numbered graph by graph.
        gate: `(K,)`, what each coarse node is multiplied with, so that the score learns; None for nothing.
        losses: What to minimise besides the task, by name: one number each, averaged over graphs.
        normalise: Whether the authors divide coarse edge weights by the degrees at both ends.
        share_joins: Whether clusters that share a node are joined by that alone.
    """

    clusters: Clusters
    gate: Tensor | None = None
    losses: Mapping[str, Tensor] = field(default_factory=dict)
    normalise: bool = False
    share_joins: bool = False


@dataclass(frozen=True)
class SelectCard:
    """What a select is, to list it and to choose by.

    Attributes:
        name: Its name for `build`.
        kind: `"drop"` (keeps some nodes as they are), `"partition"` (each node in one cluster), `"overlap"` (nodes
            shared among clusters) or `"soft"` (each node shared out among K clusters of its graph).
        learnable: Whether it can have parameters.
        losses: The names of its losses.
        source: Authors and year.
        summary: One sentence.
    """

    name: str
    kind: Literal["drop", "partition", "overlap", "soft"]
    learnable: bool = False
    losses: tuple[str, ...] = ()
    source: str = ""
    summary: str = ""


class Select(nn.Module):
    """Decides which nodes become which coarse nodes. A subclass defines `forward`; register it to build it by name.

    Attributes:
        card: What it is.
        reads: The attributes of the data that it uses up, which are therefore not carried.
    """

    card: ClassVar[SelectCard] = SelectCard("select", "partition")
    reads: tuple[str, ...] = ()

    def forward(self, graph: Graph) -> Selection:
        """The clusters of a graph, or of each graph of a batch."""
        raise NotImplementedError(f"{type(self).__name__} has to define forward.")


def partition(graph: Graph, leader: Tensor) -> tuple[GraphClusters, Tensor]:
    """Disjoint clusters named by one of their nodes, numbered graph by graph in the order of those nodes.

    Args:
        graph: The graph.
        leader: `(N,)` int64, the node that each node's cluster is named after, of the same graph; -1 drops it.

    Returns:
        The clusters, and `(K,)` the node that each is named after.
    """
    place = graph.place.index_select(0, leader.clamp(min=0))
    leads = torch.zeros(graph.num_nodes, dtype=torch.bool, device=leader.device)
    dropped = leader < 0
    drops = bool(dropped.any())
    leads[place[~dropped] if drops else place] = True
    assignment = (leads.cumsum(0) - 1).index_select(0, place)
    if drops:
        assignment = assignment.masked_fill(dropped, -1)
    leaders = leads.nonzero().flatten()
    if graph.order is not None:
        leaders = graph.order[leaders]
    clusters = GraphClusters(
        graph.x,
        assignment,
        leaders.shape[0],
        cluster_batch=graph.of_node[leaders],
        num_graphs=graph.num_graphs,
    )
    return clusters, leaders
