"""Random selects: what a learned one has to beat."""

import math

import torch
from torch import Tensor

from polypool.graph._graph import Graph
from polypool.graph._noise import checked, drawn, mixed, uniform
from polypool.graph.select._dropping import best_of_each, themselves
from polypool.graph.select._registry import register
from polypool.graph.select._settings import ratio_of
from polypool.graph.select._soft import shared
from polypool.graph.select.base import Select, Selection, partition
from polypool.poolings._settings import count

SOURCE = "Bianchi, Lachi 2023, The Expressive Power of Pooling in Graph Neural Networks, section 5"


@register("random_sparse", "drop", source=SOURCE)
class RandomSparse(Select):
    """Keeps nodes at random.

    Args:
        ratio: The share of the nodes of each graph that stays, rounded up; or how many, as an int.
        seed: The same draw at every call; None draws anew each time, from a seed of torch's global generator.

    What is drawn for a graph depends on the seed and on the graph alone, not on its batch-mates.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from polypool.graph import Coarsen
        >>> data = Data(x=torch.randn(10, 4), edge_index=torch.randint(10, (2, 30)))
        >>> Coarsen("random_sparse", ratio=0.2, seed=0)(data).num_nodes
        2
    """

    def __init__(self, ratio: float | int = 0.5, seed: int | None = None) -> None:
        super().__init__()
        self.ratio, self.seed = ratio_of(ratio), checked(seed)

    def forward(self, graph: Graph) -> Selection:
        kept = best_of_each(graph, uniform(of_node(graph, self.seed)), self.ratio)
        return Selection(partition(graph, themselves(kept))[0])

    def extra_repr(self) -> str:
        return f"ratio={self.ratio}, seed={self.seed}"


@register("random_dense", "soft", source=SOURCE)
class RandomDense(Select):
    """Shares each node out at random: the softmax of K normal numbers.

    Args:
        num_clusters: K, how many coarse nodes each graph gets.
        seed: The same draw at every call; None draws anew each time, from a seed of torch's global generator.

    What is drawn for a graph depends on the seed and on the graph alone, not on its batch-mates.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from polypool.graph import Coarsen
        >>> data = Data(x=torch.randn(10, 4), edge_index=torch.randint(10, (2, 30)))
        >>> Coarsen("random_dense", num_clusters=3)(data).num_nodes
        3
    """

    def __init__(self, num_clusters: int, seed: int | None = None) -> None:
        super().__init__()
        self.num_clusters, self.seed = count(num_clusters, "num_clusters"), checked(seed)

    def forward(self, graph: Graph) -> Selection:
        columns = torch.arange(self.num_clusters, device=graph.x.device)
        state = mixed(of_node(graph, self.seed)[:, None], columns)
        normal = uniform(state).mul(2).sub(1).erfinv() * math.sqrt(2)
        return Selection(shared(graph, normal.softmax(1).to(graph.x.dtype)), normalise=True)

    def extra_repr(self) -> str:
        return f"num_clusters={self.num_clusters}, seed={self.seed}"


def of_node(graph: Graph, seed: int | None) -> Tensor:
    """`(N,)` int64, well-spread numbers of each node, that differ between graphs of different shape."""
    degree = torch.bincount(graph.edge_index[0], minlength=graph.num_nodes)
    own = mixed(drawn(seed), graph.position, degree)
    whole = torch.zeros(graph.num_graphs, dtype=torch.int64, device=own.device).index_add(
        0, graph.of_node, own
    )
    return mixed(own, whole[graph.of_node])
