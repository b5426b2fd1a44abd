"""The operations as torch sees them: schemas, shapes and strides without values, derivatives of both orders."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.library import opcheck

from polypool.ops.cpu import team
from polypool.ops.exponential import op
from polypool.ops.source import Source
from tests.ops.moments.sources import DTYPES, dense, listed
from tests.support import normal

ops = torch.ops.polypool
SOURCES: dict[str, Source] = {
    "listed": listed((3, 0, 70), 5),
    "shuffled": listed((3, 0, 70), 5, shuffled=True),
    "listed, weights": listed((3, 0, 70), 6, heads=1, shuffled=True),
    "listed, one channel": listed((3, 0, 70), 1),
    "listed, one channel, weights": listed((3, 0, 70), 1, heads=1, shuffled=True),
    "dense": dense(2, 70, 6),
    "dense, weights": dense(2, 70, 6, heads=1),
    "contiguous": dense(2, 70, 6, first=True),
    "contiguous, weights": dense(2, 70, 6, heads=1, first=True),
    "a crop": Source(normal(2, 71, 9)[:, 1:, :6].detach()),
    "cells innermost": Source(normal(70, 6, 2).permute(2, 0, 1)),
}
every_source = pytest.mark.parametrize("name", SOURCES)
#: Sources for which opcheck compiles the operation, and what it looks at for the others.
COMPILED = ("listed", "contiguous, weights")
QUICK = ("test_schema", "test_autograd_registration", "test_faketensor")


def check(operation: Any, inputs: tuple[Any, ...], compiled: bool = False) -> None:
    opcheck(operation, inputs, test_utils=(*QUICK, "test_aot_dispatch_dynamic") if compiled else QUICK)


@every_source
def test_schemas(name: str) -> None:
    values, offsets, rows, weight = SOURCES[name]
    dtype = torch.promote_types(values.dtype, torch.float32)
    inputs = (values.detach().requires_grad_(), offsets, rows, weight)
    learned = torch.full((values.shape[-1],), 0.7, dtype=dtype, requires_grad=True)
    for operation in (ops.average.default, ops.log_mean_exp.default):
        check(operation, (*inputs, 0.7, None, True, False), name in COMPILED)
        check(operation, (values, *inputs[1:], 0.7, None, False, False))
        check(operation, (*inputs, 1.0, learned, True, True), name in COMPILED)
    check(ops.softmax.default, (*inputs, 0.7, None), name in COMPILED)


@every_source
def test_schemas_of_gradients(name: str) -> None:
    source = SOURCES[name]
    for operation, backward in (
        (ops.average, ops.average_backward),
        (ops.log_mean_exp, ops.log_mean_exp_backward),
    ):
        out, kept = operation(*source, 0.7, None, True, False)
        check(backward.default, (torch.ones_like(out), *source, 0.7, None, kept))
    density = ops.softmax(*source, 0.7, None)
    check(ops.softmax_backward.default, (normal(*density.shape).to(density), *source, 0.7, None, density))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype: torch.dtype) -> None:
    for source in (listed((3, 70), 5, dtype), dense(2, 70, 6, dtype, heads=1, first=True)):
        inputs = (source.values.requires_grad_(), *source[1:])
        check(ops.average.default, (*inputs, 0.7, None, True, False))
        check(ops.softmax.default, (*inputs, 0.7, None))


def test_no_cells_and_no_members() -> None:
    for source in (
        Source(torch.zeros(0, 3), torch.tensor([0, 0])),
        Source(torch.zeros(0, 3), torch.tensor([0])),
        Source(torch.zeros(2, 0, 3)),
        Source(torch.zeros(0, 1), torch.tensor([0, 0])),
    ):
        inputs = (source.values.requires_grad_(), *source[1:])
        check(ops.average.default, (*inputs, 1.0, None, True, False))
        check(ops.softmax.default, (*inputs, 1.0, None))
        assert not op.log_mean_exp(source, 1.0).any()


def small(shape: str, weighted: bool) -> tuple[Tensor, Any]:
    """Values in float64, and how they become a source."""
    weight = (
        torch.tensor([0.5, 1.0, 0.0, 2.0, 0.3, 1.5, 0.2], dtype=torch.float64)[:, None] if weighted else None
    )
    if shape == "listed":
        return normal(7, 2), lambda x: Source(x, torch.tensor([0, 3, 3, 7]), None, weight)
    if shape == "shuffled":
        order = torch.tensor([3, 1, 0, 6, 5, 2, 4])
        return normal(7, 2), lambda x: Source(x, torch.tensor([0, 3, 3, 7]), order, weight)
    if shape == "one channel":
        order = torch.tensor([3, 1, 0, 6, 5, 2, 4])
        return normal(7, 1), lambda x: Source(x, torch.tensor([0, 3, 3, 7]), order, weight)
    share = None if weight is None else weight[None].expand(2, -1, -1)
    if shape == "dense":
        return normal(2, 7, 2), lambda x: Source(x, weight=share)
    return normal(2, 2, 7), lambda x: Source(x.transpose(1, 2), weight=share)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", ["listed", "shuffled", "one channel", "dense", "contiguous"])
def test_derivatives_of_both_orders(shape: str, weighted: bool) -> None:
    values, make = small(shape, weighted)
    x = values.requires_grad_()
    one = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    each = torch.linspace(0.7, 1.1, x.shape[1] if shape == "contiguous" else x.shape[-1], dtype=torch.float64)
    for parameter in (one, each.requires_grad_()):
        for operation in (op.average, op.log_mean_exp):
            assert gradcheck(lambda x, p, f=operation: f(make(x), p), (x, parameter))
            assert gradgradcheck(lambda x, p, f=operation: f(make(x), p), (x, parameter))
    assert gradcheck(lambda x, p: op.softmax(make(x), p), (x, one))
    for operation in (op.average, op.log_mean_exp, op.softmax):
        assert gradcheck(lambda x, f=operation: f(make(x), 0.7), (x,))
        assert gradgradcheck(lambda x, f=operation: f(make(x), 0.7), (x,))


def test_only_what_is_needed_is_kept_and_computed() -> None:
    source = SOURCES["listed"]
    assert not ops.average(*source, 1.0, None, False, False)[1].numel()
    learned = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    before = team.launches()
    op.average(source, learned).sum().backward()
    after = team.launches()
    assert {name for name, times in after.items() if times != before.get(name, 0)} == {"exponentials_of_rows"}
    assert learned.grad is not None


def test_what_changed_after_the_forward_pass_is_noticed() -> None:
    x = normal(7, 3).requires_grad_()
    y = x * 1
    result = op.average(Source(y, torch.tensor([0, 7])), 1.0)
    with torch.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.sum().backward()
