"""Heavy-edge matching."""

import torch
from torch import Tensor

from polypool import _checks
from polypool.graph._graph import Graph
from polypool.graph.select._registry import register
from polypool.graph.select.base import Select, Selection, partition
from polypool.graph.select.edge_contraction import contracted
from polypool.poolings._settings import flag


@register(
    "graclus",
    "partition",
    source="Dhillon, Guan, Kulis 2007, Weighted Graph Cuts without Eigenvectors, section 5.1 (the coarsening phase)",
)
class Graclus(Select):
    """Merges pairs of nodes along the heaviest edges, no node twice; halves a graph without learning anything.

    Args:
        normalised: Whether an edge weighs `w (1 / d_u + 1 / d_v)`, the normalised cut, in place of `w`.
        seed: Decides between edges of the same weight.

    An edge and its reverse count as one with the sum of their weights; edges of weight 0 and self-loops do not match.

    Differences: the authors visit nodes in random order and match each with its heaviest free neighbour. Here the
    heaviest edge of all is taken first, then the next, in parallel: the same result at every run, and at least half of
    the weight that the best matching has (Preis 1999). It needs no pyg-lib.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from polypool.graph import Coarsen
        >>> path = Data(x=torch.ones(4, 1), edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]]))
        >>> path.edge_weight = torch.tensor([1.0, 5.0, 1.0])
        >>> Coarsen("graclus")(path).x[:, 0]
        tensor([1., 2., 1.])
    """

    def __init__(self, normalised: bool = False, seed: int = 0) -> None:
        super().__init__()
        self.normalised = flag(normalised, "normalised")
        self.seed = _checks.size(seed, "seed")

    def forward(self, graph: Graph) -> Selection:
        ends, weight = undirected(graph)
        if self.normalised:
            degree = torch.zeros(graph.num_nodes, dtype=weight.dtype, device=weight.device)
            degree = degree.index_add(0, ends[0], weight).index_add(0, ends[1], weight)
            weight = weight * (1 / degree[ends[0]] + 1 / degree[ends[1]])
        edges = contracted(graph, weight, self.seed, ends)
        leader = torch.arange(graph.num_nodes, device=ends.device)
        leader[ends[1, edges]] = ends[0, edges]
        return Selection(partition(graph, leader)[0])

    def extra_repr(self) -> str:
        return f"normalised={self.normalised}, seed={self.seed}"


def undirected(graph: Graph) -> tuple[Tensor, Tensor]:
    """Each pair of joined nodes once, `(2, M)`, and the weights of all edges between them added up, in float64."""
    low, high = graph.edge_index.amin(0), graph.edge_index.amax(0)
    key, inverse = (low * graph.num_nodes + high).unique(return_inverse=True)
    zeros = torch.zeros(key.shape[0], dtype=torch.float64, device=key.device)
    weight = zeros.index_add(0, inverse, graph.weight.detach().double())
    ends = torch.stack([key // max(graph.num_nodes, 1), key % max(graph.num_nodes, 1)])
    counts = (weight > 0) & (ends[0] != ends[1])
    return ends[:, counts], weight[counts]
