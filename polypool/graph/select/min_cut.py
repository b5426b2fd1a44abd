"""Clusters that few edges leave."""

from collections.abc import Mapping

from torch import Tensor

from polypool.graph import losses
from polypool.graph._graph import Graph
from polypool.graph.select._registry import register
from polypool.graph.select._soft import SoftOfFeatures


@register(
    "min_cut",
    "soft",
    learnable=True,
    losses=("cut", "orthogonality"),
    source="Bianchi, Grattarola, Alippi 2020, Spectral Clustering with Graph Neural Networks for Graph Pooling, eq. 5",
)
class MinCut(SoftOfFeatures):
    """Shares nodes out so that most edges stay inside a cluster and clusters are of like size.

    Args:
        channels: The channels C of the features.
        num_clusters: K, how many coarse nodes each graph gets.
        hidden: The width of a layer between features and shares; none when None.
        temperature: What scores are divided by; small ones make shares almost hard.

    Differences: the losses need no matrix of nodes by nodes, and are finite for graphs without nodes or edges, where
    PyG's are NaN.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from polypool.graph import Coarsen
        >>> data = Data(x=torch.randn(10, 4), edge_index=torch.randint(10, (2, 30)))
        >>> coarse = Coarsen("min_cut", channels=4, num_clusters=3)(data)
        >>> coarse.num_nodes, sorted(coarse.losses)
        (3, ['cut', 'orthogonality'])
    """

    def losses(self, assignment: Tensor, graph: Graph) -> Mapping[str, Tensor]:
        return losses.of_min_cut(assignment, graph)
