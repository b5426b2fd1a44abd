"""Clusters by a graph network of their own."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch_geometric.nn import SAGEConv

from polypool.graph import losses
from polypool.graph._graph import Graph
from polypool.graph.select._registry import register
from polypool.graph.select._soft import Soft
from polypool.poolings._settings import count


@register(
    "diff",
    "soft",
    learnable=True,
    losses=("link", "entropy"),
    source="Ying et al. 2018, Hierarchical Graph Representation Learning with Differentiable Pooling, eq. 3 to 6",
)
class Diff(Soft):
    """Shares nodes out by a graph network; neighbours should share clusters, each node have few.

    Args:
        channels: The channels C of the features.
        num_clusters: K, how many coarse nodes each graph gets.
        hidden: The width of a layer between the graph convolution and the shares; none when None.
        temperature: What scores are divided by; small ones make shares almost hard.

    Differences: the scores are a layer of GraphSAGE (with `hidden`, and a linear map). The paper's second network,
    which embeds the nodes, is whatever comes before. Coarse edge weights stay as they are, `S^T A S`. The link loss is
    that of each graph, where PyG takes one norm over the batch.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from polypool.graph import Coarsen
        >>> data = Data(x=torch.randn(10, 4), edge_index=torch.randint(10, (2, 30)))
        >>> sorted(Coarsen("diff", channels=4, num_clusters=3)(data).losses)
        ['entropy', 'link']
    """

    normalise = False

    def __init__(
        self, channels: int, num_clusters: int, hidden: int | None = None, temperature: float = 1.0
    ) -> None:
        super().__init__(num_clusters, temperature)
        count(channels, "channels")
        width = num_clusters if hidden is None else count(hidden, "hidden")
        self.conv = SAGEConv(channels, width)
        self.after = None if hidden is None else nn.Linear(width, num_clusters)

    def scores(self, graph: Graph) -> Tensor:
        found = self.conv(graph.x, graph.edge_index)
        return found if self.after is None else self.after(found.relu())

    def losses(self, assignment: Tensor, graph: Graph) -> Mapping[str, Tensor]:
        return losses.of_diff(assignment, graph)
