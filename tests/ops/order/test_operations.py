"""The operations as torch sees them: schemas, shapes and strides without values, and derivatives of derivatives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from polypool.ops.cpu import team
from polypool.ops.order import op
from polypool.ops.source import Source
from polypool.testing.tolerances import Tolerance
from tests.ops.moments.sources import DTYPES, dense, listed
from tests.ops.order.loops import ASKED, cotangent, measured
from tests.ops.order.test_sizes import padded
from tests.support import close

ops = torch.ops.polypool
#: Without a trace of a whole program, which takes most of the time.
UNTRACED = ("test_schema", "test_autograd_registration", "test_faketensor")
SOURCES: dict[str, Source] = {
    "listed": listed((3, 0, 70), 5),
    "shuffled": listed((3, 0, 70), 5, shuffled=True),
    "listed, one channel": listed((3, 0, 70), 1),
    "dense": dense(2, 70, 6),
    "padded": padded(dense(2, 70, 6)),
    "contiguous": dense(2, 70, 6, first=True),
    "contiguous, padded": padded(dense(2, 70, 6, first=True)),
}
every_source = pytest.mark.parametrize("name", SOURCES)
every_operation = pytest.mark.parametrize(("operation", "asked"), [ASKED[1], ASKED[2], ASKED[5]])


def called(operation: str) -> Any:
    return getattr(ops, operation).default


@every_source
@every_operation
def test_the_operation(operation: str, asked: Any, name: str) -> None:
    values, *others = SOURCES[name]
    opcheck(called(operation), (values.detach().requires_grad_(), *others, asked, True))


@every_source
@every_operation
def test_its_gradient(operation: str, asked: Any, name: str) -> None:
    found = called(operation)(*SOURCES[name], asked, True)
    known = (cotangent(found[0]), *SOURCES[name], asked, *found)
    opcheck(called(f"{operation}_backward"), known, test_utils=UNTRACED)


@pytest.mark.parametrize("dtype", DTYPES)
@every_operation
def test_dtypes(operation: str, asked: Any, dtype: torch.dtype) -> None:
    for source in (listed((3, 70), 5, dtype), dense(2, 70, 6, dtype, first=True)):
        values, *others = source
        opcheck(called(operation), (values.requires_grad_(), *others, asked, True), test_utils=UNTRACED)


@every_operation
def test_no_cells_and_no_members(operation: str, asked: Any) -> None:
    for source in (
        Source(torch.zeros(0, 3), torch.tensor([0, 0])),
        Source(torch.zeros(0, 3), torch.tensor([0])),
        Source(torch.zeros(2, 0, 3)),
    ):
        values, *others = source
        opcheck(called(operation), (values.requires_grad_(), *others, asked, True))
        assert not called(operation)(*source, asked, False)[0].any()


@every_source
@every_operation
def test_shapes_on_the_meta_device(operation: str, asked: Any, name: str) -> None:
    """What is computed without values has the shapes, dtypes and strides of what is computed with them."""
    source = SOURCES[name]
    meta = [None if t is None else t.to("meta") for t in source]
    for keep in (False, True):
        found, wanted = called(operation)(*meta, asked, keep), called(operation)(*source, asked, keep)
        assert [described(t) for t in found] == [described(t) for t in wanted]


def described(tensor: Tensor) -> Any:
    return tensor.shape, tensor.dtype, tensor.stride()


@every_source
@every_operation
def test_derivatives_of_derivatives(operation: str, asked: Any, name: str) -> None:
    """A gradient is linear in what it is taken with, and does not change with the values."""
    source = SOURCES[name]
    values = source.values.detach().double().requires_grad_()
    source = source._replace(values=values, weight=None if source.weight is None else source.weight.double())
    result = getattr(op, operation)(source, asked)
    g = cotangent(result).requires_grad_()
    (gradient,) = torch.autograd.grad(result, values, g, create_graph=True)
    close(gradient.detach(), measured(operation, asked, source)[1], "gradient")
    other = cotangent(gradient)
    of_g, of_values = torch.autograd.grad(
        gradient, (g, values), other, allow_unused=True, materialize_grads=True
    )
    # The other way round: the result is linear in the values as long as their order stays.
    step = 1e-7
    moved = getattr(op, operation)(source._replace(values=values.detach() + step * other), asked)
    close(of_g, (moved - result.detach()) / step, "second derivative", Tolerance(1e-4, 1e-4))
    assert not of_values.any()


@every_operation
def test_what_was_not_kept_is_found_again(operation: str, asked: Any) -> None:
    source = SOURCES["listed"]
    values = source.values.detach().requires_grad_()
    result = called(operation)(values, *source[1:], asked, False)[0]
    (gradient,) = torch.autograd.grad(result, values, cotangent(result))
    close(gradient, measured(operation, asked, source)[1], "gradient")


def test_gradients_of_quantiles_do_not_keep_more_than_places() -> None:
    """And the kernels ran."""
    before = team.launches()
    measured("quantiles", (0.5,), SOURCES["listed"])
    measured("top", 2, SOURCES["contiguous"])
    ran = {name for name, times in team.launches().items() if times != before.get(name, 0)}
    assert ran == {
        "quantiles_of_tiles",
        "means_of_kept",
        "gradients_of_order_in_rows",
        "gradients_of_order_in_stretches",
    }
