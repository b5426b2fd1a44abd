"""Attention over ego networks, the fittest of which stay."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import LEConv
from torch_geometric.utils import add_remaining_self_loops, scatter, softmax

from polypool.graph._graph import Graph
from polypool.graph.clusters import GraphClusters
from polypool.graph.select._dropping import best_of_each, themselves
from polypool.graph.select._registry import register
from polypool.graph.select._settings import finite, ratio_of
from polypool.graph.select.base import Select, Selection, partition
from polypool.poolings._settings import count


@register(
    "asap",
    "overlap",
    learnable=True,
    source="Ranjan, Sanyal, Talukdar 2020, ASAP: Adaptive Structure Aware Pooling, eq. 4 to 8",
)
class ASAP(Select):
    """Each node and its neighbours form a cluster by attention; the fittest clusters of each graph stay.

    Args:
        channels: The channels C of the features.
        ratio: The share of the clusters of each graph that stays, rounded up; or how many, as an int.

    The attention asks the largest of each channel over the cluster ("master to token"); the fitness is a local extremum
    convolution of the clusters' sums, and its sigmoid gates them. Clusters that share a node are joined.

    Differences: PyG ranks by the fitness times a number whose sign is drawn once and never learns; here the fittest
    stay for every seed. The attention has no dropout, which would make the clusters random. Coarse edges keep their
    weights, through which the attention learns too.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from polypool.graph import Coarsen
        >>> data = Data(x=torch.randn(10, 4), edge_index=torch.randint(10, (2, 30)))
        >>> Coarsen("asap", channels=4)(data).num_nodes
        5
    """

    def __init__(self, channels: int, ratio: float | int = 0.5) -> None:
        super().__init__()
        self.ratio = ratio_of(ratio)
        self.query = nn.Linear(count(channels, "channels"), channels)
        self.of_query = nn.Linear(channels, 1)
        self.of_member = nn.Linear(channels, 1, bias=False)
        self.fitness = LEConv(channels, 1)

    def forward(self, graph: Graph) -> Selection:
        x, nodes = graph.x, graph.num_nodes
        edge_index, edge_weight = add_remaining_self_loops(
            graph.edge_index, graph.edge_weight, fill_value=1.0, num_nodes=nodes
        )
        member, owner = edge_index
        share = finite(self.attention(x, member, owner), self.card.name)
        merged = scatter(x[member] * share[:, None], owner, dim=0, dim_size=nodes, reduce="sum")
        fitness = self.fitness(merged, edge_index, edge_weight)[:, 0]
        partitioned, leaders = partition(graph, themselves(best_of_each(graph, fitness, self.ratio)))
        number = partitioned.assignment[owner]
        stays = number >= 0
        clusters = GraphClusters(
            x,
            torch.stack([member[stays], number[stays]]),
            partitioned.num_clusters,
            weight=share[stays],
            cluster_batch=partitioned.cluster_batch,
            num_graphs=graph.num_graphs,
        )
        return Selection(clusters, gate=fitness[leaders].sigmoid(), share_joins=True)

    def attention(self, x: Tensor, member: Tensor, owner: Tensor) -> Tensor:
        """`(M,)`, how much each member counts in its owner's cluster; they add up to 1."""
        largest = scatter(x[member], owner, dim=0, dim_size=x.shape[0], reduce="max")
        # The attention of a concatenation is a sum of two parts, one number per node each.
        score = self.of_query(self.query(largest))[owner, 0] + self.of_member(x)[member, 0]
        return softmax(F.leaky_relu(score, 0.2), owner, num_nodes=x.shape[0])

    def extra_repr(self) -> str:
        return f"ratio={self.ratio}"
