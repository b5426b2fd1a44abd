"""Coarse edges: which there are, and what becomes of what the fine ones carry."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.graph import _pairs
from polypool.graph.coarsen import Coarsen
from polypool.graph.connect import Connect
from tests.graph.graphs import NAMES, SOFT, adjacency, batch_of, coarsener, dense, graph, several, weighted
from tests.support import close, integers, normal, uniform

every_select = pytest.mark.parametrize("name", NAMES)


@every_select
@pytest.mark.parametrize("self_loops", ["drop", "keep"])
def test_sum_is_the_product_of_matrices(name: str, self_loops: str) -> None:
    """`S^T A S`; with loops at every node for asap, whose clusters are joined by sharing a node."""
    data = weighted(graph(12, 30, dtype=torch.float64))
    plain = Connect(self_loops=self_loops, normalise=False)
    coarse = coarsener(name, dtype=torch.float64, connect=plain)(data)
    s, a = dense(coarse), adjacency(data)
    if name == "asap":
        a = a + torch.eye(12)
    expected = s.T @ a @ s
    if self_loops == "drop":
        expected = expected.fill_diagonal_(0)
    close(adjacency(coarse.to_data()), expected)


@every_select
@pytest.mark.parametrize("how", ["sum", "mean", "max", "min", "std", "logsumexp"])
def test_edge_features_of_several_dimensions_with_any_reduction(name: str, how: str) -> None:
    """Each coarse edge is the weighted pooling of the fine edges between the two clusters."""
    data = graph(10, 25, dtype=torch.float64)
    data.edge_attr = normal(data.num_edges, 3)
    coarse = coarsener(name, dtype=torch.float64, connect=how)(data)
    assert coarse.edge_attr is not None
    s = dense(coarse)
    pool = pp.build(how)
    for e in range(0, coarse.edge_index.shape[1], max(coarse.edge_index.shape[1] // 6, 1)):
        one, other = coarse.edge_index[:, e]
        weight = s[data.edge_index[0], one] * s[data.edge_index[1], other]
        expected = pool(pp.Nodes(data.edge_attr, weight=weight))[0]
        close(coarse.edge_attr[e], expected)


@every_select
def test_coarse_edges_are_sorted_without_duplicates_and_within_their_graph(name: str) -> None:
    coarse = coarsener(name)(batch_of(several()))
    row, col = coarse.edge_index
    key = row * coarse.num_nodes + col
    assert bool((key.diff() > 0).all())
    assert torch.equal(coarse.batch[row], coarse.batch[col])
    assert bool((row != col).all())


def test_duplicates_and_directions() -> None:
    data = graph(4, 0)
    data.edge_index = torch.tensor([[0, 0, 2, 1, 3], [2, 2, 0, 3, 3]])
    data.edge_attr = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
    coarse = Coarsen("given")(data)
    assert coarse.edge_index.tolist() == [[0, 1], [1, 0]]
    assert coarse.edge_attr is not None
    assert coarse.edge_attr.tolist() == [11.0, 4.0]
    kept = Coarsen("given", connect=Connect("max", self_loops="keep"))(data)
    assert kept.edge_index.tolist() == [[0, 1, 1], [1, 0, 1]]
    assert kept.edge_attr is not None
    assert kept.edge_attr.tolist() == [8.0, 4.0, 16.0]


def test_edges_of_dropped_nodes_go() -> None:
    data = graph(3, 0)
    data.edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
    data.cluster = torch.tensor([0, 1, -1])
    assert Coarsen("given")(data).edge_index.tolist() == [[0], [1]]


def test_integers_are_chosen_and_never_averaged() -> None:
    data = graph(8, 20)
    data.edge_attr = integers(5, data.num_edges, 2)
    coarse = Coarsen("given", connect="max")(data)
    assert coarse.edge_attr is not None
    assert coarse.edge_attr.dtype == torch.int64
    wrong = r"edge_attr must be floating for sum, which makes new numbers; found torch\.int64"
    with pytest.raises(TypeError, match=wrong):
        Coarsen("given")(data)


def test_features_of_three_dimensions() -> None:
    data = graph(8, 20)
    data.edge_attr = normal(data.num_edges, 2, 3).float()
    coarse = Coarsen("given", connect="mean")(data)
    assert coarse.edge_attr is not None
    assert coarse.edge_attr.shape[1:] == (2, 3)


@pytest.mark.parametrize("name", SOFT)
def test_a_soft_graph_is_a_dense_block_for_each_graph(name: str) -> None:
    batch = batch_of(several())
    coarse = coarsener(name)(batch)
    assert coarse.num_nodes == 3 * batch.num_graphs
    assert coarse.edge_index.shape[1] == 6 * batch.num_graphs
    assert coarse.edge_weight is not None


@pytest.mark.parametrize("name", ["min_cut", "dmon", "just_balance", "random_dense"])
def test_normalised_as_the_authors_do(name: str) -> None:
    data = weighted(graph(12, 30, dtype=torch.float64))
    coarse = coarsener(name, dtype=torch.float64)(data)
    s = dense(coarse)
    a = (s.T @ adjacency(data) @ s).fill_diagonal_(0)
    root = a.sum(1).sqrt()
    close(adjacency(coarse.to_data()), a / root / root[:, None])


def test_nothing_of_a_fine_graph_without_weights_unless_shared() -> None:
    data = graph(10, 20)
    assert coarsener("graclus")(data).edge_weight is None
    assert coarsener("asap")(data).edge_weight is not None


def test_overlapping_clusters_in_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few pairs are listed at once, the edges and the gradient are the same."""
    data = weighted(graph(30, 90, dtype=torch.float64))
    data.edge_attr = uniform(data.num_edges, 2)

    def run() -> tuple[Tensor, Tensor, Tensor, Tensor]:
        coarsen = coarsener("asap", dtype=torch.float64)
        coarse = coarsen(data)
        assert coarse.edge_weight is not None
        assert coarse.edge_attr is not None
        (coarse.edge_weight.square().sum() + coarse.edge_attr.square().sum()).backward()
        gradient = coarsen.select.of_member.weight.grad  # type: ignore[union-attr]
        assert isinstance(gradient, Tensor)
        return coarse.edge_index, coarse.edge_weight, coarse.edge_attr, gradient

    whole = run()
    monkeypatch.setattr(_pairs, "AT_ONCE", 50)
    assert torch.equal(whole[0], run()[0])
    for one, other in zip(whole[1:], run()[1:], strict=True):
        close(one, other)
    assert bool(whole[3].abs().sum() > 0)


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="self_loops must be one of drop, keep; found 'yes'"):
        Connect(self_loops="yes")
    with pytest.raises(TypeError, match="reduce must be the name of a pooling or a Pooling; found int"):
        Connect(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="normalise must be a bool or None"):
        Connect(normalise=1)  # type: ignore[arg-type]
