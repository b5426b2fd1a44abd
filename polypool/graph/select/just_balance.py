"""Clusters of like size, and nothing else."""

from collections.abc import Mapping

from torch import Tensor

from polypool.graph import losses
from polypool.graph._graph import Graph
from polypool.graph.select._registry import register
from polypool.graph.select._soft import SoftOfFeatures


@register(
    "just_balance",
    "soft",
    learnable=True,
    losses=("balance",),
    source="Bianchi 2022, Simplifying Clustering with Graph Neural Networks, eq. 3",
)
class JustBalance(SoftOfFeatures):
    """Shares nodes out evenly; that neighbours share a cluster is left to the message passing before it.

    Args:
        channels: The channels C of the features.
        num_clusters: K, how many coarse nodes each graph gets.
        hidden: The width of a layer between features and shares; none when None.
        temperature: What scores are divided by; small ones make shares almost hard.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from polypool.graph import Coarsen
        >>> data = Data(x=torch.randn(10, 4), edge_index=torch.randint(10, (2, 30)))
        >>> bool(Coarsen("just_balance", channels=4, num_clusters=3)(data).losses["balance"] >= -1)
        True
    """

    def losses(self, assignment: Tensor, graph: Graph) -> Mapping[str, Tensor]:
        return losses.of_just_balance(assignment, graph)
