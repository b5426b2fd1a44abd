"""The operations as torch sees them: schemas, shapes and strides without values, no aliases, dynamic sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from polypool.ops.moments import CODES
from polypool.ops.source import Source
from tests.ops.moments.sources import ALL, DTYPES, dense, listed
from tests.support import normal

ops = torch.ops.polypool
#: Without a trace of a whole program, which takes most of the time.
UNTRACED = ("test_schema", "test_autograd_registration", "test_faketensor")
LEARNED = ("sum", "mean", "m2")
SOURCES: dict[str, Source] = {
    "listed": listed((3, 0, 70), 5),
    "shuffled": listed((3, 0, 70), 5, shuffled=True),
    "listed, weights": listed((3, 0, 70), 6, heads=1, shuffled=True),
    "listed, heads": listed((3, 0, 70), 6, heads=3),
    "listed, one channel": listed((3, 0, 70), 1),
    "dense": dense(2, 70, 6),
    "dense, weights": dense(2, 70, 6, heads=2),
    "contiguous": dense(2, 70, 6, first=True),
    "contiguous, weights": dense(2, 70, 6, heads=2, first=True),
    "a crop": Source(normal(2, 71, 9)[:, 1:, :6].detach()),
    "cells innermost": Source(normal(70, 6, 2).permute(2, 0, 1)),
}
every_source = pytest.mark.parametrize("name", SOURCES)


def codes(keys: Sequence[str]) -> list[int]:
    return [CODES.index(key) for key in keys]


@every_source
def test_moments(name: str) -> None:
    values, offsets, rows, weight = SOURCES[name]
    inputs = [values.detach().requires_grad_(), offsets, rows, weight]
    opcheck(ops.moments.default, (*inputs, codes(ALL)))
    if weight is not None:
        learned = weight.detach().clone().requires_grad_()
        opcheck(ops.moments.default, (*inputs[:3], learned, codes(LEARNED)))


@every_source
def test_their_gradients(name: str) -> None:
    source = SOURCES[name]
    for keys in (ALL, LEARNED) if source.weight is not None else (ALL,):
        stats, places, mass = ops.moments(*source, codes(keys))
        known = (torch.ones_like(stats), *source, stats, places, mass, codes(keys))
        opcheck(ops.moments_backward.default, known, test_utils=UNTRACED)
        if keys is LEARNED:
            opcheck(ops.moments_backward_of_weight.default, known, test_utils=UNTRACED)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype: torch.dtype) -> None:
    for source in (listed((3, 70), 5, dtype), dense(2, 70, 6, dtype, heads=1, first=True)):
        values, offsets, rows, weight = source
        given = (values.requires_grad_(), offsets, rows, weight, codes(("mean", "max")))
        opcheck(ops.moments.default, given, test_utils=UNTRACED)


def test_no_cells_and_no_members() -> None:
    for source in (
        Source(torch.zeros(0, 3), torch.tensor([0, 0])),
        Source(torch.zeros(0, 3), torch.tensor([0])),
        Source(torch.zeros(2, 0, 3)),
    ):
        values, *others = source
        opcheck(ops.moments.default, (values.requires_grad_(), *others, codes(ALL)))


@every_source
def test_shapes_on_the_meta_device(name: str) -> None:
    """What is computed without values has the shapes, dtypes and strides of what is computed with them."""
    source = SOURCES[name]
    meta = [None if t is None else t.to("meta") for t in source]
    for keys in (("sum",), ("max", "mean"), ALL):
        found, wanted = ops.moments(*meta, codes(keys)), ops.moments(*source, codes(keys))
        assert [described(t) for t in found] == [described(t) for t in wanted]


def described(tensor: Tensor) -> Any:
    return tensor.shape, tensor.dtype, tensor.stride()


def test_results_are_new_tensors() -> None:
    """Writing to a result changes neither the values nor a later gradient of another result."""
    source = dense(2, 70, 6)
    before = source.values.clone()
    for tensor in ops.moments(*source, codes(ALL)):
        tensor.zero_()
    assert torch.equal(source.values, before)


def test_what_changed_after_the_forward_pass_is_noticed() -> None:
    """The values are saved, and torch's own check sees that they are not what they were."""
    x = normal(7, 3).requires_grad_()
    y = x * 1
    stats = ops.moments(y, torch.tensor([0, 7]), None, None, codes(("mean", "m2")))[0]
    y.data_ptr()
    with torch.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        stats.sum().backward()


def test_only_what_is_needed_is_computed() -> None:
    """No gradient of values that want none, none of weights that want none."""
    from polypool.ops.cpu import team

    values, offsets, rows, weight = SOURCES["listed, weights"]
    assert weight is not None
    learned = weight.clone().requires_grad_()
    before = team.launches()
    ops.moments(values, offsets, rows, learned, codes(LEARNED))[0].sum().backward()
    after = team.launches()
    ran = {name for name, times in after.items() if times != before.get(name, 0)}
    assert ran == {"moments_of_rows", "gradients_of_shares"}
    assert learned.grad is not None
    assert values.grad is None
