"""What soft selects want minimised, from the list of edges: no matrix of nodes by nodes.

Each function gives one number per graph, which does not depend on the other graphs of a batch and is finite for graphs
without nodes, without edges and with one node. `average` makes one number of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from polypool import _checks
from polypool.graph._graph import Graph
from polypool.graph._products import PerGraph, neighbours
from polypool.layouts.nodes import graph_of_each
from polypool.ops.elementwise import root, safe

Losses = dict[str, Tensor]


def min_cut(
    assignment: Tensor,
    edge_index: Tensor,
    edge_weight: Tensor | None = None,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
) -> Losses:
    """`cut`: `- Tr(S^T A S) / Tr(S^T D S)`; `orthogonality`: `| S^T S / |S^T S| - I / sqrt(K) |`.

    A graph without edges has a cut of 0, the worst there is, and one without nodes has losses of 0.

    Args:
        assignment: `(N, K)` >= 0, how much of each node is in each cluster: S.
        edge_index: `(2, E)`: A.
        edge_weight: `(E,)` >= 0; 1 when None.
        batch: `(N,)`, the graph of each node; one graph when None.
        num_graphs: How many graphs there are; read from `batch` when None.

    Returns:
        One number per graph, `(B,)`, for each name.

    Source:
        Bianchi, Grattarola, Alippi 2020, eq. 5.

    Example:
        >>> import torch
        >>> from polypool.graph.losses import min_cut
        >>> halves = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> min_cut(halves, torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]))["cut"]
        tensor([-1.])
    """
    return of_min_cut(assignment, _graph(assignment, edge_index, edge_weight, batch, num_graphs))


def dmon(
    assignment: Tensor,
    edge_index: Tensor,
    edge_weight: Tensor | None = None,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
) -> Losses:
    """`modularity`: `- Tr(S^T (A - d d^T / 2m) S) / 2m`; `collapse`: `sqrt(K) / n |sum_i s_i| - 1`.

    A graph without edges has a modularity of 0, and one without nodes has losses of 0.

    Args:
        assignment: `(N, K)` >= 0, how much of each node is in each cluster: S.
        edge_index: `(2, E)`: A, both directions of every edge.
        edge_weight: `(E,)` >= 0; 1 when None.
        batch: `(N,)`, the graph of each node; one graph when None.
        num_graphs: How many graphs there are; read from `batch` when None.

    Returns:
        One number per graph, `(B,)`, for each name.

    Source:
        Tsitsulin, Palowitch, Perozzi, Müller 2023, eq. 3.

    Example:
        >>> import torch
        >>> from polypool.graph.losses import dmon
        >>> halves = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> dmon(halves, torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]))["modularity"]
        tensor([-0.5000])
    """
    return of_dmon(assignment, _graph(assignment, edge_index, edge_weight, batch, num_graphs))


def diff(
    assignment: Tensor,
    edge_index: Tensor,
    edge_weight: Tensor | None = None,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
) -> Losses:
    """`link`: `|A - S S^T| / n^2`; `entropy`: the mean entropy of the shares of a node.

    The norm of the matrix that is nodes by nodes is `|A|^2 - 2 Tr(S^T A S) + |S^T S|^2`, squared; in float64, for the
    three almost cancel where the assignment is right. Edges that are there twice count twice.

    Args:
        assignment: `(N, K)` >= 0, how much of each node is in each cluster: S.
        edge_index: `(2, E)`: A.
        edge_weight: `(E,)` >= 0; 1 when None.
        batch: `(N,)`, the graph of each node; one graph when None.
        num_graphs: How many graphs there are; read from `batch` when None.

    Returns:
        One number per graph, `(B,)`, for each name; 0 for a graph without nodes.

    Source:
        Ying et al. 2018, section 3.3; divided by `n^2` as the authors' code does.

    Example:
        >>> import torch
        >>> from polypool.graph.losses import diff
        >>> diff(torch.eye(2), torch.tensor([[0, 1], [1, 0]]))["link"]
        tensor([0.5000])
    """
    return of_diff(assignment, _graph(assignment, edge_index, edge_weight, batch, num_graphs))


def just_balance(assignment: Tensor, batch: Tensor | None = None, num_graphs: int | None = None) -> Losses:
    """`balance`: `- sum_k sqrt(sum_i s_ik^2) / sqrt(n K)`: -1 when clusters are hard and of equal size.

    Args:
        assignment: `(N, K)` >= 0, how much of each node is in each cluster: S.
        batch: `(N,)`, the graph of each node; one graph when None.
        num_graphs: How many graphs there are; read from `batch` when None.

    Returns:
        One number per graph, `(B,)`; 0 for a graph without nodes.

    Source:
        Bianchi 2022, eq. 3, with the root taken of each entry on the diagonal as in the author's code, and divided by
        its largest value.

    Example:
        >>> import torch
        >>> from polypool.graph.losses import just_balance
        >>> just_balance(torch.eye(2))["balance"]
        tensor([-1.])
    """
    none = torch.zeros((2, 0), dtype=torch.int64, device=assignment.device)
    return of_just_balance(assignment, _graph(assignment, none, None, batch, num_graphs))


def average(loss: Tensor, counts: Tensor) -> Tensor:
    """The mean over the graphs that have nodes; 0 when none has.

    Args:
        loss: `(B,)`, one number per graph.
        counts: `(B,)`, how many nodes each graph has.
    """
    there = counts > 0
    return torch.where(there, loss, torch.zeros_like(loss)).sum() / there.sum().clamp(min=1)


def of_min_cut(assignment: Tensor, graph: Graph) -> Losses:
    """`min_cut` of a graph that is checked already."""
    inside, ends = _inside(assignment, graph)
    clusters = assignment.shape[1]
    gram = PerGraph(graph).product(assignment, assignment)
    size = root(gram.square().sum((1, 2), keepdim=True))
    even = torch.eye(clusters, dtype=gram.dtype, device=gram.device) / math.sqrt(clusters)
    uneven = root((gram / safe(size) - even).square().sum((1, 2)))
    return {"cut": -inside / safe(ends), "orthogonality": _of_real(uneven, graph)}


def of_dmon(assignment: Tensor, graph: Graph) -> Losses:
    """`dmon` of a graph that is checked already."""
    inside, _ = _inside(assignment, graph)
    degree = graph.degree.to(assignment.dtype)[:, None]
    total = safe(_summed(degree, graph)[:, 0])  # 2m
    expected = _summed(degree * assignment, graph).square().sum(1) / total
    sizes = _summed(assignment, graph)
    collapse = root(sizes.square().sum(1)) * math.sqrt(assignment.shape[1]) / safe(graph.counts) - 1
    return {"modularity": -(inside - expected) / total, "collapse": _of_real(collapse, graph)}


def of_diff(assignment: Tensor, graph: Graph) -> Losses:
    """`diff` of a graph that is checked already."""
    wide = assignment.double()
    inside, _ = _inside(wide, graph)
    gram = PerGraph(graph).product(wide, wide)
    square = _squared_edges(graph) - 2 * inside + gram.square().sum((1, 2))
    link = root(square.clamp(min=0)).to(assignment.dtype) / safe(graph.counts).square()
    # The logarithm of a share that is 0 has no gradient; its product with the share has no value.
    least = torch.finfo(assignment.dtype).tiny
    entropy = -_summed((assignment * assignment.clamp(min=least).log()).sum(1, keepdim=True), graph)[:, 0]
    return {"link": link, "entropy": entropy / safe(graph.counts)}


def of_just_balance(assignment: Tensor, graph: Graph) -> Losses:
    """`just_balance` of a graph that is checked already."""
    sizes = root(_summed(assignment.square(), graph)).sum(1)
    return {"balance": -sizes / (safe(graph.counts) * assignment.shape[1]).to(sizes.dtype).sqrt()}


def _inside(assignment: Tensor, graph: Graph) -> tuple[Tensor, Tensor]:
    """`Tr(S^T A S)` and `Tr(S^T D S)` of each graph."""
    along = (assignment * neighbours(assignment, graph)).sum(1, keepdim=True)
    ends = graph.degree.to(assignment.dtype)[:, None] * assignment.square().sum(1, keepdim=True)
    return _summed(along, graph)[:, 0], _summed(ends, graph)[:, 0]


def _squared_edges(graph: Graph) -> Tensor:
    """`|A|^2` of each graph, where edges that are there twice have added up; float64."""
    row, col = graph.edge_index
    weight = graph.weight.double()
    key, inverse = (row * graph.num_nodes + col).unique(return_inverse=True)
    if key.shape[0] < row.shape[0]:
        weight = weight.new_zeros(key.shape[0]).index_add(0, inverse, weight)
        row = key // graph.num_nodes
    return weight.new_zeros(graph.num_graphs).index_add(0, graph.of_node[row], weight.square())


def _summed(rows: Tensor, graph: Graph) -> Tensor:
    """The rows of each graph added up in float64, `(B, c)`."""
    zeros = torch.zeros((graph.num_graphs, rows.shape[1]), dtype=torch.float64, device=rows.device)
    return zeros.index_add(0, graph.of_node, rows.double()).to(rows.dtype)


def _of_real(loss: Tensor, graph: Graph) -> Tensor:
    """The loss where a graph has nodes, 0 where it has none."""
    return torch.where(graph.counts > 0, loss, torch.zeros_like(loss))


def _graph(
    assignment: object,
    edge_index: object,
    edge_weight: object,
    batch: object,
    num_graphs: int | None,
) -> Graph:
    rows = _checks.values(assignment, "assignment", (2,), "(N, K)")
    edges = _checks.index(edge_index, "edge_index", None, "(2, E)", rows)
    if edges.dim() != 2 or edges.shape[0] != 2:
        raise ValueError(f"edge_index must have shape (2, E); found {_checks.shape(edges)}. Transpose it.")
    _checks.in_range(edges, "edge_index", 0, rows.shape[0], "the nodes", "Pass one row of shares per node.")
    weight = None
    if edge_weight is not None:
        weight = _checks.weight(edge_weight, edges.shape[1:], "(E,)", rows, "edge_weight")
    of_node, graphs = graph_of_each(batch, num_graphs, rows)
    return Graph(rows, edges, weight, of_node, graphs)
