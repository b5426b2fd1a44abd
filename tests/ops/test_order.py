"""Order statistics against numpy and scipy's definitions, written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import polypool as pp
from tests.cells.bags import BAGS, Array, Bag
from tests.support import close, identical, integers, normal

NAN, INF = float("nan"), float("inf")
UNWEIGHTED = {name: bag for name, bag in BAGS.items() if bag.weight is None}

every_bag = pytest.mark.parametrize("bag", UNWEIGHTED.values(), ids=UNWEIGHTED)


def pooled(bag: Bag, pool: pp.Pooling, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The result, and the rows as the members list them."""
    cells = bag.make(normal(*bag.values.shape, seed=seed))
    return pool.reduce(cells), cells.rows


@every_bag
@pytest.mark.parametrize("q", [0.0, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0])
def test_quantiles_are_those_of_numpy(bag: Bag, q: float) -> None:
    found, rows = pooled(bag, pp.build("quantile", q=q))
    close(found, bag.loop(rows, lambda x, w: np.quantile(x, q, axis=0)), f"q = {q}")
    if q == 0.5:
        identical(pooled(bag, pp.build("median"))[0], found, "median")


@every_bag
@pytest.mark.parametrize("t", [0.0, 0.1, 0.2, 0.34, 0.49])
def test_trimmed_means(bag: Bag, t: float) -> None:
    found, rows = pooled(bag, pp.build("trimmed", t=t))

    def loop(x: Array, w: Array) -> Array:
        cut = int(np.floor(t * len(x)))
        return np.sort(x, axis=0)[cut : len(x) - cut].mean(0)

    close(found, bag.loop(rows, loop), f"t = {t}")


@every_bag
@pytest.mark.parametrize("k", [1, 2, 3, 100])
def test_means_of_the_largest(bag: Bag, k: int) -> None:
    found, rows = pooled(bag, pp.build("top_k", k=k))
    close(found, bag.loop(rows, lambda x, w: np.sort(x, axis=0)[::-1][:k].mean(0)), f"k = {k}")


@pytest.mark.parametrize("name", ["median", "quantile", "trimmed", "top_k"])
def test_densities_are_constants(name: str) -> None:
    """The gradient of an order statistic is its density, and its second derivative 0."""
    x, batch = normal(40, 3).requires_grad_(), integers(4, 40)
    pool = pp.build(name)
    layout = pp.Nodes(x, batch, 4)
    (gradient,) = torch.autograd.grad(pool(layout).sum(), x, create_graph=True)
    close(gradient.detach(), pool.weights(layout).detach(), "gradient")
    if gradient.requires_grad:
        assert not torch.autograd.grad(gradient.sum(), x, materialize_grads=True, allow_unused=True)[0].any()


def test_ties_go_to_the_first() -> None:
    x = torch.tensor([[1.0], [3.0], [3.0], [3.0], [2.0]], dtype=torch.float64)
    weights = pp.build("top_k", k=2).weights(pp.Nodes(x))
    assert weights.flatten().tolist() == [0.0, 0.5, 0.5, 0.0, 0.0]
    lost = torch.full((3, 1), -INF, dtype=torch.float64)
    assert pp.build("top_k", k=2).weights(pp.Nodes(lost)).flatten().tolist() == [0.5, 0.5, 0.0]


def test_infinities_are_values() -> None:
    """An infinity outside of what is averaged is not read: 0 times inf would be NaN."""
    x = torch.tensor([[-INF], [1.0], [2.0], [3.0], [INF]], dtype=torch.float64)
    layout = pp.Nodes(x)
    assert pp.build("median")(layout).item() == 2.0
    assert pp.build("trimmed", t=0.2)(layout).item() == 2.0
    assert pp.build("top_k", k=1)(layout).item() == INF
    assert pp.build("quantile", q=0.25)(layout).item() == 1.0
    assert pp.build("quantile", q=0.1)(layout).item() == -INF
    assert pp.build("quantile", q=0.0)(layout).item() == -INF
    assert pp.build("quantile", q=1.0)(layout).item() == INF


@pytest.mark.parametrize("name", ["median", "quantile", "trimmed", "top_k"])
def test_a_nan_has_no_order(name: str) -> None:
    """NaN in its channel and cell, wherever sorting puts it and however far from what is picked."""
    x, batch = normal(20, 2), torch.arange(20) % 2
    x[6, 1] = NAN
    found = pp.build(name)(pp.Nodes(x, batch))
    assert found.isnan().tolist() == [[False, True], [False, False]]


def test_places_are_exact_beyond_float32() -> None:
    """q (n - 1) in float32 is a whole place off at a hundred thousand elements, and a density two."""
    n = 300_001
    x = torch.arange(float(n))[:, None]
    shuffled = x[torch.randperm(n, generator=torch.Generator().manual_seed(0))]
    for q, wanted in ((0.5, 150_000.0), (0.123456, 0.123456 * (n - 1)), (1.0, n - 1.0)):
        close(pp.build("quantile", q=q)(pp.Nodes(shuffled)), torch.tensor([[wanted]]), f"q = {q}")
    assert pp.build("median")(pp.Nodes(shuffled)).item() == 150_000.0
    assert pp.build("top_k", k=3)(pp.Nodes(shuffled)).item() == n - 2.0


def test_the_share_between_two_places_is_exact() -> None:
    """From float64 places: between 99,999 and 100,000 a float32 place has two digits after the point."""
    n = 100_003
    x = torch.arange(float(n), dtype=torch.float64)[:, None]
    q = 0.777_777_7
    close(pp.build("quantile", q=q)(pp.Nodes(x)), torch.tensor([[q * (n - 1)]], dtype=torch.float64), "place")
    assert pp.build("quantile", q=0.3)(pp.Nodes(x[:11])).item() == 3.0
