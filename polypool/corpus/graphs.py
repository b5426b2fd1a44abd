"""Graphs, by an optional graph network and a pooling over the nodes of each."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from polypool import _checks
from polypool._errors import first_line
from polypool.corpus.adapter import Encoded, Row, Source, Tick
from polypool.corpus.errors import CorpusError
from polypool.corpus.graph_files import find_graphs
from polypool.corpus.networks import load_network
from polypool.corpus.pooled import PooledNetwork
from polypool.corpus.stored_graphs import FEATURES, StoredGraph
from polypool.layouts import Nodes


class GraphAdapter(PooledNetwork):
    """Graphs of files through a graph network, if there is one, whose node states are pooled.

    Files are what `torch.save` wrote (a list of dicts of tensors, or of PyG's `Data`), the folder of a PyG
    `InMemoryDataset`, and the TU collection, as a folder or in the text form published with GIN. Nothing in a file is
    run.

    Graphs go through the network together as one graph of several parts, as PyG does it. The network is called as
    `network(x, edge_index)`, and gets what else its `forward` names, where the graph has it: `edge_attr`,
    `edge_weight`, `pos`, ...; `batch` and `batch_size` as in PyG. Its result is a row for each node.

    The id of a graph is its number in the corpus. `tokens` counts nodes.

    Args:
        model: `module:callable`, which gives a `torch.nn.Module`; the features themselves are pooled when None.
        pool: The pooling, by name, or `module:callable` which gives a trained one.
        features: `"x"`, or what nodes get instead: `"degree"`, one number, or `"ones"`.
        batch_nodes: The most nodes that go through the network together, but always one graph.
        shapes: The shape and dtype of each tensor of a graph, less its first dimension. `sources` reads them from the
            first graph; graphs of other shapes go to the quarantine.

    Raises:
        ValueError: A setting is out of range.
    """

    packages = ("torch-geometric",)

    def __init__(
        self,
        model: str | None = None,
        pool: str | None = None,
        features: str = "x",
        batch_nodes: int = 16384,
        shapes: Mapping[str, Any] | None = None,
    ) -> None:
        if features not in FEATURES:
            raise ValueError(f"features must be one of {', '.join(FEATURES)}; found {features!r}")
        _checks.size(batch_nodes, "batch_nodes", 1)
        super().__init__(
            {
                "model": model,
                "pool": pool or "mean",
                "features": features,
                "batch_nodes": batch_nodes,
                "shapes": None if shapes is None else dict(shapes),
            }
        )
        self._edges, self._wants = False, frozenset[str]()

    def sources(self, inputs: Sequence[str]) -> list[Source]:
        found = find_graphs(inputs, self._settings["features"])
        self._settings["shapes"] = _shapes(found)
        return list(found)

    def load(self, device: str) -> None:
        name, shapes = self._settings["model"], self._settings["shapes"]
        if shapes is None:
            raise CorpusError("shapes must be known before the model is loaded; sources(inputs) reads them.")
        self._device = torch.device(device)
        self._network = None if name is None else load_network(name, device)
        if self._network is not None:
            self._edges, self._wants = _parameters(self._network)
        pair = torch.tensor([[0, 1], [1, 0]])
        blank = {
            key: torch.zeros(2, *form, dtype=getattr(torch, kind)) for key, (form, kind) in shapes.items()
        }
        example = StoredGraph(blank.pop("x"), pair, blank)
        try:
            with torch.inference_mode():
                states = self._states([example])
        except Exception as error:
            raise CorpusError(f"model {name} cannot read these graphs: {first_line(error)}.") from error
        self._fit(states.values.shape[1], "nodes", device)

    @torch.inference_mode()
    def encode(self, rows: Sequence[StoredGraph], tick: Tick) -> Encoded:
        pool = self.pooling
        vectors = np.zeros((len(rows), self._dimension), dtype=np.float32)
        tokens = np.array([len(row.x) for row in rows], dtype=np.int64)
        failed = {
            place: reason for place, row in enumerate(rows) if (reason := self._misfit(row)) is not None
        }
        for places in self._batches(rows, failed):
            pooled = pool(self._states([rows[place] for place in places]))
            vectors[places] = pooled.float().cpu().numpy()
            tick(len(places), int(tokens[places].sum()))
        return Encoded(vectors, tokens, np.zeros(len(rows), dtype=np.bool_), failed)

    def _misfit(self, graph: StoredGraph) -> str | None:
        """Why a graph does not fit to the others."""
        shapes = self._settings["shapes"]
        for key in ("x", *sorted(self._wants & graph.more.keys() & shapes.keys())):
            tensor = graph.x if key == "x" else graph.more[key]
            if list(tensor.shape[1:]) != list(shapes[key][0]):
                wanted = ", ".join(map(str, ("rows", *shapes[key][0])))
                return f"{key} must be ({wanted}), as in the first graph; found {tuple(tensor.shape)}"
        return None

    def _batches(self, rows: Sequence[StoredGraph], left_out: Mapping[int, str]) -> Iterator[list[int]]:
        """The places of graphs that go through the network together: neighbours that have the same tensors."""
        batch: list[int] = []
        nodes, kind = 0, frozenset[str]()
        for place, row in enumerate(rows):
            if place in left_out:
                continue
            own = self._wants & row.more.keys()
            if batch and (own != kind or nodes + len(row.x) > self._settings["batch_nodes"]):
                yield batch
                batch, nodes = [], 0
            batch.append(place)
            nodes, kind = nodes + len(row.x), own
        if batch:
            yield batch

    def _states(self, graphs: Sequence[StoredGraph]) -> Nodes:
        """The nodes of some graphs after the network."""
        sizes = [len(graph.x) for graph in graphs]
        x = torch.cat([graph.x for graph in graphs]).to(self._device)
        batch = torch.repeat_interleave(torch.tensor(sizes)).to(self._device)
        if self._network is not None:
            starts = np.cumsum([0, *sizes[:-1]]).tolist()
            edges = [graph.edge_index + start for graph, start in zip(graphs, starts, strict=True)]
            inputs = [x] if not self._edges else [x, torch.cat(edges, dim=1).to(self._device)]
            named: dict[str, Any] = {
                key: torch.cat([graph.more[key] for graph in graphs]).to(self._device)
                for key in sorted(self._wants & graphs[0].more.keys())
            }
            named |= {
                key: value
                for key, value in (("batch", batch), ("batch_size", len(graphs)))
                if key in self._wants
            }
            nodes = len(x)
            x = self._network(*inputs, **named)
            if not isinstance(x, Tensor) or x.dim() != 2 or len(x) != nodes or not x.is_floating_point():
                found = f"{tuple(x.shape)} in {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
                raise ValueError(
                    f"it must give a row for each of {nodes} nodes, (N, C) floating; found {found}"
                )
        return Nodes(x, batch, len(graphs))


def _parameters(network: nn.Module) -> tuple[bool, frozenset[str]]:
    """Whether a network takes edges, and what else it names."""
    listed = list(inspect.signature(network.forward).parameters.values())
    places = [each for each in listed if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    edges = len(places) > 1 or any(each.kind is each.VAR_POSITIONAL for each in listed)
    named = [
        each
        for each in (*places[2:], *listed)
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    ]
    return edges, frozenset(each.name for each in named if each not in places[:2])


def _shapes(sources: Sequence[Any]) -> dict[str, Any]:
    """The shapes of the first graph that can be read.

    Raises:
        CorpusError: There is none in any file.
    """
    reason = "they hold none"
    for source in sources:
        for mark in source.scan(lambda _: None):
            row = next(source.read(mark, 1))
            if isinstance(row, Row):
                graph: StoredGraph = row.content
                return {
                    key: [list(tensor.shape[1:]), str(tensor.dtype).removeprefix("torch.")]
                    for key, tensor in (("x", graph.x), *graph.more.items())
                }
            reason = f"{source.name}, {row.position}: {row.reason}"
    raise CorpusError(f"no graph can be read: {reason}.")
