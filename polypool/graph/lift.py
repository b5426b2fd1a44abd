"""Lift: rows of coarse nodes back to the nodes, by the transpose of what reduced them or by its pseudo-inverse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from polypool import _checks
from polypool.graph._graph import Graph
from polypool.graph._products import PerGraph
from polypool.layouts import Clusters
from polypool.ops.elementwise import safe
from polypool.pooling import Pooling

WAYS = ("transpose", "pseudo_inverse")
STEPS = 1000
PRECISION = 1e-10


def lift(clusters: Clusters, y: Tensor, how: str = "transpose", share: float = 0.0) -> Tensor:
    """Rows of the clusters at their nodes, `(K, c)` to `(N, c)`; 0 at nodes in no cluster.

    With S, `(N, K)`, how much of each node is in each cluster and D the sums of its columns, `reduce` is
    `M = D^-share S^T`. Then:

    - `"transpose"`: `S y`. A node gets its cluster's row, or the rows of its clusters weighed by its shares.
    - `"pseudo_inverse"`: `M^+ y`, the smallest rows (in the sum of their squares) that `M` brings nearest to `y`:
      exactly `y` where the columns of S are independent. A sum is spread evenly, `y_k / n_k`; an average is
      given to all.

    Args:
        clusters: The clusters.
        y: `(K, c)`, one row for each.
        how: `"transpose"` or `"pseudo_inverse"`.
        share: 0 for sums, 1 for averages, 0.5 between them.

    Cost:
        For disjoint clusters one gather. The pseudo-inverse of soft clusters solves K equations per graph; that of
        overlapping ones takes conjugate gradients, some tens of passes over the memberships.

    Raises:
        ValueError: `how` is unknown, or `y` has another number of rows.
        RuntimeError: The conjugate gradients do not settle: clusters are almost copies of each other.

    Source:
        Bianchi, Lachi 2023, section 2 (the operation called LIFT); Hestenes, Stiefel 1952 for least squares.

    Example:
        >>> import torch, polypool as pp
        >>> from polypool.graph.lift import lift
        >>> clusters = pp.Clusters(torch.ones(3, 1), torch.tensor([0, 0, 1]))
        >>> lift(clusters, torch.tensor([[6.0], [5.0]]), "pseudo_inverse")[:, 0]
        tensor([3., 3., 5.])
    """
    if how not in WAYS:
        raise ValueError(f"how must be one of {', '.join(WAYS)}; found {how!r}.")
    y = _checks.values(y, "y", (2,), "(K, c)")
    if y.shape[0] != clusters.num_cells:
        raise ValueError(
            f"y must have one row for each of the {clusters.num_cells} coarse nodes; found {_checks.shape(y)}. "
            "Pass coarse.x, or what a network made of it."
        )
    if clusters.soft:
        return _soft(clusters, y, how, share)
    if how == "transpose":
        return clusters.lift(y)
    if clusters.disjoint and clusters.weight is None:
        return clusters.lift(y * safe(clusters.counts.to(y.dtype))[:, None] ** (share - 1))
    return _overlapping(clusters, y, share)


def share_of(reduce: Pooling) -> float:
    """Which matrix a pooling is nearest to: that of the sum, of the average, or of what lies between."""
    if reduce.card.name == "mean_sqrt_len":
        return 0.5
    return 1.0 if reduce.card.constant_preserving else 0.0


def _soft(clusters: Clusters, y: Tensor, how: str, share: float) -> Tensor:
    graph = Graph(clusters.values, _no_edges(y), None, clusters.node_batch, clusters.num_graphs)
    products = PerGraph(graph)
    s = clusters.assignment
    rows = y.reshape(clusters.num_graphs, clusters.num_clusters, y.shape[1])
    if how == "transpose":
        return products.spread(s.to(y.dtype), rows)
    wide = s.double()
    if share:
        mass = products.product(wide, wide.new_ones((wide.shape[0], 1)))[..., 0]
        wide = wide * (safe(mass) ** -share)[graph.of_node]
    gram = products.product(wide, wide)
    solved = torch.linalg.pinv(gram, hermitian=True) @ rows.double()
    return products.spread(wide, solved).to(y.dtype)


def _overlapping(clusters: Clusters, y: Tensor, share: float) -> Tensor:
    members = clusters.members
    real = (members.cell < clusters.num_cells).nonzero().flatten()
    cell = members.cell[real]
    element = real if members.element is None else members.element[real]
    weight = y.new_ones(real.shape[0]) if clusters.weight is None else clusters.weight[real]
    weight = weight.double()
    if share:
        mass = weight.new_zeros(clusters.num_cells).index_add(0, cell, weight)
        weight = weight * (safe(mass) ** -share)[cell]
    pairs = _Pairs(
        element, cell, clusters.batch, clusters.values.shape[0], clusters.num_cells, clusters.num_graphs
    )
    return _PseudoInverse.apply(weight, y.double(), pairs).to(y.dtype)


class _Pairs:
    """The matrix A `(N, K)` of weighted pairs of node and cluster, as two maps."""

    def __init__(
        self, element: Tensor, cell: Tensor, cell_graph: Tensor, nodes: int, cells: int, num_graphs: int
    ) -> None:
        self.element, self.cell, self.cell_graph = element, cell, cell_graph
        self.nodes, self.cells, self.num_graphs = nodes, cells, num_graphs
        # The graph of a node that is in no cluster does not matter: its row stays 0.
        self.node_graph = element.new_zeros(nodes).index_copy(0, element, cell_graph[cell])

    def up(self, weight: Tensor, z: Tensor) -> Tensor:
        """`A z`."""
        return z.new_zeros((self.nodes, z.shape[1])).index_add(
            0, self.element, weight[:, None] * z[self.cell]
        )

    def down(self, weight: Tensor, x: Tensor) -> Tensor:
        """`A^T x`."""
        return x.new_zeros((self.cells, x.shape[1])).index_add(
            0, self.cell, weight[:, None] * x[self.element]
        )

    def to_nodes(self, weight: Tensor, y: Tensor) -> Tensor:
        """The smallest x with `A^T x` nearest to y."""
        return self._least_squares(
            lambda x: self.down(weight, x), lambda z: self.up(weight, z), y, self.node_graph, self.cell_graph
        )

    def to_cells(self, weight: Tensor, x: Tensor) -> Tensor:
        """The smallest z with `A z` nearest to x."""
        return self._least_squares(
            lambda z: self.up(weight, z), lambda v: self.down(weight, v), x, self.cell_graph, self.node_graph
        )

    def _least_squares(
        self,
        apply: Callable[[Tensor], Tensor],
        adjoint: Callable[[Tensor], Tensor],
        right: Tensor,
        inner: Tensor,
        outer: Tensor,
    ) -> Tensor:
        """Conjugate gradients on the normal equations, for each graph and channel on its own.

        Args:
            apply: The matrix.
            adjoint: Its transpose.
            right: What it should give.
            inner: The graph of each row that it takes.
            outer: The graph of each row that it gives.
        """

        def dot(v: Tensor, graph: Tensor) -> Tensor:
            return v.new_zeros((self.num_graphs, v.shape[1])).index_add(0, graph, v.square())

        left = right
        slope = adjoint(left)
        found, step = torch.zeros_like(slope), slope
        size = dot(slope, inner)
        small = size * PRECISION**2
        for _ in range(STEPS):
            if bool((size <= small).all()):
                return found
            moved = apply(step)
            # What has settled stays: another graph may still need steps.
            going = size > small
            length = torch.where(going, size / safe(dot(moved, outer)), torch.zeros_like(size))
            found = found + length[inner] * step
            left = left - length[outer] * moved
            slope = adjoint(left)
            after = dot(slope, inner)
            step = slope + (after / safe(size))[inner] * step
            size = after
        raise RuntimeError(
            f"the pseudo-inverse did not settle in {STEPS} steps: some clusters are almost copies of each other. "
            'Lift with how="transpose".'
        )


class _PseudoInverse(torch.autograd.Function):
    """`x = (A^T)^+ y`, with the gradient of the exact solution (Golub, Pereyra 1973), not of the iteration."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, y: Tensor, pairs: _Pairs) -> Tensor:
        x = pairs.to_nodes(weight, y)
        ctx.save_for_backward(weight, x)
        ctx.pairs = pairs
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (gradient,) = gradients
        pairs: _Pairs = ctx.pairs
        weight, x = ctx.saved_tensors
        u = pairs.to_cells(weight, gradient)
        of_weight = None
        if ctx.needs_input_grad[0]:
            z = pairs.to_cells(weight, x)
            rest = gradient - pairs.up(weight, u)
            element, cell = pairs.element, pairs.cell
            of_weight = (rest[element] * z[cell] - x[element] * u[cell]).sum(1)
        return of_weight, u, None


def _no_edges(like: Tensor) -> Tensor:
    return torch.zeros((2, 0), dtype=torch.int64, device=like.device)
