"""What is compared: readouts and selects, each with PyG's own where it has one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch_geometric.nn import ASAPooling, EdgePooling

from polypool.graph.compare.models import GIN, Pooled

if TYPE_CHECKING:
    from polypool.graph.compare.protocol import Settings
    from polypool.graph.compare.sets import GraphSet

PYG = "PyG "
NONE = "no coarsening"
CONTROL = "random_sparse"

#: PyG's way to say what a readout of ours says, by our name; each takes the channels.
READOUTS: dict[str, Callable[[Any, int], nn.Module]] = {
    "sum": lambda aggr, _: aggr.SumAggregation(),
    "mean": lambda aggr, _: aggr.MeanAggregation(),
    "max": lambda aggr, _: aggr.MaxAggregation(),
    "min": lambda aggr, _: aggr.MinAggregation(),
    "var": lambda aggr, _: aggr.VarAggregation(),
    "std": lambda aggr, _: aggr.StdAggregation(),
    "median": lambda aggr, _: aggr.MedianAggregation(),
    "softmax": lambda aggr, _: aggr.SoftmaxAggregation(),
    "attention": lambda aggr, channels: aggr.AttentionalAggregation(nn.Linear(channels, 1)),
}
#: PyG's layers for a select of ours.
LAYERS: dict[str, Callable[[Any, int, float], nn.Module]] = {
    "top_k": lambda pyg, channels, ratio: pyg.TopKPooling(channels, ratio=ratio),
    "sag": lambda pyg, channels, ratio: pyg.SAGPooling(channels, ratio=ratio),
    "asap": lambda pyg, channels, ratio: pyg.ASAPooling(channels, ratio=ratio),
    "edge_contraction": lambda pyg, channels, _: pyg.EdgePooling(channels),
}


@dataclass(frozen=True)
class Entry:
    """One contestant.

    Attributes:
        name: What the table calls it.
        build: Makes its network for a set of graphs.
        rival: The name of the entry that it is compared with in pairs, or None.
        group: `"readout"` or `"select"`: what is shown together.
    """

    name: str
    build: Callable[[GraphSet, Settings], nn.Module]
    rival: str | None = None
    group: str = "readout"


def entries(readouts: Iterable[str] = (), selects: Iterable[str] = (), control: str = CONTROL) -> list[Entry]:
    """The contestants for some readouts and selects, with PyG's own beside those that it has.

    Args:
        readouts: Names of poolings, `"mean+max"` too.
        selects: Names that `polypool.graph.select.names()` lists.
        control: The select that all selects are compared with; it joins when there are selects. `""` for none.

    Raises:
        ValueError: A name is unknown.
    """
    from polypool.graph.aggregation import as_pooling

    found = []
    for name in dict.fromkeys(readouts):
        as_pooling(name, channels=8)  # an unknown name is better said before hours of training
        own = PYG + name if _pyg_readout(name) is not None else None
        found.append(Entry(name, _readout(name), own))
        if own is not None:
            found.append(Entry(own, _pyg(name)))
    chosen = list(dict.fromkeys(selects))
    if chosen:
        from polypool.graph import select

        known = select.names()
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise ValueError(f"no select is named {unknown[0]!r}. There are: {', '.join(known)}.")
        if control and control not in chosen:
            chosen.append(control)
        against = control or None
        found.append(Entry(NONE, _coarsened(lambda _: None), against, "select"))
        for name in chosen:
            rival = None if name == control else against
            found.append(Entry(name, _select(name), rival, "select"))
            if name in LAYERS:
                found.append(Entry(PYG + name, _layer(name), name, "select"))
    return found


def _readout(name: str) -> Callable[[GraphSet, Settings], nn.Module]:
    from polypool.graph.readout import Readout

    return _read_out(lambda width: Readout(name, channels=width))


def _pyg(name: str) -> Callable[[GraphSet, Settings], nn.Module]:
    def build(width: int) -> nn.Module:
        readout = _pyg_readout(name, width)
        if readout is None:
            raise ValueError(f"PyG has no readout for {name}.")
        return readout

    return _read_out(build)


def _pyg_readout(name: str, width: int = 8) -> nn.Module | None:
    import torch_geometric.nn.aggr as aggr

    parts = name.split("+")
    if any(part not in READOUTS for part in parts):
        return None
    made = [READOUTS[part](aggr, width) for part in parts]
    return made[0] if len(made) == 1 else aggr.MultiAggregation(made)


def _read_out(build: Callable[[int], nn.Module]) -> Callable[[GraphSet, Settings], nn.Module]:
    def network(data: GraphSet, settings: Settings) -> nn.Module:
        return GIN(data.features, data.classes, settings.hidden, settings.layers, settings.dropout, build)

    return network


def _coarsened(build: Callable[[int], nn.Module | None]) -> Callable[[GraphSet, Settings], nn.Module]:
    def network(data: GraphSet, settings: Settings) -> nn.Module:
        around = max(1, (settings.layers - 1) // 2)
        return Pooled(data.features, data.classes, settings.hidden, around, settings.dropout, build)

    return network


def _select(name: str) -> Callable[[GraphSet, Settings], nn.Module]:
    def network(data: GraphSet, settings: Settings) -> nn.Module:
        clusters = max(1, round(settings.ratio * len(data.x) / len(data)))
        return _coarsened(lambda width: Ours(name, width, settings.ratio, clusters))(data, settings)

    return network


def _layer(name: str) -> Callable[[GraphSet, Settings], nn.Module]:
    def network(data: GraphSet, settings: Settings) -> nn.Module:
        import torch_geometric.nn as pyg

        return _coarsened(lambda width: Theirs(LAYERS[name](pyg, width, settings.ratio)))(data, settings)

    return network


#: The nodes, the edges, their weights or None, the graph of each node, and a loss.
Made = tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]


class Ours(nn.Module):
    """A select of ours, told those of the settings that it has.

    Args:
        name: Its name.
        channels: The channels of a node.
        ratio: The share of the nodes that is kept.
        clusters: The clusters per graph, for selects that fix their number.
    """

    def __init__(self, name: str, channels: int, ratio: float, clusters: int) -> None:
        from polypool.graph import Coarsen, select

        super().__init__()
        offered: dict[str, Any] = {"channels": channels, "ratio": ratio, "num_clusters": clusters}
        settings = {key: value for key, value in offered.items() if key in select.settings(name)}
        self.coarsen = Coarsen(name, **settings)

    def forward(self, x: Tensor, batch: Any) -> Made:
        coarse = self.coarsen(batch, x)
        extra = sum(coarse.losses.values(), x.new_zeros(()))
        return coarse.x, coarse.edge_index, coarse.edge_weight, coarse.batch, extra


class Theirs(nn.Module):
    """A pooling layer of PyG.

    Args:
        layer: TopKPooling, SAGPooling, ASAPooling or EdgePooling.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, batch: Any) -> Made:
        found = self.layer(x, batch.edge_index, batch=batch.batch)
        x, edge_index, *others = found
        # EdgePooling has nothing of the edges; what ASAPooling has is their weight.
        graph = others[0] if isinstance(self.layer, EdgePooling) else others[1]
        weight = others[0] if isinstance(self.layer, ASAPooling) else None
        return x, edge_index, weight, graph, x.new_zeros(())
