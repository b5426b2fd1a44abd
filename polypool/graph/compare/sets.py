"""Labelled graphs in a few flat tensors, from the files that people have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.data import Batch

ATLAS = "atlas"
#: Degrees beyond this share one feature, where nodes have none of their own.
LARGEST_DEGREE = 64


@dataclass(frozen=True)
class GraphSet:
    """Labelled graphs, one after the other.

    Attributes:
        name: What to call it.
        x: `(N, F)` float32, the features of all nodes.
        edge_index: `(2, E)` int64, both directions, with nodes counted through the whole set, graph by graph.
        nodes: `(G + 1,)` int64, where the nodes of each graph begin.
        edges: `(G + 1,)` int64, where the edges of each graph begin.
        y: `(G,)` int64, the class of each graph.
    """

    name: str
    x: Tensor
    edge_index: Tensor
    nodes: Tensor
    edges: Tensor
    y: Tensor

    def __len__(self) -> int:
        return self.y.shape[0]

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return int(self.y.max()) + 1

    @property
    def features(self) -> int:
        """The channels of a node."""
        return self.x.shape[1]

    def take(self, graphs: Tensor, dtype: torch.dtype = torch.float32) -> Batch:
        """A PyG batch of some graphs, `(b,)` int64, in this order: a few gathers and no loop."""
        ptr, rows = _listed(self.nodes, graphs)
        counts = ptr.diff()
        edge_ptr, columns = _listed(self.edges, graphs)
        shift = torch.repeat_interleave(ptr[:-1] - self.nodes[graphs], edge_ptr.diff())
        return Batch(
            x=self.x[rows].to(dtype),
            edge_index=self.edge_index[:, columns] + shift,
            batch=torch.repeat_interleave(counts),
            ptr=ptr,
            y=self.y[graphs],
        )

    def some(self, graphs: Tensor) -> GraphSet:
        """A set of some of the graphs."""
        batch = self.take(graphs)
        lengths = self.edges.diff()[graphs]
        return GraphSet(self.name, batch.x, batch.edge_index, batch.ptr, _ends(lengths), batch.y)


def _listed(starts: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Where each chosen stretch begins when they are put one after the other, and the places that they hold."""
    lengths = starts.diff()[chosen]
    ends = _ends(lengths)
    shift = torch.repeat_interleave(starts[chosen] - ends[:-1], lengths)
    return ends, torch.arange(int(ends[-1])) + shift


def _ends(lengths: Tensor) -> Tensor:
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def load(path: str | Path, limit: int | None = None) -> GraphSet:
    """Reads a set of graphs.

    Args:
        path: One of four forms.
            `"atlas"`: all 1,252 graphs of up to seven nodes (networkx), labelled by whether four of their nodes are all
            joined to each other; it needs no file.
            A folder with `NAME_A.txt`, `NAME_graph_indicator.txt`, ..., or one whose `raw` holds them: a TU data set as
            PyG's `TUDataset` leaves it. Nodes have their attributes and their labels.
            A `.txt` file: the text form of the GIN paper, where nodes have tags.
            A `.npz` file with `{split}_x`, `{split}_ptr`, `{split}_edge_index` and `{split}_y`: the splits are put
            together.
        limit: Take only the first so many graphs of each class, for a quick look.

    Where nodes have nothing, their degree is their feature.

    Raises:
        FileNotFoundError: Nothing is there, or the folder holds no TU data set.
        ValueError: The file has another form.
    """
    found = _read(path)
    if limit is None:
        return found
    kept = [(found.y == c).nonzero()[:limit, 0] for c in range(found.classes)]
    return found.some(torch.cat(kept).sort().values)


def _read(path: str | Path) -> GraphSet:
    if str(path) == ATLAS:
        return atlas()
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"no graphs at {place}: pass a folder, a .txt or a .npz file, or {ATLAS!r}.")
    if place.is_dir():
        return _tu(place)
    if place.suffix == ".npz":
        return _npz(place)
    return _text(place)


def atlas() -> GraphSet:
    """The graphs of networkx's atlas, labelled by whether they contain a 4-clique."""
    try:
        from polypool.demo import graphs as demo
    except ImportError as error:
        raise ImportError(f"the atlas needs networkx ({error}). pip install polypool[demo].") from error

    found = demo.atlas()
    edges, degrees, labels = [], [], []
    for graph in found:
        place = {node: i for i, node in enumerate(graph)}
        edges.append(
            [(place[a], place[b]) for a, b in graph.edges] + [(place[b], place[a]) for a, b in graph.edges]
        )
        degrees.append([graph.degree[node] for node in graph])
        labels.append(int(demo.has_four_clique(graph)))
    tags = [torch.tensor(one) for one in degrees]
    return _packed("atlas: contains a 4-clique", tags, edges, labels)


def _text(path: Path) -> GraphSet:
    lines = iter(path.read_text(encoding="ascii").splitlines())
    try:
        graphs = int(next(lines))
        tags, edges, labels = [], [], []
        for _ in range(graphs):
            size, label = (int(word) for word in next(lines).split())
            own, ends = [], []
            for node in range(size):
                words = next(lines).split()
                own.append(int(words[0]))
                ends += [
                    (node, int(other)) for other in words[2 : 2 + int(words[1])]
                ]  # attributes may follow
            tags.append(torch.tensor(own, dtype=torch.int64))
            edges.append(ends)
            labels.append(label)
    except (StopIteration, ValueError, IndexError) as error:
        raise ValueError(
            f"{path} is not in the text form: the number of graphs, then for each a line 'n label' and n lines "
            f"'tag degree neighbour...'. Stopped by: {str(error) or 'the end of the file'}."
        ) from error
    return _packed(path.stem, tags, edges, labels)


def _packed(
    name: str, tags: Sequence[Tensor], edges: Sequence[Sequence[tuple[int, int]]], labels: Sequence[int]
) -> GraphSet:
    """From the tag of each node and the edges of each graph, counted in it."""
    nodes = _ends(torch.tensor([len(one) for one in tags]))
    # By the node that they arrive at, so that a neighbourhood is a stretch.
    ends = [
        torch.tensor(sorted(one, key=lambda pair: pair[1]), dtype=torch.int64).reshape(-1, 2) + start
        for one, start in zip(edges, nodes.tolist()[:-1], strict=True)
    ]
    _, tag = torch.cat(list(tags)).unique(return_inverse=True)
    _, y = torch.tensor(labels).unique(return_inverse=True)
    lengths = torch.tensor([one.shape[0] for one in ends])
    return GraphSet(name, F.one_hot(tag).float(), torch.cat(ends).t().contiguous(), nodes, _ends(lengths), y)


def _tu(folder: Path) -> GraphSet:
    from torch_geometric.io import read_tu_data

    for place in (folder, folder / "raw"):
        found = sorted(place.glob("*_A.txt"))
        if found:
            break
    else:
        raise FileNotFoundError(
            f"{folder} holds no NAME_A.txt, nor does its folder raw: it is no TU data set."
        )
    name = found[0].name.removesuffix("_A.txt")
    data, slices, _ = read_tu_data(str(found[0].parent), name)
    if data.y is None:
        raise ValueError(f"{name} has no graph labels: only classification is compared.")
    edges, x = slices["edge_index"], data.x
    nodes = slices["x"] if x is not None else _ends(torch.tensor(data._num_nodes))
    graph = torch.repeat_interleave(edges.diff())
    edge_index = data.edge_index + nodes[graph]
    if x is None:
        degree = torch.bincount(edge_index[1], minlength=int(nodes[-1])).clamp(max=LARGEST_DEGREE)
        x = F.one_hot(degree)
    return GraphSet(name, x.float(), edge_index, nodes, edges, data.y)


def _npz(path: Path) -> GraphSet:
    held: dict[str, Any] = dict(np.load(path))
    splits = [key.removesuffix("_ptr") for key in held if key.endswith("_ptr")]
    missing = [
        f"{split}_{part}"
        for split in splits
        for part in ("x", "edge_index", "y")
        if f"{split}_{part}" not in held
    ]
    if not splits or missing:
        raise ValueError(
            f"{path} must hold x, ptr, edge_index and y for each split; found {', '.join(held) or 'nothing'}."
        )
    x, y, nodes, edges, lengths, start = [], [], [torch.zeros(1, dtype=torch.int64)], [], [], 0
    for split in splits:
        one = {part: torch.from_numpy(held[f"{split}_{part}"]) for part in ("x", "ptr", "edge_index", "y")}
        ptr, ends = one["ptr"].long(), one["edge_index"].long()
        graph = torch.bucketize(ends[0], ptr[1:], right=True)
        order = graph.argsort(stable=True)
        x.append(one["x"].float())
        y.append(one["y"].long())
        nodes.append(ptr[1:] + start)
        edges.append(ends[:, order] + start)
        lengths.append(torch.bincount(graph, minlength=ptr.shape[0] - 1))
        start += int(ptr[-1])
    return GraphSet(
        path.stem,
        torch.cat(x),
        torch.cat(edges, dim=1),
        torch.cat(nodes),
        _ends(torch.cat(lengths)),
        torch.cat(y),
    )
