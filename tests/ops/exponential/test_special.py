"""Infinities, NaN, underflow and extreme temperatures: what the definition says, and the neighbours untouched."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.cells.listed import cells_of
from polypool.ops.exponential import op, reference
from polypool.ops.source import Source
from polypool.testing.tolerances import Tolerance
from tests.ops.exponential.loops import measured
from tests.support import TOLERANCES, close, identical, normal

INF, NAN = float("inf"), float("nan")

#: The same cell of numbers `(n, C)` in every way that kernels go through memory.
SHAPES: dict[str, Callable[[Tensor], Source]] = {
    "listed": lambda x: Source(x, torch.tensor([0, x.shape[0]])),
    "shuffled": lambda x: Source(x, torch.tensor([0, x.shape[0]]), torch.arange(x.shape[0]).flip(0)),
    "dense": lambda x: Source(x[None]),
    "contiguous": lambda x: Source(x.T.contiguous().T[None]),
    "weights": lambda x: Source(x[None], weight=torch.full((1, x.shape[0], 1), 0.5)),
    "contiguous, weights": lambda x: Source(
        x.T.contiguous().T[None], weight=torch.full((1, x.shape[0], 1), 0.5)
    ),
    "one channel, listed": lambda x: Source(x[:, :1].contiguous(), torch.tensor([0, x.shape[0]])),
}
every_shape = pytest.mark.parametrize("shape", SHAPES)

DEFINED = {
    "average": lambda cells, k: reference.attend(cells, cells.rows, cells.rows, 1 / k),
    "log_mean_exp": lambda cells, t: reference.log_mean_exp(cells, cells.rows, t),
    "softmax": lambda cells, k: reference.softmax(cells, cells.rows, 1 / k),
}


def defined(name: str, source: Source, parameter: float) -> Tensor:
    with pp.kernels("reference"):
        result = DEFINED[name](cells_of(source), parameter)
    if name == "softmax" and source.rows is not None:
        result = torch.zeros_like(result).index_copy(0, source.rows, result)
    return result


def cell(members: tuple[float, ...], dtype: torch.dtype, among: int) -> Tensor:
    """These numbers in channel 0, spread over so many; the other channels are ordinary."""
    x = normal(max(among, len(members)), 3, dtype=dtype)
    x[:, 0] = members[-1]
    places = torch.linspace(0, len(x) - 1, len(members)).long()
    x[places, 0] = torch.tensor(members, dtype=dtype)
    return x


CASES = (
    (INF, INF),
    (-INF, -INF),
    (INF, -INF),
    (-INF, INF, -INF),
    (1.0, INF, 2.0),
    (0.0, -INF, -INF, -INF),
    (NAN, INF),
    (INF, NAN, 1.0),
    (-INF, NAN),
    (1.0, NAN),
)


@every_shape
@pytest.mark.parametrize(
    ("among", "k", "dtype"),
    [(1, 0.01, torch.float32), (70, 1.0, torch.float64), (2000, 100.0, torch.float32)],
)
def test_what_is_not_finite(shape: str, among: int, k: float, dtype: torch.dtype) -> None:
    for members, name in itertools.product(CASES, DEFINED):
        source = SHAPES[shape](cell(members, dtype, among))
        found, gradient, *_ = measured(name, source, k)
        wanted = defined(name, source, k)
        where = f"{name} of {members} at {k}"
        close(found, wanted, where)
        # What is not finite is in its channel alone.
        clean = SHAPES[shape](cell((1.0,) * len(members), dtype, among))
        without, *others = measured(name, clean, k)
        if found.shape[-1] > 1:
            identical(found[..., 1:], without[..., 1:], f"other channels, {where}")
            identical(gradient[..., 1:], others[0][..., 1:], f"gradients of other channels, {where}")


@every_shape
def test_members_at_minus_infinity_have_no_gradient(shape: str) -> None:
    x = cell((0.0, -INF, 1.0, -INF, -1e30, -200.0), torch.float32, 6)
    for name, k in itertools.product(DEFINED, (1.0, 1e3, 1e30)):
        _, gradient, *_ = measured(name, SHAPES[shape](x), k if name != "log_mean_exp" else 1 / k)
        assert bool(gradient.isfinite().all())
        assert not gradient[..., 0].flatten()[torch.tensor([1, 3, 4])].any()


@every_shape
def test_members_at_infinity_share_the_gradient_of_an_average(shape: str) -> None:
    source = SHAPES[shape](cell((1.0, INF, INF, -INF), torch.float32, 4))
    values = source.values.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(op.average(source._replace(values=values), 1.0)[..., 0].sum(), values)
    assert gradient[..., 0].flatten().tolist() == [0.0, 0.5, 0.5, 0.0]


@every_shape
@pytest.mark.parametrize("t", [1e-300, 1e-45, 1e-40, 1e-38, 1e38, 1e40, 1e300])
def test_temperatures_beyond_float32(shape: str, t: float) -> None:
    x = normal(50, 3, dtype=torch.float32)
    source = SHAPES[shape](x)
    wanted = x.double().amax(0) if t < 1 else x.double().mean(0)
    for found in (op.average(source, 1 / t if t > 1e-308 else INF), op.log_mean_exp(source, t)):
        close(found[0], wanted[: found.shape[1]], f"t = {t:g}")


@every_shape
@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_log_mean_exp_tends_to_the_mean(shape: str, offset: float) -> None:
    """Where the logarithm of the mean has cancelled to 0 or to noise."""
    x = (offset + normal(1000, 3)).float()
    for t in (1e4, 1e6, 1e9, 1e20):
        wanted = t * (torch.logsumexp(x.double() / t, 0) - math.log(1000)) if t < 1e5 else x.double().mean(0)
        found = op.log_mean_exp(SHAPES[shape](x), t)[0]
        close(found, wanted[: len(found)], f"t = {t:g}", Tolerance(1e-6, 1e-6))


@every_shape
def test_numbers_near_the_largest(shape: str) -> None:
    x = torch.tensor([[3e38], [-3e38], [1e38]]).expand(3, 3).clone()
    for k in (1e-3, 1.0, 1e3):
        close(op.average(SHAPES[shape](x), k).flatten()[:1], torch.tensor([3e38]), f"average at {k}")
        close(
            op.log_mean_exp(SHAPES[shape](x), k).flatten()[:1], torch.tensor([3e38]), f"log-mean-exp at {k}"
        )


@every_shape
def test_equal_members(shape: str) -> None:
    """Their mean is what they are, to the last bit, and they share evenly."""
    for n, value in itertools.product((1, 3, 65, 3000), (0.1, -1e4, 1e30)):
        source = SHAPES[shape](torch.full((n, 3), value))
        expected = torch.full((1, source.values.shape[-1]), value)
        for k in (-3.0, 1e-3, 1.0, 1e9):
            identical(op.average(source, k), expected, f"average of {n}")
            identical(op.log_mean_exp(source, k), expected, f"log-mean-exp of {n}")
            share = 1 / n if source.weight is None else 2 / n
            close(op.softmax(source, k), torch.full(source.values.shape, share), f"softmax of {n}")


def test_one_member_among_a_million() -> None:
    """The logarithm of one plus what the mean lacks alone would cancel here."""
    x = torch.full((1_000_000, 1), -50.0)
    x[123] = 10.0
    for values in (x, x.expand(-1, 2).contiguous()):
        source = Source(values, torch.tensor([0, 1_000_000]))
        close(op.log_mean_exp(source, 1.0)[:, :1], torch.tensor([[10 - math.log(1e6)]]), "one in a million")
        close(
            op.log_mean_exp(source, 1e-3)[:, :1], torch.tensor([[10 - 1e-3 * math.log(1e6)]]), "all underflow"
        )


def test_what_has_no_weight_is_not_read() -> None:
    for bad, channels in itertools.product((NAN, INF, -INF, 1e30), (1, 3, 70)):
        x = normal(300, channels, dtype=torch.float32)
        w = (torch.arange(300) % 3 > 0).float()[:, None]
        worse = x.clone()
        worse[::3] = bad
        offsets = torch.tensor([0, 0, 130, 300])
        for name in DEFINED:
            found, gradient, *_ = measured(name, Source(worse, offsets, None, w), 1.0)
            wanted, clean, *_ = measured(name, Source(x, offsets, None, w), 1.0)
            identical(found, wanted, name)
            identical(gradient, clean, f"gradient of {name}")
            assert not gradient[::3].any()


def test_no_weight_at_all() -> None:
    """A cell whose weights are 0 is empty: 0, and no gradient."""
    x = torch.full((140, 70), NAN)
    for values in (x, x[:, :1].contiguous()):
        source = Source(values, torch.tensor([0, 70, 70, 140]), None, torch.zeros(140, 1))
        for name in DEFINED:
            for result in measured(name, source, torch.tensor([1.0])):
                assert not result.any()


def test_gradients_of_unread_densities_may_be_anything() -> None:
    x, w = normal(100, 2, dtype=torch.float32), (torch.arange(100) % 2).float()[:, None]
    for rows in (None, torch.arange(100).flip(0)):
        for values in (x, x[:, :1].contiguous()):
            source = Source(values.requires_grad_(), torch.tensor([0, 40, 100]), rows, w)
            density = op.softmax(source, 1.0)
            grad = normal(*density.shape, dtype=torch.float32)
            (wanted,) = torch.autograd.grad(density, values, grad, retain_graph=True)
            (found,) = torch.autograd.grad(density, values, grad.masked_fill(density == 0, NAN))
            identical(found, wanted, "gradient")


def test_scores_far_from_zero() -> None:
    """Only differences count."""
    scores = normal(500, 2, dtype=torch.float32)
    for offset, shape in itertools.product((1e3, -1e3, 1e4), ("listed", "contiguous", "one channel, listed")):
        moved = scores + offset
        found, wanted = (op.softmax(SHAPES[shape](x), 1.0) for x in (moved, moved - offset))
        close(found, wanted, f"{shape}, offset {offset:g}", TOLERANCES[torch.float32])
