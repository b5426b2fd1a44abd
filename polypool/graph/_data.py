"""From PyG's data objects to what a select sees, and from a coarse graph back to one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from polypool import _checks
from polypool.graph._graph import Graph

if TYPE_CHECKING:
    from polypool.graph.coarsen import Coarse

STRUCTURE = {"x", "edge_index", "edge_attr", "edge_weight", "batch", "ptr", "num_nodes"}


@dataclass(frozen=True)
class Form:
    """What kind of data object a graph came in.

    Attributes:
        kind: `"data"`, `"batched"` (`Data` with a batch vector) or `"batch"`.
        slices: For a `Batch`, where each graph begins in what belongs to whole graphs, by name.
        increments: For a `Batch`, what was added to those of each graph, by name.
        of_nodes: The names of what there is one of per node.
        of_edges: The names of what there is one of per edge.
    """

    kind: str
    slices: Mapping[str, Any]
    increments: Mapping[str, Any]
    of_nodes: frozenset[str] = frozenset()
    of_edges: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Found:
    """The attributes of a data object by what there is one of for each.

    Attributes:
        of_nodes: One row per node, to be pooled.
        of_edges: One row per edge, to be pooled; `edge_attr` and `edge_weight` among them.
        of_graphs: What is carried as it is.
        form: What kind of object it was.
    """

    of_nodes: dict[str, Tensor]
    of_edges: dict[str, Tensor]
    of_graphs: dict[str, Any]
    form: Form


def graph_of(data: Any, x: Tensor | None) -> Graph:
    """The checked parts of a data object that a select sees."""
    if not isinstance(data, Data):
        raise TypeError(
            f"data must be a torch_geometric Data or Batch, or a Coarse; found {type(data).__name__}. "
            "Make one with Data(x=x, edge_index=edge_index, batch=batch)."
        )
    values = getattr(data, "x", None) if x is None else x
    if values is None:
        raise ValueError("data must hold node features x; found none. Pass x=, one row per node.")
    values = _checks.values(values, "x", (2,), "(N, C)")
    edge_index = getattr(data, "edge_index", None)
    if edge_index is None:
        sparse = "adj_t" in data.keys()  # noqa: SIM118 - a Data object is no mapping
        raise ValueError(
            f"data must hold edge_index; found {'adj_t' if sparse else 'none'}. "
            "Coarsen before ToSparseTensor, or pass an empty edge_index (2, 0) for nodes without edges."
        )
    edge_index = _plain(_checks.tensor(edge_index, "edge_index"))
    if edge_index.dim() != 2 or edge_index.shape[0] != 2:
        raise ValueError(
            f"edge_index must have shape (2, E); found {_checks.shape(edge_index)}. Transpose it."
        )
    edge_index = _checks.index(edge_index, "edge_index", None, "(2, E)", values)
    nodes = values.shape[0]
    _checks.in_range(edge_index, "edge_index", 0, nodes, "the nodes", "Pass x with one row per node.")
    batch = getattr(data, "batch", None)
    num_graphs = 1
    if batch is not None:
        batch = _checks.index(batch, "batch", values.shape[:1], "(N,)", values)
        way_out = "Count graphs from 0."
        if isinstance(data, Batch) and hasattr(data, "_num_graphs"):
            num_graphs = data.num_graphs
            _checks.in_range(batch, "batch", 0, num_graphs, "num_graphs", way_out)
        else:
            num_graphs = max(_checks.numbered(batch, "batch", 0, "a graph's number", way_out), 1)
        ends = batch[edge_index]
        if _checks.may_read(batch) and bool((ends[0] != ends[1]).any()):
            raise ValueError(
                "edge_index must join nodes of the same graph; found an edge between two. "
                "Batch graphs with torch_geometric.data.Batch.from_data_list."
            )
    weight = getattr(data, "edge_weight", None)
    if weight is not None:
        weight = _checks.tensor(weight, "edge_weight")
        if weight.dim() == 2 and weight.shape[1] == 1:
            weight = weight[:, 0]
        weight = _checks.weight(weight, edge_index.shape[1:], "(E,)", values, "edge_weight")
    attributes = {key: data[key] for key in data.keys() if key not in STRUCTURE}  # noqa: SIM118
    return Graph(
        values,
        edge_index,
        weight,
        batch if num_graphs > 1 else None,
        num_graphs,
        attributes,
        batch is not None,
    )


def attributes_of(data: Any, graph: Graph, named: Collection[str], left_behind: Collection[str]) -> Found:
    """Everything else that a data object holds, sorted by what there is one of for each.

    Raises:
        ValueError: There is one of something per node or edge, or it holds numbers of nodes, and it is not named.
    """
    batched = isinstance(data, Batch) and hasattr(data, "_slice_dict")
    slices: Mapping[str, Any] = data._slice_dict if batched else {}
    increments: Mapping[str, Any] = data._inc_dict if batched else {}
    kind = "batch" if batched else "batched" if graph.batched else "data"
    of_nodes: dict[str, Tensor] = {}
    of_edges: dict[str, Tensor] = {}
    of_graphs: dict[str, Any] = {}
    edges = graph.edge_index.shape[1]
    for key in ("edge_attr", "edge_weight"):
        value = graph.edge_weight if key == "edge_weight" else getattr(data, key, None)
        if value is None or key in left_behind:
            continue
        value = _checks.tensor(value, key)
        if value.dim() < 1 or value.shape[0] != edges:
            raise ValueError(
                f"{key} must have one row for each of the {edges} edges; found {_checks.shape(value)}. "
                "It goes with edge_index, column by column."
            )
        of_edges[key] = value
    for key, value in graph.attributes.items():
        if key in left_behind:
            continue
        if "index" in key or key in ("face", "adj", "adj_t"):
            raise ValueError(
                f"{key} holds numbers of nodes, which coarsening changes. "
                f"Leave it behind with Coarsen(..., carry={{{key!r}: None}})."
            )
        rows = _length(value)
        if key not in named and (rows is None or rows == graph.num_graphs):
            of_graphs[key] = value
            continue
        level = _level(key, rows, graph.num_nodes, edges)
        if level is None:
            of_graphs[key] = value
        elif key in named and isinstance(value, Tensor):
            (of_nodes if level == "node" else of_edges)[key] = value
        else:
            raise ValueError(
                f"{key} has one entry per {level}, and Coarsen was not told what becomes of it. Say how to pool it, "
                f"Coarsen(..., carry={{{key!r}: 'max'}}), or leave it behind with {{{key!r}: None}}."
            )
    form = Form(kind, slices, increments, frozenset(of_nodes), frozenset(of_edges))
    return Found(of_nodes, of_edges, of_graphs, form)


def _length(value: object) -> int | None:
    if isinstance(value, Tensor):
        return value.shape[0] if value.dim() else None
    if isinstance(value, str | Mapping):
        return None
    return len(value) if hasattr(value, "__len__") else None


def _level(key: str, rows: int | None, nodes: int, edges: int) -> str | None:
    """Whether there is one row per node or per edge; where both would fit, the name decides."""
    if rows == edges and (rows != nodes or "edge" in key):
        return "edge"
    return "node" if rows == nodes else None


def _plain(edge_index: Tensor) -> Tensor:
    """Without the promises of PyG's `EdgeIndex`, which a coarse graph need not keep."""
    return edge_index.as_tensor() if hasattr(edge_index, "as_tensor") else edge_index


def restored(coarse: Coarse) -> Any:
    """The data object of a coarse graph: of the kind that it came from."""
    held: dict[str, Any] = {"x": coarse.x, "edge_index": coarse.edge_index}
    for key in ("edge_attr", "edge_weight"):
        value = getattr(coarse, key)
        if value is not None:
            held[key] = value
    held |= coarse.extras
    form = coarse.form
    if form.kind == "data":
        return Data(**held)
    if form.kind == "batched":
        return Data(**held, batch=coarse.batch)
    nodes = _starts(coarse.batch, coarse.num_graphs)
    edges = _starts(coarse.batch[coarse.edge_index[0]], coarse.num_graphs)
    batch = Batch(_base_cls=Data, **held, batch=coarse.batch, ptr=nodes)
    slices: dict[str, Any] = {}
    increments: dict[str, Any] = {}
    for key, value in held.items():
        if key == "x" or key in form.of_nodes:
            slices[key], increments[key] = nodes, None
        elif key in ("edge_index", "edge_weight") or key in form.of_edges:
            slices[key], increments[key] = edges, nodes[:-1] if key == "edge_index" else None
        elif key in form.slices:
            slices[key], increments[key] = form.slices[key], form.increments[key]
        elif _length(value) == coarse.num_graphs:
            slices[key], increments[key] = torch.arange(coarse.num_graphs + 1), None
    batch._num_graphs = coarse.num_graphs
    batch._slice_dict, batch._inc_dict = slices, increments
    return batch


def _starts(graph: Tensor, num_graphs: int) -> Tensor:
    counts = torch.bincount(graph, minlength=num_graphs)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
