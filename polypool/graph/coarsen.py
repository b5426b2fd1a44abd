"""Coarsening: Select who is merged, Reduce the nodes, Connect the edges, and Lift back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from polypool import _checks
from polypool.graph._data import Form, attributes_of, graph_of, restored
from polypool.graph.connect import Connect, pooled
from polypool.graph.lift import WAYS, lift, share_of
from polypool.graph.select import Graph, Select, build
from polypool.layouts import Clusters
from polypool.ops.dispatch import choice, kernels
from polypool.pooling import Pooling
from polypool.registry import build as build_pooling

#: Numbers, of nodes or of edges, below which plain torch pools faster than kernels start.
SMALL = 1 << 16


@dataclass(frozen=True)
class Coarse:
    """A coarse graph, and the way back to the graph that it came from.

    Attributes:
        x: `(K, C)`, the features of the K coarse nodes of all graphs, graph by graph.
        edge_index: `(2, E)` int64, sorted, without duplicates.
        edge_attr: `(E, D)` or `(E,)`, the features of the coarse edges; None when the graph had none.
        edge_weight: `(E,)`, how strong each coarse edge is. It is there when the graph had one, and when nodes are
            shared out among clusters (soft selects and `asap`), whose strength is what the coarse edges are.
        batch: `(K,)` int64, sorted: the graph of each coarse node.
        num_graphs: How many graphs there are, empty ones counted.
        clusters: The layout that was pooled: which node is in which coarse node, over the values of the fine graph.
        gate: `(K,)`, the score that multiplied each coarse node, or None.
        losses: What the select wants minimised besides the task, by name; numbers. Empty for most selects.
        extras: What else the data object carried, by name.
    """

    x: Tensor
    edge_index: Tensor
    edge_attr: Tensor | None
    edge_weight: Tensor | None
    batch: Tensor
    num_graphs: int
    clusters: Clusters
    gate: Tensor | None
    losses: Mapping[str, Tensor]
    extras: Mapping[str, Any]
    how: str
    share: float
    form: Form

    @property
    def num_nodes(self) -> int:
        """How many coarse nodes there are, K."""
        return self.x.shape[0]

    def lift(self, x: Tensor | None = None, how: str | None = None) -> Tensor:
        """Brings rows of the coarse nodes back to the nodes: `(K, c)` to `(N, c)`.

        Args:
            x: `(K, c)`; the features of the coarse nodes when None.
            how: `"transpose"`: a node gets the rows of its clusters, weighed by how much of it they hold.
                `"pseudo_inverse"`: the smallest rows that reduce to `x` again. As `Coarsen` was told when None.

        A node that was dropped gets 0. The gate is no part of either; divide by it first to undo it.

        Raises:
            ValueError: `x` has another number of rows, or `how` is unknown.
        """
        return lift(self.clusters, self.x if x is None else x, how or self.how, self.share)

    def with_x(self, x: Tensor) -> Coarse:
        """The same coarse graph with other features, `(K, c)`: what a network made of them."""
        if _checks.tensor(x, "x").shape[:1] != self.x.shape[:1]:
            raise ValueError(
                f"x must have one row for each of the {self.num_nodes} coarse nodes; found {_checks.shape(x)}. "
                "Pass what a network made of coarse.x."
            )
        return replace(self, x=x)

    def to_data(self) -> Any:
        """The coarse graph as a PyG `Batch` when it came from one, else as `Data`, with everything that it carries."""
        return restored(self)


class Coarsen(nn.Module):
    """Makes graphs smaller: Select, Reduce, Connect; the result knows how to Lift.

    Args:
        select: Who is merged: a name that `polypool.graph.select.names()` lists, or a `Select`.
        reduce: What becomes of the nodes of a cluster: the name of a pooling, or a pooling.
        connect: What becomes of the edges between two clusters: the name of a pooling, or a `Connect`.
        lift: `"transpose"` or `"pseudo_inverse"`, what `coarse.lift` does unless told otherwise.
        carry: How to bring other attributes of the data along, by name: the name of a pooling or a pooling for what
            there is one of per node or per edge, None to leave it behind. `pos` is averaged unless told otherwise.
        **settings: The settings of a select given by name.

    Args of `forward`:
        data: A PyG `Data` or `Batch`, or a `Coarse` to coarsen once more.
        x: `(N, C)`, features in place of those of the data.

    What belongs to a whole graph (`y`, names) is carried as it is. What there is one of per node or edge has to be
    named in `carry`, for nobody can guess what the average of two labels should be.

    Raises:
        TypeError: The data are no `Data`, `Batch` or `Coarse`; a setting is unknown; an attribute cannot be pooled.
        ValueError: A name is unknown, the data lack features or edges, an edge joins two graphs, or an attribute is
            neither carried nor left behind.

    Source:
        Grattarola, Zambon, Bianchi, Alippi 2022, Understanding Pooling in Graph Neural Networks (Select, Reduce,
        Connect); Lift as in Bianchi, Lachi 2023. Unlike PyG's pooling layers it carries or refuses everything that the
        data hold, and takes any pooling for nodes and for edges.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from polypool.graph import Coarsen
        >>> path = Data(
        ...     x=torch.tensor([[1.0], [2.0], [4.0], [8.0]]), edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]])
        ... )
        >>> coarse = Coarsen("given", key="cluster")(path.update({"cluster": torch.tensor([0, 0, 1, 1])}))
        >>> coarse.x, coarse.edge_index
        (tensor([[ 3.],
                [12.]]), tensor([[0],
                [1]]))
        >>> coarse.lift(how="pseudo_inverse")
        tensor([[1.5000],
                [1.5000],
                [6.0000],
                [6.0000]])
    """

    def __init__(
        self,
        select: str | Select,
        reduce: str | Pooling = "sum",
        connect: str | Connect = "sum",
        *,
        lift: str = "transpose",
        carry: Mapping[str, str | Pooling | None] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.select = _selected(select, settings)
        self.reduce = _pooling(reduce, "reduce")
        self.connect = connect if isinstance(connect, Connect) else Connect(connect)
        if lift not in WAYS:
            raise ValueError(f"lift must be one of {', '.join(WAYS)}; found {lift!r}.")
        self.lift = lift
        named = dict(carry or {})
        self.left_behind = frozenset(key for key, how in named.items() if how is None)
        self.expected = frozenset(named) - self.left_behind
        carried = {key: how for key, how in ({"pos": "mean"} | named).items() if how is not None}
        self.carried = tuple(carried)
        # A list, for an attribute may be called what a module calls something of its own.
        self.carry = nn.ModuleList(_pooling(how, f"carry[{key!r}]") for key, how in carried.items())

    def forward(self, data: Any, x: Tensor | None = None) -> Coarse:
        """The coarse graph of a graph, or of each graph of a batch."""
        if isinstance(data, Coarse):
            data = data.to_data()
        graph = graph_of(data, x)
        used = {key for key in self.select.reads if key in graph.attributes}
        missing = sorted(self.expected - set(data.keys()))
        if missing:
            raise ValueError(
                f"carry names {', '.join(missing)}, which the data do not hold. Leave it out, or set it on the data."
            )
        found = attributes_of(data, graph, self.carried, self.left_behind | used)
        selection = self.select(graph)
        clusters, gate = selection.clusters, selection.gate
        pools: dict[str, Pooling] = dict(zip(self.carried, self.carry, strict=True))  # type: ignore[arg-type]
        with _for_size(graph):
            rows = self.reduce(clusters)
            edge_index, of_edges = self.connect(graph, selection, found.of_edges, pools)
            extras = dict(found.of_graphs)
            for key, values in found.of_nodes.items():
                extras[key] = pooled(pools[key], key, values, clusters.with_values)
        if gate is not None:
            rows = rows * gate.to(rows.dtype)[:, None]
        edge_attr, edge_weight = of_edges.pop("edge_attr", None), of_edges.pop("edge_weight", None)
        return Coarse(
            x=rows,
            edge_index=edge_index,
            edge_attr=edge_attr,
            edge_weight=edge_weight,
            batch=clusters.batch,
            num_graphs=graph.num_graphs,
            clusters=clusters,
            gate=gate,
            losses=selection.losses,
            extras=extras | of_edges,
            how=self.lift,
            share=share_of(self.reduce),
            form=found.form,
        )

    def extra_repr(self) -> str:
        return f"lift={self.lift!r}"


def _for_size(graph: Graph) -> AbstractContextManager[None]:
    """Plain torch where a graph is so small that kernels take longer to start than torch to finish."""
    small = max(graph.x.numel(), graph.edge_index.numel()) < SMALL
    return kernels("reference") if small and choice() == "auto" else nullcontext()


def _selected(select: object, settings: Mapping[str, Any]) -> Select:
    if isinstance(select, str):
        return build(select, **settings)
    if not isinstance(select, Select):
        raise TypeError(f"select must be a name or a Select; found {type(select).__name__}.")
    if settings:
        raise TypeError(
            f"settings go with the name of a select; found {', '.join(settings)} beside a {type(select).__name__}. "
            "Give them to it."
        )
    return select


def _pooling(pool: object, what: str) -> Pooling:
    if isinstance(pool, str):
        return build_pooling(pool)
    if not isinstance(pool, Pooling):
        raise TypeError(f"{what} must be the name of a pooling or a Pooling; found {type(pool).__name__}.")
    return pool
