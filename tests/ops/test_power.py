"""Power means without overflow."""

from __future__ import annotations

import pytest
import torch

import polypool as pp
from tests.cells.bags import BAGS, Bag
from tests.support import Tolerance, close, normal, of_gradients

NAN, INF = float("nan"), float("inf")

every_bag = pytest.mark.parametrize("bag", BAGS.values(), ids=BAGS)
POWERS = [0.5, 1.0, 1.5, 2.0, 3.0, 7.0]


@every_bag
@pytest.mark.parametrize("p", POWERS)
def test_against_loops(bag: Bag, p: float) -> None:
    v = bag.numbers(3)
    hidden = torch.where(bag.real(), v, torch.full_like(v, NAN))
    wanted = bag.loop(v.abs(), lambda x, w: ((w * x**p).sum(0) / w.sum()) ** (1 / p))
    close(bag.cells.power_mean(hidden, p), wanted, "unsigned")
    moment = bag.loop(v.sign() * v.abs() ** p, lambda x, w: (w * x).sum(0) / w.sum())
    close(bag.cells.power_mean(hidden, p, signed=True), moment.sign() * moment.abs() ** (1 / p), "signed")


@pytest.mark.parametrize("p", [1e-2, 0.1, 60.0, 1000.0, 1e5])
@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1.0, 1e20, 1e38])
def test_no_power_overflows_in_float32(p: float, scale: float) -> None:
    """Against the logarithm of the same in float64."""
    x = (scale * (0.5 + normal(200, 2).abs().clamp(max=2.0))).float()
    logs = x.double().log() * p
    wanted = ((logs.logsumexp(0, keepdim=True) - torch.tensor(200.0).double().log()) / p).exp()
    found = pp.build("power", p=p)(pp.Nodes(x))
    # A mean of powers that is off by 1e-7 gives a root that is off by 1e-7 / p.
    close(
        found.double() / wanted,
        torch.ones_like(wanted),
        "ratio",
        Tolerance(0, 2e-5 * max(1, 0.01 / p)),
    )


@pytest.mark.parametrize("p", POWERS)
def test_zeros_infinities_and_nan(p: float) -> None:
    cases = {
        (0.0, 0.0, 0.0): 0.0,
        (0.0, INF): INF,
        (1.0, -INF): INF,
        (NAN, 1.0): NAN,
        (NAN, INF): NAN,
        (NAN, 0.0): NAN,
    }
    for members, wanted in cases.items():
        found = pp.build("power", p=p)(pp.Nodes(torch.tensor(members)[:, None]))
        close(found, torch.tensor([[wanted]]), f"{members}")
    signed = {(0.0, INF): INF, (1.0, -INF): -INF, (NAN, 1.0): NAN, (0.0, 0.0): 0.0}
    for members, wanted in signed.items():
        found = pp.build("power", p=p, signed=True)(pp.Nodes(torch.tensor(members)[:, None]))
        close(found, torch.tensor([[wanted]]), f"signed, {members}")


@pytest.mark.parametrize("p", POWERS)
@pytest.mark.parametrize("signed", [False, True])
def test_gradients_are_finite_at_zero(p: float, signed: bool) -> None:
    """Of values and of p, where x^p has no slope or an infinite one, and of a cell of zeros."""
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, -2.0]], dtype=torch.float64, requires_grad=True)
    power = torch.tensor([p], dtype=torch.float64, requires_grad=True)
    for given in (p, power):
        out = pp.Nodes(x).cells.power_mean(x, given, signed)
        inputs = (x, power) if given is power else (x,)
        for gradient in torch.autograd.grad(out.sum(), inputs, materialize_grads=True):
            assert bool(gradient.isfinite().all())


def test_powers_of_each_channel_and_their_gradient() -> None:
    """A tensor p gives what each of its numbers gives, and its gradient is that of finite differences."""
    x = normal(12, 3).abs() + 0.1
    layout = pp.Nodes(x, torch.arange(12) % 2)
    p = torch.tensor([0.7, 2.0, 5.0], dtype=torch.float64, requires_grad=True)
    found = layout.cells.power_mean(x, p)
    for channel, one in enumerate(p.tolist()):
        close(found[:, channel], layout.cells.power_mean(x, one)[:, channel], f"channel {channel}")
    assert torch.autograd.gradcheck(
        lambda x, p: layout.with_values(x).cells.power_mean(x, p), (x.requires_grad_(), p)
    )


def test_the_gradient_at_one_member() -> None:
    """A power mean of one number is the number: slope 1."""
    for p in POWERS:
        x = torch.tensor([[2.5, 1e-30, 1e30]], requires_grad=True)
        (gradient,) = torch.autograd.grad(pp.Nodes(x).cells.power_mean(x, p).sum(), x)
        close(gradient, torch.ones(1, 3), f"p = {p}", of_gradients(torch.float32))


def test_gradients_do_not_overflow() -> None:
    x = torch.tensor([[1e38], [3e38], [1e-38], [0.0]], requires_grad=True)
    for p in (0.5, 2.0, 60.0):
        (gradient,) = torch.autograd.grad(pp.Nodes(x).cells.power_mean(x, p).sum(), x)
        assert bool(gradient.isfinite().all())
