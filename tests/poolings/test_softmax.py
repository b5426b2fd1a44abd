"""Content-weighted averages with a learned temperature."""

from __future__ import annotations

import pytest
import torch

import polypool as pp
from tests.support import close, normal


def test_learned_t() -> None:
    x = normal(2, 9, 3)
    pool = pp.build("softmax", t=0.5, learn=True).double()
    assert pool.card.learnable
    assert not pp.build("softmax").card.learnable
    assert pp.card("softmax").learnable is False
    close(pool(pp.Tokens(x)), pp.build("softmax", t=0.5)(pp.Tokens(x)), "value")
    (t,) = pool.parameters()
    assert t.shape == (1,)
    (gradient,) = torch.autograd.grad(pool(pp.Tokens(x)).sum(), t)
    step = 1e-6
    near = [pp.build("softmax", t=0.5 + d)(pp.Tokens(x)).sum() for d in (step, -step)]
    assert abs(gradient.item() - float(near[0] - near[1]) / (2 * step)) < 1e-6


def test_learned_t_descends_to_the_maximum() -> None:
    x = normal(16, 30, 2)
    target = pp.build("max")(pp.Tokens(x))
    pool = pp.build("softmax", learn=True).double()
    before = (pool(pp.Tokens(x)) - target).square().mean()
    optimiser = torch.optim.SGD(pool.parameters(), lr=0.2)
    for _ in range(50):
        optimiser.zero_grad()
        (pool(pp.Tokens(x)) - target).square().mean().backward()
        optimiser.step()
    (t,) = pool.parameters()
    assert 0 < t.item() < 1
    assert (pool(pp.Tokens(x)) - target).square().mean() < before / 2


@pytest.mark.parametrize("value", [100.0, 1e4, 1e30, -1e30])
def test_large_values(value: float) -> None:
    x = torch.full((5, 2), value, requires_grad=True)
    pooled = pp.build("softmax")(pp.Nodes(x))
    close(pooled, torch.full((1, 2), value), "constant")
    (gradient,) = torch.autograd.grad(pooled.sum(), x)
    assert bool(gradient.isfinite().all())
    if value == 100:
        close(gradient, torch.full((5, 2), 0.2), "gradient")


def test_no_overflow_before_the_softmax() -> None:
    """Temperatures divide after the largest is taken away: 1e30 at t = 1e-9 is no overflow."""
    x = torch.tensor([[1e30], [2e30], [-1e30]])
    close(pp.build("softmax", t=1e-9)(pp.Nodes(x)), torch.tensor([[2e30]]), "maximum")


def test_one_function_for_one_channel_and_many() -> None:
    """Each channel has its own weights."""
    x = normal(7, 3)
    together = pp.build("softmax")(pp.Nodes(x))
    for channel in range(3):
        alone = pp.build("softmax")(pp.Nodes(x[:, channel : channel + 1]))
        close(together[:, channel : channel + 1], alone, f"channel {channel}")
    assert pp.build("softmax").weights(pp.Nodes(x)).shape == (7, 3)
