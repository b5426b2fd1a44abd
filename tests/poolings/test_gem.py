"""Generalised means: one power or one per channel, learned or not, at any size."""

from __future__ import annotations

import pytest
import torch

import polypool as pp
from tests.support import close, normal


def test_p_60_of_fifty() -> None:
    """50 ** 60 is infinite in float32, 50 ** 3 in float16."""
    for dtype, p in (
        (torch.float32, 60.0),
        (torch.float16, 3.0),
        (torch.float16, 60.0),
        (torch.bfloat16, 1000.0),
    ):
        x = torch.full((1, 2, 4, 4), 50.0, dtype=dtype, requires_grad=True)
        pooled = pp.build("gem", p=p, learn=False)(x)
        close(pooled, torch.full((1, 2), 50.0), f"{dtype}, p = {p}")
        (gradient,) = torch.autograd.grad(pooled.sum(), x)
        close(gradient, torch.full_like(x, 1 / 16), f"{dtype}, p = {p}, gradient")


@pytest.mark.parametrize("p", [0.5, 1.0, 2.5, 3.0, 60.0])
def test_against_the_formula_in_float64(p: float) -> None:
    x = normal(2, 3, 5, 5, seed=1).abs() + 0.01
    wanted = (x**p).mean((2, 3)) ** (1 / p)
    close(pp.build("gem", p=p, learn=False)(x), wanted, f"p = {p}")


def test_negative_values_count_as_eps() -> None:
    x = torch.tensor([[-5.0], [2.0], [-0.0], [3.0]], dtype=torch.float64, requires_grad=True)
    for eps in (1e-6, 0.5):
        pooled = pp.build("gem", learn=False, eps=eps)(pp.Nodes(x))
        close(
            pooled,
            torch.tensor([[((2 * eps**3 + 8 + 27) / 4) ** (1 / 3)]], dtype=torch.float64),
            f"eps = {eps}",
        )
        (gradient,) = torch.autograd.grad(pooled.sum(), x)
        assert gradient.flatten()[[0, 2]].tolist() == [0.0, 0.0]
        assert bool(gradient.isfinite().all())


def test_a_cell_of_nothing_positive() -> None:
    """Finite, with finite gradients of values and of p: what training meets after a ReLU."""
    for members in (-torch.ones(4, 2), torch.zeros(4, 2)):
        x = members.requires_grad_()
        pool = pp.build("gem")
        pooled = pool(pp.Nodes(x))
        close(pooled, torch.full((1, 2), 1e-6), "eps")
        for gradient in torch.autograd.grad(pooled.sum(), (x, *pool.parameters())):
            assert bool(gradient.isfinite().all())


def test_a_p_for_each_channel() -> None:
    x = normal(2, 3, 4, 4).abs()
    pool = pp.build("gem", per_channel=True, channels=3).double()
    assert isinstance(pool.p, torch.nn.Parameter)
    with torch.no_grad():
        pool.p.copy_(torch.tensor([1.0, 2.0, 7.0]))
    for channel, p in enumerate((1.0, 2.0, 7.0)):
        close(pool(x)[:, channel], pp.build("gem", p=p, learn=False)(x)[:, channel], f"channel {channel}")
    (gradient,) = torch.autograd.grad(pool(x)[:, 1].sum(), pool.p)
    assert gradient[1] != 0
    assert gradient[[0, 2]].tolist() == [0.0, 0.0]


def test_learned_p_moves() -> None:
    """Descending on p finds the power that made the target."""
    x = normal(64, 2, 20).abs()
    target = pp.build("gem", p=5.0, learn=False)(pp.Grid(x))
    pool = pp.build("gem", p=2.0).double()
    optimiser = torch.optim.Adam(pool.parameters(), lr=0.1)
    for _ in range(200):
        optimiser.zero_grad()
        (pool(pp.Grid(x)) - target).square().mean().backward()
        optimiser.step()
    (p,) = pool.parameters()
    assert abs(p.item() - 5) < 0.05


def test_what_is_a_parameter_and_what_is_saved() -> None:
    assert [tuple(p.shape) for p in pp.build("gem").parameters()] == [(1,)]
    assert [tuple(p.shape) for p in pp.build("gem", per_channel=True, channels=3).parameters()] == [(3,)]
    assert not list(pp.build("gem", learn=False).parameters())
    assert list(pp.build("gem", learn=False, per_channel=True, channels=3).state_dict()) == ["p"]
    for learn in (True, False):
        assert pp.build("gem", learn=learn).card.learnable == learn


def test_empty_cells_give_no_gradient_to_p() -> None:
    pool = pp.build("gem")
    x = torch.zeros(0, 2, requires_grad=True)
    pooled = pool(pp.Nodes(x, torch.zeros(0, dtype=torch.long), 3))
    assert not pooled.any()
    gradients = torch.autograd.grad(
        pooled.sum(), (x, *pool.parameters()), materialize_grads=True, allow_unused=True
    )
    assert not any(gradient.any() for gradient in gradients)
