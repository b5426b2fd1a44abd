"""Connect: the edges of a coarse graph, and what becomes of the edges that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from polypool.graph._graph import Graph
from polypool.graph._pairs import Blocks, Memberships
from polypool.graph._sorting import ordered
from polypool.graph.select.base import Selection
from polypool.layouts import Clusters, Layout
from polypool.ops.dispatch import choice, kernels
from polypool.ops.elementwise import root, safe
from polypool.pooling import Pooling
from polypool.registry import build

SELF_LOOPS = ("drop", "keep")
#: Poolings whose result is one of the elements, so that integers stay what they are.
CHOOSING = ("max", "min", "first", "last")
LARGEST_INT32 = torch.iinfo(torch.int32).max


class Connect(nn.Module):
    """Joins two coarse nodes where an edge joins nodes of theirs, and pools what those edges carry.

    `A' = S^T A S` with any pooling in place of the sum. Edges come sorted, without duplicates, and within their graph.
    For a soft select they are all pairs of the K coarse nodes of a graph, and their weights say what there is.

    Args:
        reduce: What becomes of the edges between two clusters: the name of a pooling, or a pooling. It serves
            `edge_weight` and `edge_attr`, of one dimension or several. Where nodes are shared out, an edge counts
            by the product of its ends' shares.
        self_loops: `"drop"` or `"keep"`: the edges from a coarse node to itself, which hold what happened inside.
        normalise: Whether edge weights are divided by `sqrt(d_u d_v)`, the degrees at both ends. None does what the
            authors of the select do: yes for `min_cut`, `dmon` and `just_balance`.

    Raises:
        TypeError: `reduce` is no pooling, or edge features are integers and the pooling does not choose among them.
        ValueError: A setting is unknown.

    Source:
        Grattarola, Zambon, Bianchi, Alippi 2022, Understanding Pooling in Graph Neural Networks, section 3. Unlike
        PyG's `FilterEdges` it serves clusters of any kind; unlike its dense poolings it never builds nodes by nodes.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from polypool.graph import Coarsen
        >>> square = Data(x=torch.ones(4, 1), edge_index=torch.tensor([[0, 1, 2, 3], [2, 3, 0, 1]]))
        >>> square.edge_attr = torch.tensor([[1.0, 0.0], [3.0, 0.0], [5.0, 1.0], [7.0, 1.0]])
        >>> square.cluster = torch.tensor([0, 0, 1, 1])
        >>> coarse = Coarsen("given", connect="mean")(square)
        >>> coarse.edge_index, coarse.edge_attr
        (tensor([[0, 1],
                [1, 0]]), tensor([[2., 0.],
                [6., 1.]]))
    """

    def __init__(
        self, reduce: str | Pooling = "sum", self_loops: str = "drop", normalise: bool | None = None
    ) -> None:
        super().__init__()
        if isinstance(reduce, str):
            reduce = build(reduce)
        if not isinstance(reduce, Pooling):
            raise TypeError(
                f"reduce must be the name of a pooling or a Pooling; found {type(reduce).__name__}."
            )
        if self_loops not in SELF_LOOPS:
            raise ValueError(f"self_loops must be one of {', '.join(SELF_LOOPS)}; found {self_loops!r}.")
        if normalise is not None and not isinstance(normalise, bool):
            raise TypeError(f"normalise must be a bool or None; found {type(normalise).__name__}.")
        self.reduce = reduce
        self.self_loops = self_loops
        self.normalise = normalise

    def forward(
        self,
        graph: Graph,
        selection: Selection,
        of_edges: Mapping[str, Tensor],
        pools: Mapping[str, Pooling] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The coarse edges.

        Args:
            graph: The fine graph.
            selection: What a select made of it.
            of_edges: What there is one of per edge, by name; `edge_weight` among them.
            pools: Other poolings for some of these.

        Returns:
            `(2, E')` int64, and what there is one of per coarse edge, by name: `edge_weight` also where the fine graph
            has none but nodes are shared out among clusters.
        """
        clusters = selection.clusters
        values = dict(of_edges)
        if clusters.weighted:
            values.setdefault("edge_weight", graph.weight)
        if clusters.soft:
            edge_index, found = self._soft(graph, clusters, values, pools or {})
        elif clusters.disjoint and clusters.weight is None:
            edge_index, found = self._disjoint(graph, clusters, values, pools or {})
        else:
            edge_index, found = self._overlapping(graph, selection, values, pools or {})
        normalise = selection.normalise if self.normalise is None else self.normalise
        if normalise and "edge_weight" in found:
            found["edge_weight"] = _normalised(edge_index, found["edge_weight"], clusters.num_cells)
        return edge_index, found

    def _disjoint(
        self, graph: Graph, clusters: Clusters, values: Mapping[str, Tensor], pools: Mapping[str, Pooling]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Each node in one cluster or none: the edges between two clusters are a cell to pool."""
        one, other = clusters.assignment.take(graph.edge_index)
        kept = torch.minimum(one, other) >= 0
        if self.self_loops == "drop":
            kept &= one != other
        edge = kept.nonzero()[:, 0]
        one, other = one.index_select(0, edge), other.index_select(0, edge)
        pairs, numbers = _coalesced(one, other, clusters.num_cells)
        cell = numbers() if values else edge
        found = {}
        for key, rows in values.items():
            pool = pools.get(key, self.reduce)
            found[key] = pooled(pool, key, rows, lambda v: Clusters(v[edge], cell, pairs.shape[1]))
        return pairs, found

    def _overlapping(
        self, graph: Graph, selection: Selection, values: dict[str, Tensor], pools: Mapping[str, Pooling]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Nodes shared among clusters: an edge counts for all pairs of its ends' clusters, by the product of shares.

        There are many such pairs: they are listed a stretch of coarse nodes at a time, and once more for the gradient.
        """
        edge_index, real = graph.edge_index, graph.edge_index.shape[1]
        if selection.share_joins:
            # A node in two clusters joins them as an edge of weight 1 does, one that carries nothing else.
            lonely = torch.ones(graph.num_nodes, dtype=torch.bool, device=edge_index.device)
            lonely[edge_index[0, edge_index[0] == edge_index[1]]] = False
            loops = lonely.nonzero()[:, 0]
            edge_index = torch.cat([edge_index, loops.expand(2, -1)], dim=1)
            weight = values["edge_weight"]
            values["edge_weight"] = torch.cat([weight, weight.new_ones(loops.shape[0])])
        listing = Memberships(edge_index, selection.clusters, self.self_loops == "keep")

        kind = choice()  # what is listed once more must be computed by the same kernels

        @kernels(kind)
        def part(some: slice, share: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
            edge, one, other = listing.memberships(some)
            pairs, numbers = _coalesced(listing.cell[one], listing.cell[other], listing.clusters)
            cell = numbers()
            counted = share[one] * share[other]
            results = []
            for key, each in zip(values, rows, strict=True):

                def layout(v: Tensor) -> Layout:
                    weight = counted
                    if v.shape[0] < edge_index.shape[1]:
                        v = torch.cat([v, v.new_zeros((edge_index.shape[1] - real, v.shape[1]))])
                        weight = torch.where(edge < real, weight, torch.zeros_like(weight))
                    return Clusters(v, torch.stack([edge, cell]), pairs.shape[1], weight=weight)

                results.append(pooled(pools.get(key, self.reduce), key, each, layout))
            return pairs if listing.clusters > LARGEST_INT32 else pairs.int(), *results

        columns: list[list[Tensor]] = [[] for _ in range(1 + len(values))]
        for some in listing.stretches():
            found = checkpoint(
                part, some, listing.share, *values.values(), use_reentrant=False, preserve_rng_state=False
            )
            for column, piece in zip(columns, found, strict=True):
                column.append(piece)
        merged = {}
        for key, column in zip(values, columns[1:], strict=True):
            merged[key] = torch.cat(column)
            column.clear()  # there may be very many coarse edges: never all of them twice
        pairs = torch.cat(columns[0], dim=1)
        columns[0].clear()
        return pairs.long(), merged

    def _soft(
        self, graph: Graph, clusters: Clusters, values: dict[str, Tensor], pools: Mapping[str, Pooling]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """K clusters per graph: all their pairs, and matrix products for sums and means."""
        blocks = Blocks(graph, clusters)
        within = torch.arange(clusters.num_clusters, device=graph.x.device)
        one, other = within.repeat_interleave(within.shape[0]), within.repeat(within.shape[0])
        kept = (one != other) if self.self_loops == "drop" else torch.ones_like(one, dtype=torch.bool)
        first = torch.arange(graph.num_graphs, device=graph.x.device) * clusters.num_clusters
        pairs = torch.stack([one[kept], other[kept]])
        edge_index = (first[:, None] + pairs[:, None]).flatten(1)
        found = {}
        for key, rows in values.items():
            pool = pools.get(key, self.reduce)
            if pool.card.name in ("sum", "mean") and rows.is_floating_point():
                flat = rows if rows.dim() > 1 else rows[:, None]
                coarse = torch.stack([blocks.total(column) for column in flat.unbind(1)], dim=-1)
                if pool.card.name == "mean":
                    coarse = coarse / safe(blocks.mass)[..., None]
                coarse = coarse[:, kept].flatten(0, 1).to(rows.dtype)
                found[key] = coarse if rows.dim() > 1 else coarse[:, 0]
            else:
                coarse = pooled(pool, key, rows, blocks.layout)
                found[key] = coarse.unflatten(0, (graph.num_graphs, -1))[:, kept].flatten(0, 1)
        return edge_index, found


def pooled(pool: Pooling, key: str, rows: Tensor, layout: Callable[[Tensor], Layout]) -> Tensor:
    """Pools what there is one of per node or edge, of any number of dimensions and of any dtype that allows it.

    Args:
        pool: The pooling.
        key: What it is called, for errors.
        rows: `(N, ...)`.
        layout: The cells around given values `(N, c)`.

    Raises:
        TypeError: The rows are integers, and the pooling makes new numbers of them.
    """
    flat = rows.flatten(1) if rows.dim() > 1 else rows[:, None]
    if not rows.is_floating_point():
        if pool.card.name not in CHOOSING or rows.is_complex():
            raise TypeError(
                f"{key} must be floating for {pool.card.name}, which makes new numbers; found {rows.dtype}. "
                f"Convert it, pool it with one of {', '.join(CHOOSING)}, or leave it with carry={{{key!r}: None}}."
            )
        flat = flat.double()
    coarse = pool(layout(flat)).to(rows.dtype)
    if rows.dim() == 1 and coarse.shape[1] == 1:
        return coarse[:, 0]
    same = coarse.shape[1] == flat.shape[1]
    return coarse.unflatten(1, rows.shape[1:]) if rows.dim() > 2 and same else coarse


def _coalesced(one: Tensor, other: Tensor, num_clusters: int) -> tuple[Tensor, Callable[[], Tensor]]:
    """The pairs without duplicates, sorted, `(2, E')`; and what gives the number of each pair when asked."""
    key, order = ordered(one * num_clusters + other, (num_clusters * num_clusters).bit_length())
    new = torch.ones_like(key, dtype=torch.bool)
    torch.ne(key[1:], key[:-1], out=new[1:])
    first = order[new]

    def numbers() -> Tensor:
        return torch.empty_like(order).index_copy_(0, order, new.cumsum(0) - 1)

    return torch.stack([one.index_select(0, first), other.index_select(0, first)]), numbers


def _normalised(edge_index: Tensor, weight: Tensor, num_clusters: int) -> Tensor:
    """`w / sqrt(d_u d_v)`; 0 where a degree is."""
    zeros = weight.new_zeros(num_clusters)
    degree = zeros.index_add(0, edge_index[0], weight)
    scale = root(degree)
    return weight / safe(scale[edge_index[0]] * scale[edge_index[1]])
