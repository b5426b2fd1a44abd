"""The operations as torch sees them, first and second derivatives, and powers that kernels leave to the definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.library import opcheck

from polypool.ops.cpu import team
from polypool.ops.power import op
from polypool.ops.source import Source
from tests.ops.moments.sources import DTYPES, dense, listed
from tests.ops.power.cases import Setting, agree
from tests.support import normal

ops = torch.ops.polypool
#: Without a trace of a whole program, which takes most of the time.
UNTRACED = ("test_schema", "test_autograd_registration", "test_faketensor")
SOURCES: dict[str, Source] = {
    "listed": listed((3, 0, 70), 5),
    "shuffled": listed((3, 0, 70), 5, shuffled=True),
    "listed, weights": listed((3, 0, 70), 6, heads=1, shuffled=True),
    "listed, one channel": listed((3, 0, 70), 1),
    "dense": dense(2, 70, 6),
    "dense, weights": dense(2, 70, 6, heads=1),
    "contiguous": dense(2, 70, 6, first=True),
    "contiguous, weights": dense(2, 70, 6, heads=1, first=True),
    "a crop": Source(normal(2, 71, 9)[:, 1:, :6].detach()),
}
every_source = pytest.mark.parametrize("name", SOURCES)


def powers(channels: int) -> tuple[tuple[float, Tensor | None], ...]:
    """One number, and a tensor of one and of C."""
    learned = torch.linspace(1.5, 3.0, channels, dtype=torch.float64)
    return (2.5, None), (1.0, learned[:1].clone().requires_grad_()), (1.0, learned.requires_grad_())


@every_source
def test_the_operation(name: str) -> None:
    values, *others = SOURCES[name]
    for number, learned in powers(values.shape[-1]):
        given: tuple[Any, ...] = (values.detach().requires_grad_(), *others, number, learned)
        opcheck(ops.power_mean.default, (*given, False, 1e-3))
        opcheck(ops.power_mean.default, (*given, True, None), test_utils=UNTRACED)


@every_source
def test_its_gradients(name: str) -> None:
    source = SOURCES[name]
    for number, learned in powers(source.values.shape[-1]):
        power = (number, None if learned is None else learned.detach(), False, 1e-3)
        out, mass = ops.power_mean(*source, *power)
        known = (torch.ones_like(out), *source, *power, out, mass, learned is not None)
        opcheck(ops.power_mean_backward.default, known, test_utils=UNTRACED)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype: torch.dtype) -> None:
    for source in (listed((3, 70), 5, dtype), dense(2, 70, 6, dtype, heads=1, first=True)):
        values, *others = source
        given = (values.requires_grad_(), *others, 1.0, torch.tensor([3.0], requires_grad=True), False, 1e-6)
        opcheck(ops.power_mean.default, given, test_utils=UNTRACED)


@every_source
@pytest.mark.parametrize("signed", [False, True])
def test_derivatives(name: str, signed: bool) -> None:
    """Of values and p: by kernels once, and through the definition for those of derivatives."""
    source = SOURCES[name]
    x = (source.values.double().abs() + 0.25).requires_grad_()
    weight = None if source.weight is None else source.weight.double()
    for number, learned in powers(x.shape[-1]):

        def mean(x: Tensor, *p: Tensor, number: float = number) -> Tensor:
            given = Source(x, source.offsets, source.rows, weight)
            return op.power_mean(given, p[0] if p else number, signed)

        inputs = (x,) if learned is None else (x, learned.detach().requires_grad_())
        assert gradcheck(mean, inputs, fast_mode=True)
        assert gradgradcheck(mean, inputs, fast_mode=True)


def test_only_the_gradient_of_p() -> None:
    """Where the values need none."""
    source, p = listed((3, 70), 5), torch.tensor([3.0], requires_grad=True)
    (alone,) = torch.autograd.grad(op.power_mean(source, p).sum(), p)
    values = source.values.requires_grad_()
    both = torch.autograd.grad(op.power_mean(source._replace(values=values), p).sum(), (values, p))
    assert torch.equal(alone, both[1])


@pytest.mark.parametrize("p", [-1.0, torch.tensor([-2.0]), torch.tensor([1.0, -1.0, 2.0])], ids=str)
def test_powers_that_are_not_positive(p: float | Tensor) -> None:
    """A learned p may cross 0; the definition goes on."""
    before = team.launches()
    for source in (listed((3, 70), 3), dense(2, 70, 3, first=True)):
        agree(source._replace(values=source.values.abs() + 0.25), Setting(p))
    assert team.launches() == before
