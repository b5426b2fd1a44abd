"""What `as_layout` will not guess."""

from __future__ import annotations

import warnings
from typing import Any, cast

import pytest
import torch
from torch import Tensor

import polypool as pp
from tests.bad_input.cases import (
    Case,
    check,
    ends,
    graphs,
    long,
    mask2,
    mask4,
    named,
    pixels,
    rows,
    states,
)
from tests.support import nested, normal


def strided() -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls this form a prototype
        return torch.nested.nested_tensor([rows, rows[:2]], layout=torch.strided)


def with_holes() -> Tensor:
    return torch.nested.nested_tensor_from_jagged(rows, offsets=long(0, 3, 5), lengths=long(2, 1))


def ambiguous(name: str, x: Tensor) -> Case:
    choices = (
        "could be several things",
        "Grid(x)",
        "Tokens(x, mask)",
        "mask=/lengths=",
        "Packed(x, offsets)",
        "batch=",
    )
    return Case(name, lambda: pp.as_layout(x), ValueError, (str(tuple(x.shape)), *choices), parts=False)


of_layout = pp.Tokens(states)


@named(
    [
        ambiguous("bare-3d", states),
        ambiguous("bare-2d", rows),
        ambiguous("bare-1d", rows[:, 0]),
        ambiguous("bare-0d", rows.sum()),
        ambiguous("bare-6d", normal(1, 1, 1, 1, 1, 2)),
        Case(
            "mask-and-lengths",
            lambda: pp.as_layout(states, mask=mask2, lengths=long(1, 2)),
            ValueError,
            ("at most one of mask, lengths, offsets and batch", "found mask and lengths"),
        ),
        Case(
            "offsets-and-batch",
            lambda: pp.as_layout(rows, offsets=ends, batch=graphs),
            ValueError,
            ("at most one of mask, lengths, offsets and batch", "found offsets and batch"),
        ),
        Case(
            "grid-and-batch",
            lambda: pp.as_layout(pixels, mask=mask4, batch=graphs),
            ValueError,
            ("at most one of", "found mask and batch"),
        ),
        Case(
            "graphs-alone",
            lambda: pp.as_layout(rows, num_graphs=2),
            ValueError,
            ("num_graphs goes with batch", "found it alone"),
        ),
        Case(
            "graphs-with-offsets",
            lambda: pp.as_layout(rows, offsets=ends, num_graphs=2),
            ValueError,
            ("num_graphs goes with batch",),
        ),
        Case(
            "layout-and-mask",
            lambda: pp.as_layout(of_layout, mask=mask2),
            ValueError,
            ("a layout already says where its elements are", "found mask"),
        ),
        Case(
            "layout-and-graphs",
            lambda: pp.as_layout(of_layout, num_graphs=2),
            ValueError,
            ("a layout already says", "found num_graphs"),
        ),
        Case(
            "layout-and-two",
            lambda: pp.as_layout(of_layout, lengths=long(1, 2), batch=graphs),
            ValueError,
            ("a layout already says", "found lengths and batch"),
        ),
        Case(
            "nested-and-offsets",
            lambda: pp.as_layout(nested(rows), offsets=ends),
            ValueError,
            ("a nested tensor already says where its elements are", "found offsets"),
        ),
        Case(
            "nested-strided",
            lambda: pp.as_layout(strided()),
            ValueError,
            ("a nested tensor must be jagged, (B, *, C)", "layout=torch.jagged"),
            parts=False,
        ),
        Case(
            "nested-no-channels",
            lambda: pp.as_layout(nested(rows[:, 0], rows[:2, 0])),
            ValueError,
            ("a nested tensor must be jagged, (B, *, C)",),
            parts=False,
        ),
        Case(
            "nested-transposed",
            lambda: pp.as_layout(nested(rows, rows).transpose(1, 2)),
            ValueError,
            ("a nested tensor must be jagged, (B, *, C)",),
            parts=False,
        ),
        Case(
            "nested-holes",
            lambda: pp.as_layout(with_holes()),
            ValueError,
            ("must have no holes", ".contiguous()"),
            parts=False,
        ),
        Case(
            "nested-int",
            lambda: pp.as_layout(nested(rows.long())),
            TypeError,
            ("values must be of a floating dtype", "found torch.int64", ".float()"),
        ),
        Case(
            "list",
            lambda: pp.as_layout(cast("Any", rows.tolist())),
            TypeError,
            ("expected a layout or a torch.Tensor", "found list"),
        ),
        Case(
            "array",
            lambda: pp.as_layout(cast("Any", pixels.numpy())),
            TypeError,
            ("expected a layout or a torch.Tensor", "found ndarray"),
        ),
        Case(
            "int",
            lambda: pp.as_layout(pixels.long()),
            TypeError,
            ("values must be of a floating dtype", "found torch.int64", ".float()"),
        ),
        Case(
            "offsets-4d",
            lambda: pp.as_layout(pixels, offsets=ends),
            ValueError,
            ("values must have shape (N, C)", "found (2, 3, 4, 5)"),
        ),
        Case(
            "batch-3d",
            lambda: pp.as_layout(states, batch=graphs),
            ValueError,
            ("values must have shape (N, C)", "found (2, 4, 3)"),
        ),
        Case(
            "lengths-4d",
            lambda: pp.as_layout(pixels, lengths=long(1, 2)),
            ValueError,
            ("values must have shape (B, T, C)", "found (2, 3, 4, 5)"),
        ),
        Case(
            "mask-2d",
            lambda: pp.as_layout(rows, mask=torch.ones(5).bool()),
            ValueError,
            ("values must have shape (B, T, C)", "found (5, 3)"),
        ),
    ]
)
def test_as_layout(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("way_in", ["pool", "block"])
def test_no_guessing_through_pools_and_blocks(way_in: str) -> None:
    call: Any = pp.build("mean") if way_in == "pool" else pp.blocks.SqueezeExcite(3, 1).double()
    with pytest.raises(ValueError, match="could be several things"):
        call(states)
    with pytest.raises(TypeError, match=r"expected a layout or a torch.Tensor; found list"):
        call(rows.tolist())
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        call(states, attention_mask=mask2)
    with pytest.raises(ValueError, match="a layout already says"):
        call(of_layout, mask=mask2)
