"""Spans that are none."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

import polypool as pp
from tests.bad_input.cases import (
    Case,
    check,
    long,
    named,
    rows,
    spans,
    states,
)
from tests.support import normal


def wrong_spans() -> list[Case]:
    bounds = "spans must have 0 <= start <= end <= the row's length, "
    wrong: dict[str, tuple[Any, type[Exception], tuple[str, ...]]] = {
        "list": ([[0, 0, 2]], TypeError, ("spans must be a torch.Tensor", "found list", "torch.as_tensor")),
        "float": (spans.float(), TypeError, ("spans must hold integers", "found torch.float32", ".long()")),
        "bool": (spans > 0, TypeError, ("spans must hold integers", "found torch.bool", ".long()")),
        "two-columns": (
            spans[:, :2],
            ValueError,
            ("spans must have shape (M, 3): row, start, end", "found (2, 2)"),
        ),
        "vector": (spans[0], ValueError, ("spans must have shape (M, 3)", "found (3,)")),
        "row": (
            torch.tensor([[2, 0, 1]]),
            ValueError,
            ("spans[:, 0] must be in [0, 2)", "found 2", "from 0"),
        ),
        "row-negative": (
            torch.tensor([[-1, 0, 1]]),
            ValueError,
            ("spans[:, 0] must be in [0, 2)", "found -1", "from 0"),
        ),
        "start": (
            torch.tensor([[0, 0, 1], [0, -1, 1]]),
            ValueError,
            (bounds, "found start -1 and end 1 in span 1", "half-open"),
        ),
        "end": (
            torch.tensor([[0, 0, 5]]),
            ValueError,
            (bounds, "found start 0 and end 5 in span 0", "half-open"),
        ),
        "beyond": (torch.tensor([[0, 9, 9]]), ValueError, (bounds, "found start 9 and end 9", "half-open")),
        "backwards": (
            torch.tensor([[1, 2, 1]]),
            ValueError,
            (bounds, "found start 2 and end 1 in span 0", "half-open"),
        ),
        "device": (
            spans.to("meta"),
            ValueError,
            ("spans must be on the device of the values, cpu", "found meta", ".to("),
        ),
    }
    tokens, of_packed = pp.Tokens(states), pp.Packed(normal(7, 3), long(0, 4, 7))
    return [
        Case(f"{type(layout).__name__}-{name}", partial(layout.spans, value), error, says)
        for layout in (tokens, of_packed)
        for name, (value, error, says) in wrong.items()
    ]


@named(wrong_spans())
def test_spans(case: Case) -> None:
    check(case)


def test_spans_end_with_their_own_sequence() -> None:
    """Not with the packed values: a span past its end would read the next sequence."""
    with pytest.raises(ValueError, match=r"the row's length, 2; found start 0 and end 3 in span 0"):
        pp.Packed(rows, long(0, 2, 5)).spans(torch.tensor([[0, 0, 3]]))
