"""Coarsen: what it takes, what it carries, and what can be done with what it gives."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch
from torch import nn
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.nn import GCNConv, GINConv

import polypool as pp
from polypool.graph import select
from polypool.graph.coarsen import Coarsen
from polypool.graph.connect import Connect
from tests.graph.graphs import NAMES, batch_of, coarsener, graph, several
from tests.support import close, normal

every_select = pytest.mark.parametrize("name", NAMES)


@every_select
def test_coarse_graphs_are_coarsened_again_and_passed_on(name: str) -> None:
    data = batch_of(several())
    conv = GCNConv(4, 4)
    first = coarsener(name)(data)
    hidden = conv(first.x, first.edge_index, first.edge_weight).relu()
    if name == "given":
        first = coarsener("given").forward(data)
        again = Coarsen("graclus")(first.with_x(hidden))
    else:
        again = coarsener(name, seed=1)(first.with_x(hidden))
    assert again.num_graphs == data.num_graphs
    conv(again.x, again.edge_index, again.edge_weight).sum().backward()
    lifted = first.lift(again.lift())
    assert lifted.shape == data.x.shape
    assert again.to_data().num_graphs == 5


@every_select
def test_gradients_reach_the_scores_and_the_features(name: str) -> None:
    data = batch_of(several(torch.float64))
    data.x.requires_grad_()
    coarsen = coarsener(name, dtype=torch.float64)
    coarse = coarsen(data)
    total = coarse.x.square().sum() + sum(coarse.losses.values())
    if coarse.edge_weight is not None:
        total = total + coarse.edge_weight.square().sum()
    total.backward()
    assert bool(data.x.grad.abs().sum() > 0)
    for key, parameter in coarsen.named_parameters():
        assert parameter.grad is not None, key
        assert bool(parameter.grad.isfinite().all()), key
        # A bias of all scores alike moves no softmax.
        if not key.endswith(("of_query.bias", "linear.bias")):
            assert bool(parameter.grad.abs().sum() > 0), key


def test_the_score_of_centres_learns() -> None:
    coarsen = Coarsen("k_mis", order="score", channels=4, carry={"cluster": None})
    coarsen(graph(12, 20)).x.square().sum().backward()
    for parameter in coarsen.parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad.abs().sum() > 0)


@every_select
@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "std", "logsumexp", "mean+max"])
def test_reduce_is_any_pooling(name: str, reduce: str) -> None:
    data = batch_of(several())
    coarse = coarsener(name, reduce=reduce)(data)
    expected = pp.build(reduce)(coarse.clusters)
    close(coarse.x, expected if coarse.gate is None else expected * coarse.gate[:, None])


def test_a_learned_reduce() -> None:
    attention = pp.build("attention", channels=4)
    coarse = coarsener("graclus", reduce=attention)(graph(12, 20))
    coarse.x.sum().backward()
    assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in attention.parameters())


def test_order_statistics_refuse_shares() -> None:
    assert coarsener("graclus", reduce="median")(graph(12, 20)).num_nodes
    with pytest.raises(NotImplementedError, match="median"):
        coarsener("min_cut", reduce="median")(graph(12, 20))


def everything(nodes: int, edges: int, seed: int) -> Data:
    data = graph(nodes, edges, seed, y=torch.tensor([seed]), name=f"graph {seed}", score=0.5)
    data.pos = normal(nodes, 2, seed=seed).float()
    data.train_mask = torch.arange(nodes) % 2 == 0
    data.edge_attr = normal(data.num_edges, 3, seed=seed).float()
    data.edge_kind = torch.arange(data.num_edges) % 4
    data.table = normal(1, 2, 5, seed=seed).float()
    return data


CARRY: dict[str, Any] = {"train_mask": "max", "edge_kind": "first", "cluster": None}


def test_everything_that_data_hold_is_carried() -> None:
    graphs = [everything(9, 20, 0), everything(5, 8, 1), everything(14, 40, 2)]
    coarsen = Coarsen("k_mis", carry=CARRY)
    together = coarsen(batch_of(graphs))
    assert set(together.extras) == {"y", "name", "score", "pos", "train_mask", "edge_kind", "table"}
    back = together.to_data()
    assert isinstance(back, Batch)
    assert back.num_graphs == 3
    for one, other in zip(graphs, back.to_data_list(), strict=True):
        alone = coarsen(one).to_data()
        assert set(alone.keys()) == set(other.keys())
        for key in alone.keys():  # noqa: SIM118
            if isinstance(alone[key], torch.Tensor):
                assert alone[key].dtype == other[key].dtype, key
                close(alone[key].double(), other[key].double(), key)
            else:
                assert alone[key] == other[key]
        assert other.pos.shape == (other.num_nodes, 2)
        assert other.edge_kind.shape == (other.num_edges,)
        assert other.train_mask.dtype == torch.bool
        assert other.validate()


@pytest.mark.parametrize("key", ["train_mask", "edge_kind"])
def test_what_cannot_be_guessed_is_refused(key: str) -> None:
    carry = {k: v for k, v in CARRY.items() if k != key}
    level = "edge" if key == "edge_kind" else "node"
    with pytest.raises(ValueError, match=f"{key} has one entry per {level}, and Coarsen was not told"):
        Coarsen("graclus", carry=carry)(everything(9, 20, 0))
    assert key not in Coarsen("graclus", carry=carry | {key: None})(everything(9, 20, 0)).extras


def test_numbers_of_nodes_are_refused() -> None:
    data = graph(6, 8, face=torch.tensor([[0], [1], [2]]))
    with pytest.raises(ValueError, match="face holds numbers of nodes, which coarsening changes"):
        coarsener("graclus")(data)
    made = Coarsen("graclus", carry={"face": None, "cluster": None})
    assert not made(data).extras


def test_labels_are_not_averaged() -> None:
    data = graph(6, 8)
    data.label = torch.arange(6)
    with pytest.raises(TypeError, match="label must be floating for mean"):
        Coarsen("graclus", carry={"label": "mean", "cluster": None})(data)


def test_names_that_the_data_do_not_hold() -> None:
    with pytest.raises(ValueError, match="carry names lable, which the data do not hold"):
        Coarsen("graclus", carry={"lable": "max", "cluster": None})(graph(6, 8))


def test_data_stay_as_they_were() -> None:
    data = batch_of([everything(9, 20, 0), everything(5, 8, 1)])
    before = {key: data[key] for key in data.keys()}  # noqa: SIM118
    Coarsen("k_mis", carry=CARRY)(data, data.x * 2)
    assert {key: data[key] for key in data.keys()} == before or all(  # noqa: SIM118
        data[key] is value for key, value in before.items()
    )


def test_the_form_stays() -> None:
    data = graph(9, 20)
    assert type(coarsener("graclus")(data).to_data()) is Data
    held = Data(x=data.x, edge_index=data.edge_index, batch=torch.tensor([0] * 9))
    assert coarsener("graclus")(held).to_data().batch is not None


@every_select
def test_features_in_place_of_those_of_the_data(name: str) -> None:
    data = batch_of(several())
    h = normal(data.num_nodes, 4, seed=9).float()
    coarsen = coarsener(name)
    other = data.clone()
    other.x = h
    close(coarsen(data, h).x, coarsen(other).x)


@every_select
def test_nothing_at_all(name: str) -> None:
    coarse = coarsener(name)(graph(0, 0))
    assert coarse.edge_index.shape[0] == 2
    assert bool((coarse.x == 0).all())
    assert coarse.lift().shape == (0, 4)
    assert coarse.lift(how="pseudo_inverse").shape == (0, 4)


@every_select
def test_modules_move_to_other_dtypes(name: str) -> None:
    coarsen = coarsener(name)
    data = batch_of(several(torch.float64))
    assert coarsen.to(torch.float64)(data).x.dtype == torch.float64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_select
def test_on_a_gpu(name: str) -> None:
    data = batch_of(several(torch.float64))
    coarsen = coarsener(name, dtype=torch.float64)
    expected = coarsen(data)
    found = coarsen.cuda()(data.clone().cuda())
    close(found.x.cpu(), expected.x)
    assert torch.equal(found.edge_index.cpu(), expected.edge_index)
    for how in ("transpose", "pseudo_inverse"):
        close(found.lift(how=how).cpu(), expected.lift(how=how))


def test_the_result_is_frozen() -> None:
    coarse = coarsener("graclus")(graph(6, 8))
    with pytest.raises(FrozenInstanceError):
        coarse.x = torch.zeros(1)


def test_a_network_learns() -> None:
    """Whether a graph is a ring or a star, from a select that starts at random."""
    torch.manual_seed(0)
    ring = Data(x=torch.ones(8, 4), edge_index=torch.stack([torch.arange(8), (torch.arange(8) + 1) % 8]))
    star = Data(
        x=torch.ones(8, 4), edge_index=torch.stack([torch.arange(1, 8), torch.zeros(7, dtype=torch.int64)])
    )
    data = Batch.from_data_list([ring, star] * 4)
    labels = torch.tensor([0.0, 1.0] * 4)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = GINConv(nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16)))
            self.coarsen = Coarsen("top_k", channels=16)
            self.out = nn.Linear(16, 1)

        def forward(self, data: Batch) -> torch.Tensor:
            coarse = self.coarsen(data, self.conv(data.x, data.edge_index).relu())
            return self.out(pp.build("mean")(pp.Nodes(coarse.x, coarse.batch, coarse.num_graphs)))[:, 0]

    net = Net()
    optimiser = torch.optim.Adam(net.parameters(), 0.05)
    for _ in range(60):
        optimiser.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(net(data), labels)
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_nan_in_the_features(name: str) -> None:
    """Refused where shares rest on it; elsewhere it stays in its own graph."""
    data = batch_of(several())
    data.x[0, 0] = float("nan")
    coarsen = coarsener(name)
    if name in ("asap", "diff", "min_cut", "dmon", "just_balance"):
        with pytest.raises(ValueError, match=f"x must be finite where {name} shares nodes out"):
            coarsen(data)
    else:
        coarse = coarsen(data)
        assert bool(coarse.x[coarse.batch > 0].isfinite().all())


def test_bad_input() -> None:
    coarsen = coarsener("graclus")
    data = graph(4, 6)
    with pytest.raises(
        TypeError, match="data must be a torch_geometric Data or Batch, or a Coarse; found Tensor"
    ):
        coarsen(data.x)
    with pytest.raises(TypeError, match="found HeteroData"):
        coarsen(HeteroData())
    with pytest.raises(ValueError, match="data must hold node features x; found none"):
        coarsen(Data(edge_index=data.edge_index))
    with pytest.raises(ValueError, match="data must hold edge_index; found none"):
        coarsen(Data(x=data.x))
    with pytest.raises(ValueError, match=r"edge_index must be in \[0, 4\)"):
        coarsen(Data(x=data.x, edge_index=torch.tensor([[0], [4]])))
    with pytest.raises(ValueError, match="edge_index must join nodes of the same graph"):
        coarsen(Data(x=data.x, edge_index=torch.tensor([[0], [3]]), batch=torch.tensor([0, 0, 1, 1])))
    with pytest.raises(ValueError, match="edge_attr must have one row for each of the"):
        coarsen(Data(x=data.x, edge_index=data.edge_index, edge_attr=torch.ones(1, 2)))
    with pytest.raises(ValueError, match="edge_weight must be finite and >= 0"):
        coarsen(Data(x=data.x, edge_index=data.edge_index, edge_weight=-torch.ones(data.num_edges)))
    with pytest.raises(ValueError, match="data must hold cluster, the cluster of each node"):
        Coarsen("given")(Data(x=data.x, edge_index=data.edge_index))
    with pytest.raises(ValueError, match="lift must be one of transpose, pseudo_inverse"):
        Coarsen("graclus", lift="inverse")
    with pytest.raises(TypeError, match="select must be a name or a Select; found int"):
        Coarsen(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="settings go with the name of a select; found ratio beside a TopK"):
        Coarsen(select.build("top_k", channels=4), ratio=0.3)
    with pytest.raises(TypeError, match="graclus has no setting 'ratio'"):
        Coarsen("graclus", ratio=0.3)
    with pytest.raises(TypeError, match="reduce must be the name of a pooling or a Pooling"):
        Coarsen("graclus", reduce=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="x must have one row for each of the"):
        coarsen(data).with_x(torch.ones(77, 2))
    assert Coarsen("graclus", connect=Connect("mean")).connect.reduce.card.name == "mean"
