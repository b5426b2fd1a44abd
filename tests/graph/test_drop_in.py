"""A user's PyG model runs unchanged after replacing `aggr=` and `global_mean_pool`, and gives the same numbers."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import (
    GATv2Conv,
    GCNConv,
    GENConv,
    GINConv,
    PNAConv,
    SAGEConv,
    aggr,
    global_add_pool,
    global_max_pool,
    global_mean_pool,
)

from polypool.graph import Readout, aggregation, global_pool
from polypool.graph.compare import GraphSet, load
from tests.support import Tolerance, close

WIDTH = 8
DEGREES = torch.tensor([0, 5, 9, 12, 8, 4, 2])
#: Rounding grows with every step, so that float32 takes fewer of them.
EPOCHS = {torch.float64: 6, torch.float32: 2}
ALIKE = {torch.float64: Tolerance(1e-9, 1e-9), torch.float32: Tolerance(1e-3, 1e-4)}


@cache
def atlas() -> GraphSet:
    return load("atlas", limit=24)


def graphs(dtype: torch.dtype) -> list[Data]:
    """Graphs of networkx's atlas; the label is whether there is a 4-clique."""
    found = atlas()
    listed = []
    for k in range(len(found)):
        one = found.take(torch.tensor([k]), dtype)
        listed.append(Data(x=one.x, edge_index=one.edge_index, y=one.y))
    return listed


class Model(nn.Module):
    """What a user has: two layers and a readout, with whatever stands in their places."""

    def __init__(
        self, first: nn.Module, second: nn.Module, readout: Callable[..., Tensor], width: int
    ) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.readout = readout
        self.classify = nn.Linear(width, 2)

    def forward(self, data: Any) -> Tensor:
        x = self.first(data.x, data.edge_index).relu()
        x = self.second(x, data.edge_index).relu()
        return self.classify(self.readout(x, data.batch))


def mlp(a: int, b: int) -> nn.Module:
    return nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Linear(b, b))


Make = Callable[[int, bool], Model]


def gin(features: int, ours: bool) -> Model:
    how = aggregation("sum") if ours else "sum"
    convs = GINConv(mlp(features, WIDTH), aggr=how), GINConv(mlp(WIDTH, WIDTH), aggr=how)
    return Model(*convs, Readout("sum") if ours else aggr.SumAggregation(), WIDTH)


def gcn(features: int, ours: bool) -> Model:
    how = aggregation("sum") if ours else "add"
    convs = GCNConv(features, WIDTH, aggr=how), GCNConv(WIDTH, WIDTH, aggr=how)
    return Model(*convs, global_pool if ours else global_mean_pool, WIDTH)


def sage(features: int, ours: bool) -> Model:
    """The whole of PyG's list in one pass."""
    how: Any = aggregation("mean+max+min") if ours else ["mean", "max", "min"]
    convs = SAGEConv(features, WIDTH, aggr=how), SAGEConv(WIDTH, WIDTH, aggr=how)
    return Model(*convs, aggregation("max") if ours else global_max_pool, WIDTH)


def gat(features: int, ours: bool) -> Model:
    how = aggregation("sum") if ours else "add"
    convs = GATv2Conv(features, WIDTH // 2, heads=2, aggr=how), GATv2Conv(WIDTH, WIDTH, aggr=how)
    return Model(
        *convs, aggregation("mean+max") if ours else aggr.MultiAggregation(["mean", "max"]), 2 * WIDTH
    )


def gen(features: int, ours: bool) -> Model:
    how: Any = aggregation("softmax", t=0.5) if ours else aggr.SoftmaxAggregation(t=2.0)
    convs = (
        GENConv(features, WIDTH, aggr=how),
        GENConv(WIDTH, WIDTH, aggr=aggregation("max") if ours else "max"),
    )
    return Model(*convs, aggregation("softmax") if ours else aggr.SoftmaxAggregation(), WIDTH)


def pna(features: int, ours: bool) -> Model:
    parts = ["mean", "min", "max"]
    how: Any = [aggregation(part) for part in parts] if ours else parts
    scalers = ["identity", "amplification"]
    convs = PNAConv(features, WIDTH, how, scalers, DEGREES), PNAConv(WIDTH, WIDTH, how, scalers, DEGREES)
    return Model(*convs, aggregation("sum") if ours else global_add_pool, WIDTH)


MODELS: dict[str, Make] = {"GIN": gin, "GCN": gcn, "SAGE": sage, "GATv2": gat, "GEN": gen, "PNA": pna}


def trained(make: Make, ours: bool, dtype: torch.dtype, epochs: int) -> tuple[Model, list[float], Tensor]:
    """A model after some epochs, its loss at each step, and its logits."""
    listed = graphs(dtype)
    torch.manual_seed(0)
    model = make(listed[0].num_features, ours).to(dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    torch.manual_seed(1)
    losses = []
    for _ in range(epochs):
        for data in DataLoader(listed, batch_size=12, shuffle=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(data), data.y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    model.eval()
    whole = next(iter(DataLoader(listed, batch_size=len(listed))))
    with torch.no_grad():
        return model, losses, model(whole)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_same_training(name: str, dtype: torch.dtype) -> None:
    _, losses, logits = trained(MODELS[name], True, dtype, EPOCHS[dtype])
    _, wanted, their_logits = trained(MODELS[name], False, dtype, EPOCHS[dtype])
    assert len(losses) == 4 * EPOCHS[dtype]
    assert losses[0] != losses[-1]
    close(
        torch.tensor(losses, dtype=dtype),
        torch.tensor(wanted, dtype=dtype),
        "loss at each step",
        ALIKE[dtype],
    )
    close(logits, their_logits, "logits after training", ALIKE[dtype])


@pytest.mark.parametrize("name", ["GIN", "GCN", "SAGE", "GATv2", "PNA"])
def test_weights_go_both_ways(name: str) -> None:
    """What was trained with PyG's aggregations is loaded and gives the same, and back."""
    for ours in (True, False):
        model, _, logits = trained(MODELS[name], ours, torch.float64, 1)
        listed = graphs(torch.float64)
        other = MODELS[name](listed[0].num_features, not ours).double().eval()
        other.load_state_dict(model.state_dict())
        with torch.no_grad():
            close(other(next(iter(DataLoader(listed, batch_size=len(listed))))), logits, name)


def test_a_wrong_replacement_is_seen() -> None:
    def wrong(features: int, ours: bool) -> Model:
        model = gcn(features, ours)
        if ours:
            model.readout = aggregation("max")
        return model

    _, losses, _ = trained(wrong, True, torch.float64, 1)
    _, wanted, _ = trained(wrong, False, torch.float64, 1)
    with pytest.raises(AssertionError):
        close(torch.tensor(losses), torch.tensor(wanted), "loss", ALIKE[torch.float64])
