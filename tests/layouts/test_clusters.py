"""Clusters with a batch, shared elements and weights, against loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import polypool as pp
from tests.support import close, identical, integers, normal, uniform


def loop(x: Tensor, shares: Tensor, batch: Tensor, graphs: int, mean: bool) -> Tensor:
    """`sum w x` (or its mean) of cluster k of graph g in row `g K + k`, by a loop over everything."""
    clusters = shares.shape[1]
    out = x.new_zeros(graphs * clusters, x.shape[1])
    for g in range(graphs):
        for k in range(clusters):
            mass = 0.0
            for i in range(x.shape[0]):
                if int(batch[i]) == g and float(shares[i, k]) > 0:
                    out[g * clusters + k] += shares[i, k] * x[i]
                    mass += float(shares[i, k])
            if mean and mass:
                out[g * clusters + k] /= mass
    return out


x, batch = normal(25, 3), integers(4, 25, seed=3)
ids = integers(5, 25, seed=4) - 1
hard = torch.zeros(25, 4, dtype=torch.float64)
hard[ids >= 0, ids[ids >= 0]] = 1.0
shares = uniform(25, 4, seed=5) * (uniform(25, 4, seed=6) > 0.3)
element, cluster = (shares > 0).nonzero().unbind(1)
pairs = torch.stack([element, cluster])[
    :, torch.randperm(element.shape[0], generator=torch.Generator().manual_seed(0))
]
of_pairs = shares[pairs[0], pairs[1]]


@pytest.mark.parametrize("graphs", [4, 6], ids=["", "empty-graphs"])
@pytest.mark.parametrize("mean", [False, True], ids=["sum", "mean"])
def test_a_loop_over_graphs_and_clusters(graphs: int, mean: bool) -> None:
    pool = pp.build("mean" if mean else "sum")
    forms = {
        "hard": (pp.Clusters(x, ids, 4, batch=batch, num_graphs=graphs), hard),
        "hard, weights": (
            pp.Clusters(x, ids, 4, shares[:, 0], batch=batch, num_graphs=graphs),
            hard * shares[:, :1],
        ),
        "pairs": (pp.Clusters(x, pairs, 4, batch=batch, num_graphs=graphs), (shares > 0).double()),
        "pairs, weights": (pp.Clusters(x, pairs, 4, of_pairs, batch=batch, num_graphs=graphs), shares),
        "soft": (pp.Clusters(x, shares, 4, batch=batch, num_graphs=graphs), shares),
    }
    for name, (layout, assigned) in forms.items():
        assert layout.num_cells == 4 * graphs
        close(pool(layout), loop(x, assigned, batch, graphs, mean), name)


@pytest.mark.parametrize("name", pp.names(pp.Clusters(x, shares)))
def test_soft_shares_are_weights(name: str) -> None:
    """A soft assignment is its N x K weighted pairs: same values, same gradients of values and of shares."""
    pool = pp.build(name, channels=3).double()
    results = []
    for form in ("soft", "pairs"):
        values, given = x.clone().requires_grad_(), shares.clone().requires_grad_()
        if form == "soft":
            layout = pp.Clusters(values, given, batch=batch, num_graphs=4)
        else:
            listed = torch.stack([element, cluster])  # element by element, as a soft assignment is
            layout = pp.Clusters(values, listed, 4, given[element, cluster], batch=batch, num_graphs=4)
        out = pool(layout)
        loss = (out * normal(*out.shape, seed=1)).sum()
        grads = torch.autograd.grad(loss, (values, given), allow_unused=True, materialize_grads=True)
        results.append((out, *grads))
    for one, other, what in zip(*results, ("values", "gradient", "gradient of the shares"), strict=True):
        close(one, other, f"{name}, {what}")


def test_clusters_of_nodes_count_per_graph() -> None:
    clusters = pp.Nodes(x, batch, 4).clusters(ids)
    assert isinstance(clusters, pp.Clusters)
    assert clusters.num_clusters == 4
    assert clusters.batch.tolist() == [g for g in range(4) for _ in range(4)]
    close(pp.build("sum")(clusters), loop(x, hard, batch, 4, mean=False), "sum")
    coarse = pp.Nodes(pp.build("mean")(clusters), clusters.batch, 4)
    assert coarse.counts.tolist() == [4, 4, 4, 4]


def test_clusters_of_nodes_without_a_batch() -> None:
    clusters = pp.Nodes(x).clusters(ids, 6)
    assert clusters.num_cells == 6
    assert clusters.batch.tolist() == [0] * 6
    identical(pp.build("max")(clusters), pp.build("max")(pp.Clusters(x, ids, 6)), "max")


def test_weights_of_nodes_are_weights_of_their_memberships() -> None:
    weight = uniform(25, seed=7) * (uniform(25, seed=8) > 0.3)
    nodes = pp.Nodes(x, batch, 4, weight=weight)
    for form, assigned in ((ids, hard), (shares, shares), (pairs, (shares > 0).double())):
        found = pp.build("mean")(nodes.clusters(form, 4))
        close(found, loop(x, assigned * weight[:, None], batch, 4, mean=True), "mean")
    hidden = x.masked_fill(weight[:, None] == 0, float("nan"))
    for form in (ids, shares, pairs):
        found = pp.build("std")(pp.Nodes(hidden, batch, 4, weight=weight).clusters(form, 4))
        identical(found, pp.build("std")(nodes.clusters(form, 4)), "NaN in nodes of weight 0")


def test_an_element_in_no_cluster_is_not_read() -> None:
    hidden = x.masked_fill((ids < 0)[:, None], float("nan")).requires_grad_()
    out = pp.build("std")(pp.Clusters(hidden, ids, 4, batch=batch, num_graphs=4))
    identical(out, pp.build("std")(pp.Clusters(x, ids, 4, batch=batch, num_graphs=4)), "std")
    (gradient,) = torch.autograd.grad(out.sum(), hidden)
    assert not gradient[ids < 0].any()
    assert bool(gradient.isfinite().all())


def test_an_element_of_share_0_is_not_read() -> None:
    none = shares.sum(1) == 0
    none[:3] = True
    given = shares.masked_fill(none[:, None], 0.0)
    hidden = x.masked_fill(none[:, None], float("nan")).requires_grad_()
    for name in ("sum", "mean", "std", "max", "softmax"):
        pool = pp.build(name)
        out = pool(pp.Clusters(hidden, given, batch=batch, num_graphs=4))
        identical(out, pool(pp.Clusters(x, given, batch=batch, num_graphs=4)), name)
        (gradient,) = torch.autograd.grad(out.sum(), hidden)
        assert not gradient[none].any()
        assert bool(gradient.isfinite().all())


def test_the_order_of_pairs_is_the_order_in_the_cluster() -> None:
    """Position-aware operators see the memberships as they are listed."""
    rows = normal(4, 2)
    listed = torch.tensor([[3, 1, 0, 3], [0, 0, 0, 1]])
    layout = pp.Clusters(rows, listed, 2)
    identical(pp.build("first")(layout), rows[[3, 3]], "first")
    identical(pp.build("last")(layout), rows[[0, 3]], "last")


def test_a_pair_that_is_listed_twice_counts_twice() -> None:
    rows = normal(3, 2)
    layout = pp.Clusters(rows, torch.tensor([[0, 0, 2], [0, 0, 0]]))
    close(pp.build("mean")(layout), (2 * rows[0] + rows[2])[None] / 3, "mean")
    assert layout.counts.tolist() == [3]


def test_a_soft_assignment_costs_one_copy_of_the_values_at_a_time() -> None:
    """Sum and mean do not list N x K rows."""
    for name in ("sum", "mean"):
        cells = pp.Clusters(x, shares).cells
        pp.build(name).reduce(cells)
        assert "rows" not in vars(cells)
