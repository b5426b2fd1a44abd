"""The sparse losses are the dense ones, and finite where those are not."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import DMoNPooling, dense_diff_pool, dense_mincut_pool

from polypool.graph import losses
from tests.graph.graphs import SOFT, adjacency, batch_of, coarsener, graph, several, weighted
from tests.support import close, normal

Loss = Callable[..., dict[str, Tensor]]
BY_EDGES: dict[str, Loss] = {"min_cut": losses.min_cut, "dmon": losses.dmon, "diff": losses.diff}
every_loss = pytest.mark.parametrize("loss", BY_EDGES.values(), ids=BY_EDGES)


def shares(nodes: int, clusters: int = 3, seed: int = 0) -> Tensor:
    return normal(nodes, clusters, seed=seed).mul(2).softmax(1)


def test_against_the_dense_forms_of_the_peer() -> None:
    """The same numbers as PyG's dense functions, for one graph with weights."""
    data = weighted(graph(12, 40, dtype=torch.float64))
    logits = normal(12, 3)
    s, a = logits.softmax(1), adjacency(data)
    _, _, cut, orthogonality = dense_mincut_pool(data.x, a, logits)
    found = losses.min_cut(s, data.edge_index, data.edge_weight)
    close(found["cut"][0], cut)
    close(found["orthogonality"][0], orthogonality)
    _, _, link, entropy = dense_diff_pool(data.x, a, logits)
    found = losses.diff(s, data.edge_index, data.edge_weight)
    close(found["link"][0], link)
    close(found["entropy"][0], entropy)
    peer = DMoNPooling(4, 3).double()
    assignment, _, _, spectral, _, cluster = peer(data.x, a)
    found = losses.dmon(assignment[0], data.edge_index, data.edge_weight)
    close(found["modularity"][0], spectral)
    close(found["collapse"][0], cluster)


def test_just_balance_by_its_definition() -> None:
    s = shares(10)
    expected = -sum(math.sqrt(float((s[:, k] ** 2).sum())) for k in range(3)) / math.sqrt(30)
    close(losses.just_balance(s)["balance"][0], torch.tensor(expected, dtype=torch.float64))
    even = torch.eye(3).repeat(4, 1)
    close(losses.just_balance(even)["balance"][0], torch.tensor(-1.0))


@every_loss
def test_gradients(loss: Loss) -> None:
    data = weighted(graph(6, 12, dtype=torch.float64))

    def total(logits: Tensor, weight: Tensor) -> Tensor:
        return torch.stack(list(loss(logits.softmax(1), data.edge_index, weight).values())).sum()

    inputs = (normal(6, 3).requires_grad_(), data.edge_weight.requires_grad_())
    assert torch.autograd.gradcheck(total, inputs)


@every_loss
def test_each_graph_on_its_own(loss: Loss) -> None:
    graphs = several(torch.float64)
    batch = batch_of(graphs)
    s = shares(batch.num_nodes)
    found = loss(s, batch.edge_index, batch=batch.batch, num_graphs=batch.num_graphs)
    for g, one in enumerate(graphs):
        alone = loss(s[batch.batch == g], one.edge_index)
        for name, value in alone.items():
            close(found[name][g], value[0])


@every_loss
def test_one_large_graph_among_small_ones(loss: Loss) -> None:
    """Padding them all to the largest would cost many times the nodes: graphs are taken one by one."""
    graphs = [graph(3, 3, s, torch.float64) for s in range(8)] + [graph(300, 900, 9, torch.float64)]
    batch = batch_of(graphs)
    s = shares(batch.num_nodes)
    found = loss(s, batch.edge_index, batch=batch.batch, num_graphs=9)
    for g in (0, 7, 8):
        for name, value in loss(s[batch.batch == g], graphs[g].edge_index).items():
            close(found[name][g], value[0])


@every_loss
@pytest.mark.parametrize("kind", ["empty", "one node", "no edges", "weights 0"])
def test_finite_where_there_is_little(loss: Loss, kind: str) -> None:
    nodes = {"empty": 0, "one node": 1}.get(kind, 4)
    edges = torch.zeros((2, 0), dtype=torch.int64)
    weight = None
    if kind == "weights 0":
        edges, weight = torch.tensor([[0, 1], [1, 0]]), torch.zeros(2)
    logits = torch.zeros(nodes, 3, requires_grad=True)
    for value in loss(logits.softmax(1), edges, weight).values():
        assert bool(value.isfinite().all())
        (gradient,) = torch.autograd.grad(value.sum(), logits, retain_graph=True)
        assert bool(gradient.isfinite().all())
        if kind == "empty":
            assert float(value.detach()) == 0


@pytest.mark.parametrize("name", SOFT)
def test_selects_stay_finite_where_the_peer_is_nan(name: str) -> None:
    data = batch_of([graph(0, 0), graph(1, 0), graph(5, 0), graph(6, 10)])
    data.x.requires_grad_()
    coarse = coarsener(name)(data)
    total = coarse.x.sum() + sum(coarse.losses.values())
    if coarse.edge_weight is not None:
        total = total + coarse.edge_weight.sum()
    total.backward()
    assert bool(total.isfinite())
    assert bool(data.x.grad.isfinite().all())


def test_the_peer_is_nan() -> None:
    """If it no longer is, the docs have to say so."""
    a = torch.zeros(1, 4, 4)
    assert bool(dense_mincut_pool(torch.ones(1, 4, 2), a, torch.zeros(1, 4, 3))[2].isnan())
    assert bool(DMoNPooling(2, 3)(torch.ones(1, 4, 2), a)[3].isnan())


def test_average_is_over_the_graphs_that_have_nodes() -> None:
    loss, counts = torch.tensor([1.0, 5.0, 3.0]), torch.tensor([2, 0, 7])
    close(losses.average(loss, counts), torch.tensor(2.0))
    close(losses.average(loss, torch.zeros(3, dtype=torch.int64)), torch.tensor(0.0))


def test_hard_shares_have_a_finite_gradient() -> None:
    s = torch.eye(3, dtype=torch.float64).requires_grad_()
    total = sum(v.sum() for v in losses.diff(s, torch.tensor([[0, 1], [1, 0]])).values())
    assert isinstance(total, Tensor)
    (gradient,) = torch.autograd.grad(total, s)
    assert bool(gradient.isfinite().all())


def test_edges_that_are_there_twice_add_up() -> None:
    s = shares(2, 2)
    twice = losses.diff(s, torch.tensor([[0, 0], [1, 1]]))["link"]
    close(twice, losses.diff(s, torch.tensor([[0], [1]]), torch.tensor([2.0], dtype=torch.float64))["link"])


def test_bad_input() -> None:
    s = shares(4)
    with pytest.raises(ValueError, match="edge_index must have shape"):
        losses.min_cut(s, torch.zeros(3, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="edge_index must be in"):
        losses.min_cut(s, torch.tensor([[0], [4]]))
    with pytest.raises(ValueError, match="edge_weight must be finite and >= 0"):
        losses.min_cut(s, torch.tensor([[0], [1]]), torch.tensor([-1.0]))
