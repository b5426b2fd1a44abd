"""Operators derived from operators: the card says what is still true of them."""

import pytest
import torch
from torch import Tensor

import polypool as pp

NODES = pp.Nodes(torch.tensor([[1.0], [2.0], [6.0]]))


class Softer(pp.poolings.MedianPool):
    """A median by another name."""


class Largest(pp.poolings.MeanPool):
    """Replaces what a mean computes, and with it the meaning of its statistics and weights."""

    def reduce(self, cells: pp.Cells) -> Tensor:
        return cells.best(cells.rows)


def test_restrictions_are_inherited() -> None:
    assert not Softer.card.takes_weights
    with pytest.raises(NotImplementedError, match="Softer cannot pool a layout with weights"):
        Softer()(pp.Nodes(NODES.values, weight=torch.ones(3)))


def test_the_verbs_refuse_weights_too() -> None:
    cells = pp.Nodes(NODES.values, weight=torch.ones(3)).cells
    for verb in (lambda: cells.quantile(0.5), lambda: cells.trimmed(0.1), lambda: cells.top(2)):
        with pytest.raises(NotImplementedError, match="no one weighted form"):
            verb()


def test_a_new_reduce_takes_statistics_and_weights_with_it() -> None:
    pool = Largest()
    assert (pool.card.decomposable, pool.card.has_weights) == (False, False)
    for call in (pool.state, pool.weights):
        with pytest.raises(NotImplementedError):
            call(NODES)
    both = pp.build("concat", pools=[pool, "max"])
    assert both(NODES).tolist() == [[6.0, 6.0]]


def test_states_of_another_pooling() -> None:
    state = pp.build("max").state(NODES)
    for call in (lambda: pp.build("std").finalize(state), lambda: pp.build("std").merge(state, state)):
        with pytest.raises(
            ValueError, match="a state of std must hold m2, mass, mean, n; found mass, max, n"
        ):
            call()
    with pytest.raises(ValueError, match="found nothing"):
        pp.build("std").merge({}, {})


def test_what_needs_a_layout_says_so() -> None:
    pool = pp.build("mean")
    for call in (pool.weights, pool.state):
        with pytest.raises(TypeError, match="expected a layout; found Tensor"):
            call(NODES.values)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.1, 1e4 / 3, -7.3e-5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_moments_of_a_constant(value: float, dtype: torch.dtype) -> None:
    """The mean of seven times .1 is not quite .1, and what is left of it is noise."""
    x = torch.full((7, 1), value, dtype=dtype)
    for layout in (
        pp.Nodes(x),
        pp.Grid(x.T[None]),
        pp.Tokens(x[None], weight=torch.rand(1, 7).to(dtype) + 0.1),
    ):
        assert pp.build("moments")(layout)[0, 1:].tolist() == [0.0, 0.0, 0.0]


def test_skewness_beside_a_large_mean() -> None:
    x = torch.randn(200_000, 1, generator=torch.Generator().manual_seed(0)) + 1e4
    wide = x.double() - x.double().mean()
    wanted = float((wide**3).mean() / (wide**2).mean() ** 1.5)
    for layout in (pp.Nodes(x), pp.Tokens(x[None])):
        assert abs(float(pp.build("moments")(layout)[0, 2]) - wanted) < 1e-5


def test_a_learned_temperature_beside_minus_infinity() -> None:
    pool = pp.build("softmax", learn=True)
    pooled = pool(pp.Nodes(torch.tensor([[1.0], [2.0], [float("-inf")]])))
    pooled.sum().backward()
    assert abs(float(pooled.detach()) - 1.7311) < 1e-3
    (temperature,) = pool.parameters()
    assert temperature.grad is not None
    assert bool(temperature.grad.isfinite().all())
