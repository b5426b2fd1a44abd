"""What selects that keep some nodes share: the best of each graph, and a gate so that their score learns."""

import torch
from torch import Tensor

from polypool.graph._graph import Graph
from polypool.graph.select._settings import to_keep

GATES = {"tanh": torch.tanh, "sigmoid": torch.sigmoid}


def best_of_each(graph: Graph, score: Tensor, ratio: float | int) -> Tensor:
    """`(N,)` bool, the best nodes of each graph by score, ties to the first; NaN counts as the largest."""
    order = score.detach().argsort(descending=True, stable=True)
    kept = to_keep(graph, ratio)
    if graph.batch is None:
        among = order[: int(kept[0])]
    else:
        of_node = graph.batch[order]
        by_graph = of_node.argsort(stable=True)
        of_node = of_node[by_graph]
        starts = graph.counts.cumsum(0) - graph.counts
        place = torch.arange(order.shape[0], device=order.device) - starts[of_node]
        among = order[by_graph[place < kept[of_node]]]
    chosen = torch.zeros(graph.num_nodes, dtype=torch.bool, device=score.device)
    chosen[among] = True
    return chosen


def themselves(kept: Tensor) -> Tensor:
    """Each kept node as its own leader, -1 for the others."""
    own = torch.arange(kept.shape[0], device=kept.device)
    return torch.where(kept, own, torch.full_like(own, -1))
