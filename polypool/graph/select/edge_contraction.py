"""Contraction of the best edges."""

import torch
from torch import Tensor, nn
from torch_geometric.utils import softmax

from polypool.graph._graph import Graph
from polypool.graph._matching import best_first, matching
from polypool.graph._noise import stirred
from polypool.graph.select._registry import register
from polypool.graph.select._settings import chosen
from polypool.graph.select.base import Select, Selection, partition
from polypool.poolings._settings import count, flag, number

SCORES = ("softmax", "tanh", "sigmoid")


@register(
    "edge_contraction",
    "partition",
    learnable=True,
    source="Diehl 2019, Edge Contraction Pooling for Graph Neural Networks, eq. 1 to 5",
)
class EdgeContraction(Select):
    """Merges the two ends of the best edges, no node twice; the others stay as they are.

    Args:
        channels: The channels C of the features.
        score: `"softmax"` over the edges into each node, `"tanh"` or `"sigmoid"` of a linear map of both ends.
        offset: Added to the score, so that a merged node is multiplied by about 1.
        gate: Whether merged nodes are multiplied by the score of their edge. Without it the score learns nothing,
            and the sum of all features is kept.

    Edges are taken best first, as in the paper; here all that are the best left at both of their ends at once, which
    gives the same edges without a loop over them. Equal scores are decided by a hash of the two ends' places in their
    graph.

    Differences: PyG's layer loops over edges in Python, drops their features, and contracts a self-loop when it is the
    best edge of a node, which keeps that node from being merged; here self-loops do not compete.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from polypool.graph import Coarsen
        >>> path = Data(x=torch.randn(4, 8), edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]]))
        >>> Coarsen("edge_contraction", channels=8)(path).num_nodes in (2, 3)
        True
    """

    def __init__(self, channels: int, score: str = "softmax", offset: float = 0.5, gate: bool = True) -> None:
        super().__init__()
        self.kind = chosen(score, "score", SCORES)
        self.offset = number(offset, "offset")
        self.gate = flag(gate, "gate")
        self.linear = nn.Linear(2 * count(channels, "channels"), 1)

    def score(self, graph: Graph) -> Tensor:
        """`(E,)`, how much each edge deserves to be contracted."""
        one, other = graph.edge_index
        # The linear map of a concatenation is a sum of two parts, one number per node each.
        first, second = (graph.x @ self.linear.weight.view(2, -1).transpose(0, 1)).unbind(1)
        raw = first[one] + second[other] + self.linear.bias
        if self.kind == "softmax":
            raw = softmax(raw, other, num_nodes=graph.num_nodes)
        else:
            raw = raw.tanh() if self.kind == "tanh" else raw.sigmoid()
        return raw + self.offset

    def forward(self, graph: Graph) -> Selection:
        score = self.score(graph)
        edges = contracted(graph, score, 0)
        one, other = graph.edge_index[:, edges]
        leader = torch.arange(graph.num_nodes, device=score.device)
        leader[other] = one
        clusters, _ = partition(graph, leader)
        if not self.gate:
            return Selection(clusters)
        gate = score.new_ones(clusters.num_clusters).index_put((clusters.assignment[one],), score[edges])
        return Selection(clusters, gate=gate)

    def extra_repr(self) -> str:
        return f"score={self.kind!r}, offset={self.offset}, gate={self.gate}"


def contracted(graph: Graph, score: Tensor, seed: int, edge_index: Tensor | None = None) -> Tensor:
    """The numbers of the edges of a greedy matching by score; self-loops never match.

    Args:
        graph: The graph.
        score: `(E,)`, the largest first.
        seed: Decides between equal scores.
        edge_index: `(2, E)`, in place of the edges of the graph.
    """
    ends = graph.edge_index if edge_index is None else edge_index
    proper = ends[0] != ends[1]
    if loops := not bool(proper.all()):
        ends, score = ends[:, proper], score[proper]
    one, other = ends if graph.batch is None else graph.position[ends]
    tie = stirred(torch.minimum(one, other), torch.maximum(one, other), seed)
    taken = matching(ends, best_first(score, tie), graph.num_nodes)
    return proper.nonzero()[:, 0][taken] if loops else taken
