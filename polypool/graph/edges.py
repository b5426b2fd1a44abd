"""Which graph an edge belongs to."""

from __future__ import annotations

import torch
from torch import Tensor

from polypool import _checks


def graph_of_edges(edge_index: Tensor, batch: Tensor | None) -> Tensor | None:
    """The graph of each edge, that of its first node: what an edge readout pools by.

    Args:
        edge_index: `(2, E)` integers, or PyG's `EdgeIndex`.
        batch: `(N,)` integers, the graph of each node; None for one graph.

    Returns:
        `(E,)` integers; None when `batch` is.

    Raises:
        ValueError: `edge_index` has another shape, names a node that is not there, or an edge joins two graphs.

    Example:
        >>> import torch
        >>> from polypool.graph import global_pool, graph_of_edges
        >>> edges, batch = torch.tensor([[0, 1, 3], [1, 2, 4]]), torch.tensor([0, 0, 0, 1, 1])
        >>> lengths = torch.tensor([[1.0], [3.0], [7.0]])
        >>> global_pool(lengths, graph_of_edges(edges, batch), size=2)
        tensor([[2.],
                [7.]])
    """
    edge_index = _checks.tensor(edge_index, "edge_index")
    if edge_index.dim() != 2 or edge_index.shape[0] != 2:
        raise ValueError(
            f"edge_index must have shape (2, E); found {_checks.shape(edge_index)}. "
            "A sparse adjacency has its edges in .coo() or .indices()."
        )
    if batch is None:
        return None
    source, target = edge_index[0].long(), edge_index[1].long()
    nodes = batch.shape[0]
    for ends in (source, target):
        _checks.in_range(
            ends, "edge_index", 0, nodes, "the nodes of batch", "Count nodes through the whole batch."
        )
    graph = batch.index_select(0, source)
    if _checks.may_read(graph) and not torch.equal(graph, batch.index_select(0, target)):
        wrong = int((graph != batch.index_select(0, target)).nonzero()[0])
        raise ValueError(
            f"an edge must stay in one graph; edge {wrong} joins nodes {int(source[wrong])} and {int(target[wrong])} "
            f"of graphs {int(graph[wrong])} and {int(batch[target[wrong]])}. Check that batch goes with edge_index."
        )
    return graph
