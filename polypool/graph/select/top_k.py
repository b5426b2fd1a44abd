"""Top-k by a projection."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polypool.graph._graph import Graph
from polypool.graph.select._dropping import GATES, best_of_each, themselves
from polypool.graph.select._registry import register
from polypool.graph.select._settings import chosen, ratio_of
from polypool.graph.select.base import Select, Selection, partition
from polypool.poolings._settings import count


class Dropping(Select):
    """What `top_k` and `sag` share: the best nodes of each graph stay, multiplied by the gate of their score."""

    def __init__(self, ratio: float | int, gate: str) -> None:
        super().__init__()
        self.ratio = ratio_of(ratio)
        self.gate = chosen(gate, "gate", tuple(GATES))

    def score(self, graph: Graph) -> Tensor:
        """`(N,)`, how much each node deserves to stay."""
        raise NotImplementedError(f"{type(self).__name__} has to define score.")

    def forward(self, graph: Graph) -> Selection:
        score = self.score(graph)
        clusters, leaders = partition(graph, themselves(best_of_each(graph, score, self.ratio)))
        return Selection(clusters, gate=GATES[self.gate](score[leaders]))

    def extra_repr(self) -> str:
        return f"ratio={self.ratio}, gate={self.gate!r}"


@register(
    "top_k",
    "drop",
    learnable=True,
    source="Gao, Ji 2019, Graph U-Nets, eq. 2; Cangea et al. 2018, Towards Sparse Hierarchical Graph Classifiers",
)
class TopK(Dropping):
    """Keeps the nodes whose features lie furthest along a learned direction: `x p / |p|`.

    Args:
        channels: The channels C of the features.
        ratio: The share of the nodes of each graph that stays, rounded up; or how many, as an int.
        gate: `"tanh"` or `"sigmoid"`: what the kept nodes are multiplied with, so that the direction learns.

    Differences: coarse nodes stay in the order of the graph, PyG lists the best first. Nodes are ranked by the score
    itself, before the gate, which rounds large scores to the same 1.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from polypool.graph import Coarsen
        >>> data = Data(x=torch.randn(10, 4), edge_index=torch.randint(10, (2, 30)))
        >>> Coarsen("top_k", channels=4, ratio=0.3)(data).num_nodes
        3
    """

    def __init__(self, channels: int, ratio: float | int = 0.5, gate: str = "tanh") -> None:
        super().__init__(ratio, gate)
        bound = 1 / math.sqrt(count(channels, "channels"))
        self.direction = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))

    def score(self, graph: Graph) -> Tensor:
        return graph.x @ F.normalize(self.direction, dim=0)
