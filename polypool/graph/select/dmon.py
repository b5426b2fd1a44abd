"""Clusters of high modularity."""

from collections.abc import Mapping

from torch import Tensor

from polypool.graph import losses
from polypool.graph._graph import Graph
from polypool.graph.select._registry import register
from polypool.graph.select._soft import SoftOfFeatures


@register(
    "dmon",
    "soft",
    learnable=True,
    losses=("modularity", "collapse"),
    source="Tsitsulin, Palowitch, Perozzi, Müller 2023, Graph Clustering with Graph Neural Networks, eq. 3",
)
class DMoN(SoftOfFeatures):
    """Shares nodes out so that clusters have more edges inside than chance would give them.

    Args:
        channels: The channels C of the features.
        num_clusters: K, how many coarse nodes each graph gets.
        hidden: The width of a layer between features and shares; none when None.
        temperature: What scores are divided by; small ones make shares almost hard.

    Differences: PyG adds the orthogonality of `min_cut` as a third loss and a SELU to the result; the paper has
    neither. The losses are finite for graphs without nodes or edges, where PyG's are NaN.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from polypool.graph import Coarsen
        >>> data = Data(x=torch.randn(10, 4), edge_index=torch.randint(10, (2, 30)))
        >>> sorted(Coarsen("dmon", channels=4, num_clusters=3)(data).losses)
        ['collapse', 'modularity']
    """

    def losses(self, assignment: Tensor, graph: Graph) -> Mapping[str, Tensor]:
        return losses.of_dmon(assignment, graph)
