"""One graph as it waits for the network, and where such graphs come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from polypool.corpus.adapter import Mark, Row, Source, Unreadable

FEATURES = ("x", "degree", "ones")


@dataclass(frozen=True, slots=True)
class StoredGraph:
    """One graph.

    Attributes:
        x: Node features `(N, C)`, floating.
        edge_index: `(2, E)`, int64.
        more: Other tensors of the graph by name, one row per node or per edge.
    """

    x: Tensor
    edge_index: Tensor
    more: dict[str, Tensor] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Its bytes."""
        return sum(tensor.nbytes for tensor in (self.x, self.edge_index, *self.more.values()))


def as_graph(found: Mapping[str, Any], features: str) -> StoredGraph:
    """A graph from its tensors by name.

    Args:
        found: `x` `(N, C)` or `(N,)`, `edge_index` `(2, E)`, `num_nodes`, and others.
        features: `"x"`, `"degree"` (one number, how many edges begin at a node) or `"ones"`.

    Raises:
        ValueError: A tensor is missing, or does not fit.

    Example:
        >>> import torch
        >>> from polypool.corpus.stored_graphs import as_graph
        >>> path = {"num_nodes": 3, "edge_index": torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])}
        >>> as_graph(path, "degree").x.flatten()
        tensor([1., 2., 1.])
    """
    edges = found.get("edge_index")
    if edges is None:
        edges = torch.zeros(2, 0, dtype=torch.int64)
    if not isinstance(edges, Tensor) or edges.dim() != 2 or len(edges) != 2 or edges.is_floating_point():
        raise ValueError(f"edge_index must be integers (2, E); found {_form(edges)}")
    # A subclass such as EdgeIndex becomes a plain tensor.
    edges = edges.as_subclass(torch.Tensor).to(torch.int64)
    nodes = _nodes(found, features)
    if edges.numel() and (int(edges.min()) < 0 or int(edges.max()) >= nodes):
        raise ValueError(
            f"edge_index must be in [0, {nodes}); found {int(edges.min())} to {int(edges.max())}"
        )
    if features == "x":
        x = found["x"]
        x = x[:, None] if x.dim() == 1 else x
        x = x.as_subclass(torch.Tensor).float()
    elif features == "degree":
        x = torch.bincount(edges[0], minlength=nodes)[:, None].float()
    else:
        x = torch.ones(nodes, 1)
    known = ("x", "edge_index", "y", "batch", "ptr", "num_nodes")
    more = {
        str(key): value
        for key, value in found.items()
        if key not in known
        and isinstance(value, Tensor)
        and value.dim() > 0
        and "index" not in str(key)
        and len(value) in (nodes, edges.shape[1])
    }
    return StoredGraph(x, edges, more)


def _nodes(found: Mapping[str, Any], features: str) -> int:
    x = found.get("x")
    if x is not None:
        if not isinstance(x, Tensor) or x.dim() not in (1, 2) or x.is_complex() or x.layout != torch.strided:
            raise ValueError(f"x must be a dense real tensor (N, C); found {_form(x)}")
        return len(x)
    if features == "x":
        raise ValueError("no node features x; features='degree' or 'ones' makes some")
    nodes = found.get("num_nodes")
    if isinstance(nodes, bool) or not isinstance(nodes, int) or nodes < 0:
        raise ValueError(f"num_nodes must say how many nodes there are where there is no x; found {nodes!r}")
    return nodes


def _form(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} in {str(value.dtype).removeprefix('torch.')}"
    return type(value).__name__


class GraphSource(Source, ABC):
    """Graphs by number.

    Attributes:
        features: What the nodes have: `"x"`, `"degree"` or `"ones"`.
    """

    features: str

    @abstractmethod
    def found(self, mark: Mark, count: int) -> Iterator[Mapping[str, Any] | str]:
        """The tensors of graphs from one on, or why one cannot be read."""

    def read(self, mark: Mark, count: int) -> Iterator[Row | Unreadable]:
        number = mark[0]
        for place, found in enumerate(self.found(mark, count)):
            position = f"graph {number + place}"
            try:
                if isinstance(found, str):
                    raise ValueError(found)
                graph = as_graph(found, self.features)
            except ValueError as error:
                yield Unreadable(position, str(error))
            else:
                yield Row(graph, position, graph.size)
