"""Top-k by a graph network's score."""

from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv, GraphConv, SAGEConv

from polypool.graph._graph import Graph
from polypool.graph.select._registry import register
from polypool.graph.select._settings import chosen
from polypool.graph.select.top_k import Dropping
from polypool.poolings._settings import count

CONVS = {"graph": GraphConv, "gcn": GCNConv, "sage": SAGEConv, "gat": GATConv}


@register("sag", "drop", learnable=True, source="Lee, Lee, Kang 2019, Self-Attention Graph Pooling, eq. 3")
class SAG(Dropping):
    """Keeps the nodes with the largest score of a graph network with one output channel.

    Args:
        channels: The channels C of the features.
        ratio: The share of the nodes of each graph that stays, rounded up; or how many, as an int.
        conv: `"graph"`, `"gcn"`, `"sage"` or `"gat"`: PyG's layer that scores.
        gate: `"tanh"` or `"sigmoid"`: what the kept nodes are multiplied with, so that the network learns.

    Differences: PyG's layer multiplies the score by a number whose sign is drawn once and never learns, so that half of
    all seeds keep the bottom k. Here the score is the network's own.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from polypool.graph import Coarsen
        >>> data = Data(x=torch.randn(10, 4), edge_index=torch.randint(10, (2, 30)))
        >>> Coarsen("sag", channels=4, ratio=6)(data).num_nodes
        6
    """

    def __init__(
        self, channels: int, ratio: float | int = 0.5, conv: str = "graph", gate: str = "tanh"
    ) -> None:
        super().__init__(ratio, gate)
        self.conv: nn.Module = CONVS[chosen(conv, "conv", tuple(CONVS))](count(channels, "channels"), 1)
        self.weighs = conv in ("graph", "gcn")

    def score(self, graph: Graph) -> Tensor:
        weight = {"edge_weight": graph.edge_weight} if self.weighs and graph.edge_weight is not None else {}
        return self.conv(graph.x, graph.edge_index, **weight)[:, 0]
