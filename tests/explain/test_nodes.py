"""Contributions of nodes, for PyG-style models with a pooling as readout."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import polypool as pp
from polypool.explain import NotExplained, node_contributions
from tests.support import Tolerance, close, normal

CHANNELS = 6
SINGLE = Tolerance(1e-5, 1e-5)


class Messages(nn.Module):
    """Two rounds of messages, themselves poolings over neighbours, and a readout."""

    def __init__(self, readout: str = "mean", head: nn.Module | None = None, classes: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.mix = nn.Linear(3, CHANNELS), nn.Linear(CHANNELS, CHANNELS)
        self.aggregate = pp.build("sum")
        self.readout = pp.build(readout, channels=CHANNELS)
        self.head = head or nn.Linear(self.readout.out_channels(CHANNELS), classes)

    def states(self, x: Tensor, edge_index: Tensor) -> Tensor:
        h = self.embed(x)
        for _ in range(2):
            h = h + self.mix(self.aggregate(pp.Clusters(h, edge_index, len(h)))).relu()
        return h

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None) -> Tensor:
        return self.head(self.readout(pp.Nodes(self.states(x, edge_index), batch)))


class OfData(Messages):
    def forward(self, batch: Any) -> Tensor:  # type: ignore[override]
        return super().forward(batch.x, batch.edge_index, batch.batch)


class Jumping(Messages):
    """The readouts of two layers side by side, and a property of the graph beside them."""

    def __init__(self) -> None:
        super().__init__(head=nn.Linear(2 * CHANNELS + 1, 4))

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor, size: Tensor) -> Tensor:  # type: ignore[override]
        first = self.readout(x @ self.embed.weight.T, batch=batch)
        second = self.readout(self.states(x, edge_index), batch=batch)
        return self.head(torch.cat([first, second, size], 1))


def graphs(**more: Tensor) -> SimpleNamespace:
    edges = torch.tensor([[0, 1, 2, 3, 4, 5, 6], [1, 2, 0, 4, 3, 6, 5]])
    batch = torch.tensor([0, 0, 0, 2, 2, 1, 1])
    return SimpleNamespace(x=normal(7, 3, dtype=torch.float32), edge_index=edges, batch=batch, **more)


@pytest.mark.parametrize("readout", ["mean", "sum", "max", "std", "attention", "mean+max+std"])
@pytest.mark.parametrize("frozen", [False, True])
def test_nodes_add_up_to_the_logit(readout: str, frozen: bool) -> None:
    model, data = Messages(readout).train().requires_grad_(not frozen), graphs()
    found = node_contributions(model, data)
    logits = model(data.x, data.edge_index, data.batch).detach()
    assert torch.equal(found.target, logits.argmax(1))
    close(found.logit, logits.amax(1))
    close(found.bias, model.head.bias[found.target].detach(), tolerance=SINGLE)  # type: ignore[index]
    sums = torch.zeros(3).index_add(0, found.batch, found.values)
    close(sums, found.logit - found.bias, tolerance=SINGLE)
    assert found.error.abs().max() < 1e-5
    assert model.training
    assert all(p.grad is None and p.requires_grad != frozen for p in model.parameters())


def test_models_that_take_the_data() -> None:
    data = graphs()
    expected = node_contributions(Messages(), data, target=1)
    close(node_contributions(OfData(), data, target=1).values, expected.values)


def test_pyg_data() -> None:
    pyg = import_module("torch_geometric.data")
    data = graphs()
    expected = node_contributions(Messages(), data, target=1)
    whole = pyg.Data(x=data.x, edge_index=data.edge_index, batch=data.batch)
    for model in (Messages(), OfData(), OfData().requires_grad_(False)):
        close(node_contributions(model, whole, target=1).values, expected.values)
    assert whole.x is data.x
    assert not whole.x.requires_grad
    one = node_contributions(Messages(), pyg.Data(x=data.x[:3], edge_index=data.edge_index[:, :3]), target=1)
    close(one.values, expected.values[:3])


def test_readouts_of_several_layers_add_up() -> None:
    model: Any = Jumping()
    data = graphs(size=torch.tensor([[3.0], [2.0], [2.0]]))
    found = node_contributions(model, data, target=2)
    close(found.bias, model.head.bias[2].detach().expand(3), tolerance=SINGLE)
    close(found.outside, (data.size[:, 0] * model.head.weight[2, -1]).detach(), tolerance=SINGLE)
    sums = torch.zeros(3).index_add(0, found.batch, found.values)
    close(sums + found.outside + found.bias, found.logit, tolerance=SINGLE)


def test_one_logit_per_graph() -> None:
    class One(Messages):
        def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None) -> Tensor:
            return super().forward(x, edge_index, batch)[:, 0]

    found = node_contributions(One(classes=1), graphs())
    assert found.target.tolist() == [0, 0, 0]
    assert found.error.abs().max() < 1e-5


def test_heads_that_are_not_linear() -> None:
    head: Any = nn.Sequential(nn.Linear(CHANNELS, 5), nn.ReLU(), nn.Linear(5, 4))
    with pytest.raises(
        NotExplained, match="the head is not linear: relu stands between the pooling and the logits"
    ):
        node_contributions(Messages(head=head), graphs())
    found = node_contributions(Messages(head=head), graphs(), method="gradient")
    sums = torch.zeros(3).index_add(0, found.batch, found.values)
    close(sums + found.error, found.score, tolerance=SINGLE)
    close(found.bias, head[2].bias[found.target].detach())
    assert found.error.abs().max() > 1e-4


def test_other_readouts_are_refused() -> None:
    class ByHand(Messages):
        def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:  # type: ignore[override]
            h = self.states(x, edge_index)
            return self.head(h.new_zeros(3, CHANNELS).index_add(0, batch, h))

    for method in ("exact", "gradient"):
        with pytest.raises(NotExplained, match="the readout must be a polypool Pooling over the nodes"):
            node_contributions(ByHand(), graphs(), method=method)


def test_data_that_lacks_what_the_model_takes() -> None:
    with pytest.raises(
        ValueError, match="data must have edge_index, which the model's forward takes; found none"
    ):
        node_contributions(Messages(), SimpleNamespace(x=torch.ones(2, 3)))
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module; found int"):
        node_contributions(3, graphs())  # type: ignore[arg-type]
