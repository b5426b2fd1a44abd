"""Softmax and log-mean-exp at the ends of their range, against float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import polypool as pp
from tests.cells.bags import BAGS, Array, Bag
from tests.support import Tolerance, close, identical, normal

NAN, INF = float("nan"), float("inf")

every_bag = pytest.mark.parametrize("bag", BAGS.values(), ids=BAGS)


def hidden(bag: Bag, v: Tensor) -> Tensor:
    return torch.where(bag.real(), v, torch.full_like(v, NAN))


@every_bag
@pytest.mark.parametrize("t", [1e-3, 0.1, 1.0, 30.0, 1e4])
def test_log_mean_exp_against_loops(bag: Bag, t: float) -> None:
    v = bag.numbers(3)

    def loop(x: Array, w: Array) -> Array:
        top = (x / t).max(0)
        return t * (top + np.log((w * np.exp(x / t - top)).sum(0) / w.sum()))

    # What the loop itself loses to cancellation at large t: log(mean(exp)) near 1, times t.
    wanted = bag.loop(v, loop)
    close(
        bag.cells.log_mean_exp(hidden(bag, v), t), wanted, "log_mean_exp", Tolerance(1e-10, 1e-11 + 1e-15 * t)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_log_mean_exp_tends_to_the_mean(dtype: torch.dtype, offset: float) -> None:
    """Where log(mean(exp)) has cancelled to 0 or to noise."""
    x = (offset + normal(1000, 2)).to(dtype)
    cells = pp.Nodes(x).cells
    mean, std, skewness, _ = pp.build("moments")(pp.Nodes(x.double())).split(2, 1)
    for t in (1e4, 1e6, 1e9, 1e20, 1e30):
        # The first three terms of the series in 1 / t; the fourth is below 1e-12.
        wanted = mean + std**2 / (2 * t) + skewness * std**3 / (6 * t**2)
        close(cells.log_mean_exp(x, t), wanted, f"t = {t:g}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_mean_exp_tends_to_the_maximum(dtype: torch.dtype) -> None:
    """Less t log n, and no overflow of x / t."""
    x = normal(1000, 2).to(dtype)
    top = x.double().amax(0, keepdim=True)
    for t in (1e-3, 1e-9, 1e-30):
        close(pp.Nodes(x).cells.log_mean_exp(x, t), top - t * math.log(1000), f"t = {t:g}")
    big = torch.tensor([[3e38], [-3e38], [1e38]])
    close(pp.Nodes(big).cells.log_mean_exp(big, 1.0), big[:1], "numbers near the largest")


@pytest.mark.parametrize("t", [1e-300, 1e-45, 1e-40, 1e-38, 1e38, 1e40, 1e300])
def test_temperatures_beyond_float32(t: float) -> None:
    """Any t > 0 and finite is allowed: the limits are what float32 values get."""
    x = normal(50, 2, dtype=torch.float32)
    wanted = x.double().amax(0, keepdim=True) if t < 1 else x.double().mean(0, keepdim=True)
    close(pp.build("logsumexp", t=t)(pp.Nodes(x)), wanted, "logsumexp")
    close(pp.build("softmax", t=t)(pp.Nodes(x)), wanted, "softmax")


@pytest.mark.parametrize("t", [0.01, 1.0, 100.0])
def test_infinities(t: float) -> None:
    """+inf is the limit, -inf counts for nothing but is counted, both NaN-free in values."""
    cases = {
        (1.0, INF, 2.0): INF,
        (INF, -INF): INF,
        (-INF, -INF): -INF,
        (INF, INF): INF,
        (0.0, -INF): t * math.log(0.5),
        (0.0, -INF, -INF, -INF): t * math.log(0.25),
        (NAN, INF): NAN,
    }
    for members, wanted in cases.items():
        x = torch.tensor(members, dtype=torch.float64)[:, None]
        found = pp.Nodes(x).cells.log_mean_exp(x, t)
        close(found, torch.tensor([[wanted]], dtype=torch.float64), f"{members}")


def test_one_member_among_a_million() -> None:
    """log1p(mean(expm1)) alone would cancel here."""
    x = torch.full((1_000_000, 1), -50.0)
    x[123] = 10.0
    close(pp.Nodes(x).cells.log_mean_exp(x, 1.0), torch.tensor([[10 - math.log(1e6)]]), "one in a million")
    x[:] = -1e4
    x[5] = 0.0
    close(pp.Nodes(x).cells.log_mean_exp(x, 1.0), torch.tensor([[-math.log(1e6)]]), "the others underflow")


def test_gradients_of_log_mean_exp_are_the_softmax_over_the_mass() -> None:
    x = normal(20, 2).requires_grad_()
    batch = torch.arange(20) % 3
    for t in (1e-3, 1.0, 1e6):
        layout = pp.Nodes(x, batch, 3)
        (found,) = torch.autograd.grad(layout.cells.log_mean_exp(x, t).sum(), x)
        close(found, layout.cells.softmax(x / t).detach(), f"t = {t:g}")


def test_gradients_where_members_underflow_are_finite() -> None:
    x = torch.tensor([[0.0], [-1e30], [-INF], [-200.0]], requires_grad=True)
    for t in (1e-30, 1e-3, 1.0):
        (gradient,) = torch.autograd.grad(pp.Nodes(x).cells.log_mean_exp(x, t).sum(), x)
        assert gradient.flatten().tolist() == [1.0, 0.0, 0.0, 0.0]
        (gradient,) = torch.autograd.grad(pp.build("softmax", t=t)(pp.Nodes(x)).sum(), x)
        assert bool(gradient.isfinite().all())


@every_bag
def test_softmax_against_loops(bag: Bag) -> None:
    scores, v = bag.numbers(3), bag.numbers(3, seed=1)

    def loop(x: Array, w: Array) -> Array:
        s, values = x[:, :3], x[:, 3:]
        e = w * np.exp(s - s.max(0))
        return np.concatenate([(e * values).sum(0) / e.sum(0)] * 2)

    both = torch.cat([scores, v], -1)
    wanted = bag.loop(both, loop)[:, :3]
    density = bag.cells.softmax(hidden(bag, scores))
    close(bag.cells.apply(density, v), wanted, "average under the softmax")
    close(bag.cells.attend(hidden(bag, scores), v), wanted, "attend")


@every_bag
def test_softmax_does_not_change_with_an_offset(bag: Bag) -> None:
    scores = bag.numbers(2)
    for offset in (1e3, -1e3, 1e12, -1e12):
        moved = scores + offset
        close(bag.cells.softmax(hidden(bag, moved)), bag.cells.softmax(moved - offset), f"offset {offset:g}")


def test_members_at_infinity_share_the_whole() -> None:
    x = torch.tensor([[INF], [1.0], [INF], [-INF]], dtype=torch.float64)
    assert pp.Nodes(x).cells.softmax(x).flatten().tolist() == [0.5, 0.0, 0.5, 0.0]
    lost = torch.full((4, 1), -INF, dtype=torch.float64)
    assert pp.Nodes(lost).cells.softmax(lost).flatten().tolist() == [0.25] * 4
    weight = torch.tensor([3.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    shares = pp.Nodes(x, weight=weight).cells.softmax(x)
    close(
        weight[:, None] * shares,
        torch.tensor([[0.75], [0.0], [0.25], [0.0]], dtype=torch.float64),
        "weighted",
    )


def test_nan_scores_stay_in_their_cell() -> None:
    x = torch.tensor([[1.0], [NAN], [2.0], [3.0]], dtype=torch.float64)
    density = pp.Nodes(x, torch.tensor([0, 0, 1, 1])).cells.softmax(x).flatten()
    assert bool(density[:2].isnan().all())
    close(density[2:].sum(), torch.tensor(1.0, dtype=torch.float64), "the other cell")


def test_a_temperature_may_be_a_tensor() -> None:
    x = normal(30, 2)
    cells = pp.Nodes(x).cells
    t = torch.tensor([0.5, 3.0], dtype=torch.float64)
    found = cells.log_mean_exp(x, t)
    for channel, one in enumerate((0.5, 3.0)):
        identical(found[:, channel], cells.log_mean_exp(x, one)[:, channel], f"channel {channel}")
