"""Lift is the transpose of Reduce, or its pseudo-inverse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.graph.clusters import GraphClusters
from polypool.graph.lift import lift, share_of
from tests.graph.graphs import NAMES, batch_of, coarsener, dense, graph, several
from tests.support import close, normal

every_select = pytest.mark.parametrize("name", NAMES)


def matrix(clusters: pp.Clusters, reduce: str) -> Tensor:
    """M with `reduce(x) = M x`, `(K, N)`, column by column."""
    identity = torch.eye(clusters.values.shape[0], dtype=torch.float64)
    return pp.build(reduce)(clusters.with_values(identity))


@every_select
@pytest.mark.parametrize("reduce", ["sum", "mean", "mean_sqrt_len"])
def test_pseudo_inverse_is_that_of_the_matrix(name: str, reduce: str) -> None:
    data = graph(12, 30, dtype=torch.float64)
    coarse = coarsener(name, dtype=torch.float64, reduce=reduce, lift="pseudo_inverse")(data)
    m = matrix(coarse.clusters, reduce)
    y = normal(coarse.num_nodes, 2)
    close(coarse.lift(y), torch.linalg.pinv(m) @ y)
    close(coarse.lift(y, "transpose"), matrix(coarse.clusters, "sum").T @ y)


@every_select
def test_reduce_after_lift_is_nothing(name: str) -> None:
    """In a batch with graphs of one node and without edges; soft clusters of those are no inverse, but a projection."""
    data = batch_of(several(torch.float64))
    coarse = coarsener(name, dtype=torch.float64)(data)
    reduce = pp.build("sum")
    y = reduce(coarse.clusters)
    lifted = coarse.lift(y, "pseudo_inverse")
    close(reduce(coarse.clusters.with_values(lifted)), y)
    assert float(lifted.detach().square().sum()) <= float(data.x.square().sum()) + 1e-9


@every_select
@pytest.mark.parametrize("how", ["transpose", "pseudo_inverse"])
def test_gradients(name: str, how: str) -> None:
    data = graph(8, 14, dtype=torch.float64)
    coarse = coarsener(name, dtype=torch.float64)(data)
    y = normal(coarse.num_nodes, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: coarse.lift(v, how), (y,), atol=1e-6)


def test_gradients_of_shares() -> None:
    """Of soft clusters by torch, of overlapping ones by the solution's own derivative."""
    x, y = normal(6, 1), normal(3, 2)
    shares = normal(6, 3).square()
    for how in ("transpose", "pseudo_inverse"):
        for share in (0.0, 1.0):
            assert torch.autograd.gradcheck(
                lambda s, y, how=how, share=share: lift(pp.Clusters(x, s), y, how, share),
                (shares.clone().requires_grad_(), y.clone().requires_grad_()),
                atol=1e-5,
            )
            pairs = torch.tensor([[0, 1, 2, 2, 3, 4, 5, 0], [0, 0, 0, 1, 1, 2, 2, 2]])
            assert torch.autograd.gradcheck(
                lambda w, y, how=how, share=share, pairs=pairs: lift(
                    GraphClusters(x, pairs, 3, w), y, how, share
                ),
                (normal(8).square().add(0.1).requires_grad_(), y.clone().requires_grad_()),
                atol=1e-5,
            )


def test_overlapping_graphs_do_not_see_each_other() -> None:
    graphs = several(torch.float64)
    coarsen = coarsener("asap", dtype=torch.float64)
    together, at = coarsen(batch_of(graphs)), 0
    lifted = together.lift(how="pseudo_inverse")
    for one in graphs:
        close(coarsen(one).lift(how="pseudo_inverse"), lifted[at : at + one.num_nodes])
        at += one.num_nodes


def test_copies_of_a_cluster_share_the_rows() -> None:
    """Where the columns of S are the same, the smallest rows that come nearest."""
    pairs = torch.tensor([[0, 1, 0, 1], [0, 0, 1, 1]])
    clusters = GraphClusters(torch.ones(2, 1, dtype=torch.float64), pairs, 2)
    y = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    m = matrix(clusters, "sum")
    close(lift(clusters, y, "pseudo_inverse"), torch.linalg.pinv(m) @ y)


@every_select
def test_dropped_nodes_get_nothing(name: str) -> None:
    coarse = coarsener(name)(graph(12, 20))
    gone = dense(coarse).sum(1) == 0
    for how in ("transpose", "pseudo_inverse"):
        lifted = coarse.lift(torch.ones(coarse.num_nodes, 2), how)
        assert bool((lifted[gone] == 0).all())
        assert bool((lifted[~gone] != 0).any())


def test_which_matrix_a_pooling_is_near_to() -> None:
    assert share_of(pp.build("sum")) == 0
    assert share_of(pp.build("mean")) == 1
    assert share_of(pp.build("max")) == 1
    assert share_of(pp.build("mean_sqrt_len")) == 0.5
    data = graph(12, 20)
    coarse = coarsener("graclus", reduce="max")(data)
    again = pp.build("max")(coarse.clusters.with_values(coarse.lift(how="pseudo_inverse")))
    close(again, coarse.x)


def test_bad_input() -> None:
    coarse = coarsener("graclus")(graph(6, 8))
    with pytest.raises(ValueError, match="how must be one of transpose, pseudo_inverse; found 'inverse'"):
        coarse.lift(how="inverse")
    with pytest.raises(ValueError, match="y must have one row for each of the"):
        coarse.lift(torch.ones(100, 2))
