"""Clusters that the data bring."""

import torch
from torch import Tensor

from polypool import _checks
from polypool.graph._graph import Graph
from polypool.graph.select._registry import register
from polypool.graph.select._soft import shared
from polypool.graph.select.base import Select, Selection, partition


@register("given", "partition", source="no source: the user's own clusters")
class Given(Select):
    """Merges by an attribute of the data.

    Args:
        key: The attribute: `(N,)` integers, -1 for nodes to drop, whose numbers may count per graph or through the
            batch; or `(N, K)` floating, >= 0: how much of each node is in each of K clusters of its graph.

    Numbers need not be consecutive: nodes of one graph with the same number form a cluster, named after its first node.

    Raises:
        ValueError: The data have no such attribute, or it has another number of rows.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from polypool.graph import Coarsen
        >>> data = Data(x=torch.ones(4, 1), edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]]))
        >>> data.cluster = torch.tensor([7, 7, 7, 2])
        >>> Coarsen("given")(data).x[:, 0]
        tensor([3., 1.])
    """

    def __init__(self, key: str = "cluster") -> None:
        super().__init__()
        if not isinstance(key, str):
            raise TypeError(f"key must be a str, the name of an attribute; found {type(key).__name__}.")
        self.key = key
        self.reads = (key,)

    def forward(self, graph: Graph) -> Selection:
        if self.key not in graph.attributes:
            has = ", ".join(graph.attributes) or "none"
            raise ValueError(
                f"data must hold {self.key}, the cluster of each node; its attributes besides the graph are: {has}. "
                "Set it, or pass key= to Coarsen."
            )
        found = _checks.tensor(graph.attributes[self.key], self.key)
        if found.is_floating_point():
            return Selection(shared(graph, found))
        number = _checks.index(found, self.key, graph.x.shape[:1], "(N,)", graph.x)
        _checks.in_range(
            number, self.key, -1, None, "a cluster's number, -1 for none", "Count clusters from 0."
        )
        return Selection(partition(graph, _leader(graph, number))[0])

    def extra_repr(self) -> str:
        return f"key={self.key!r}"


def _leader(graph: Graph, number: Tensor) -> Tensor:
    """The first node of each node's cluster, in the order of its graph; -1 where there is none."""
    width = number.max() + 2 if number.numel() else number.new_ones(())
    _, inverse = (graph.of_node * width + number + 1).unique(return_inverse=True)
    first = torch.full_like(number, number.shape[0]).scatter_reduce(0, inverse, graph.place, "amin")[inverse]
    nodes = first if graph.order is None else graph.order[first]
    return torch.where(number < 0, torch.full_like(number, -1), nodes)
