"""Lengths and lists of packed sequences, graphs without a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import polypool as pp
from tests.bad_input.cases import (
    Case,
    check,
    ends,
    graphs,
    ids,
    long,
    named,
    rows,
)


def packed(lengths: Any) -> Callable[[], Any]:
    return lambda: pp.Packed.from_lengths(rows, lengths)


@named(
    [
        Case(
            "list",
            packed([2, 3]),
            TypeError,
            ("lengths must be a torch.Tensor", "found list", "torch.as_tensor"),
        ),
        Case(
            "float",
            packed(torch.tensor([2.0, 3.0])),
            TypeError,
            ("lengths must hold integers", "found torch.float32", ".long()"),
        ),
        Case(
            "matrix", packed(long(2, 3)[None]), ValueError, ("lengths must have shape (B,)", "found (1, 2)")
        ),
        Case("number", packed(torch.tensor(5)), ValueError, ("lengths must have shape (B,)", "found ()")),
        Case("negative", packed(long(-1, 6)), ValueError, ("lengths must be >= 0", "found -1")),
        Case(
            "short",
            packed(long(2, 2)),
            ValueError,
            ("lengths must add up to N = 5", "found 4", "Tokens.from_lengths"),
        ),
        Case(
            "long",
            packed(long(2, 4)),
            ValueError,
            ("lengths must add up to N = 5", "found 6", "Tokens.from_lengths"),
        ),
        Case("none", packed(long()), TypeError, ("lengths must hold integers",)),
        Case("no-lengths", packed(ends[:0]), ValueError, ("lengths must add up to N = 5", "found 0")),
        Case(
            "device",
            packed(long(2, 3).to("meta")),
            ValueError,
            ("lengths must be on the device", "found meta", ".to("),
        ),
        Case(
            "empty-list",
            lambda: pp.Packed.from_list([]),
            ValueError,
            ("list_of_tensors must hold at least one", "found none"),
        ),
        Case(
            "channels",
            lambda: pp.Packed.from_list([rows, rows[:, :2]]),
            ValueError,
            ("list_of_tensors must agree in channels", "found 3 and 2"),
        ),
        Case(
            "second-int",
            lambda: pp.Packed.from_list([rows, rows.long()]),
            TypeError,
            ("each of list_of_tensors", "found torch.int64"),
        ),
    ]
)
def test_packed_from(case: Case) -> None:
    check(case)


def test_one_tensor_is_no_list() -> None:
    """A (B, T, C) tensor would be taken row by row; a (N, C) one has rows without channels."""
    with pytest.raises(ValueError, match=r"list_of_tensors must have shape \(n, C\); found \(3,\)"):
        pp.Packed.from_list(rows)  # type: ignore[arg-type]


@named(
    [
        Case(
            "graphs-without-batch",
            lambda: pp.Nodes(rows, num_graphs=2),
            ValueError,
            ("batch must be given for more than one graph", "found num_graphs = 2"),
        ),
        Case(
            "no-graph",
            lambda: pp.Nodes(rows, num_graphs=0),
            ValueError,
            ("batch must be given", "found num_graphs = 0"),
        ),
        Case(
            "bool",
            lambda: pp.Nodes(rows, num_graphs=True),
            TypeError,
            ("num_graphs must be an int", "found bool"),
        ),
        Case(
            "no-data",
            lambda: pp.Nodes.from_data(object()),
            ValueError,
            ("data must hold node features x", "found none", "Nodes(values, batch)"),
        ),
        Case(
            "clusters-without-batch",
            lambda: pp.Clusters(rows, ids, num_graphs=2),
            ValueError,
            ("batch must be given", "found num_graphs = 2"),
        ),
        Case(
            "clusters-batch",
            lambda: pp.Clusters(rows, ids, batch=long(0, 1)),
            ValueError,
            ("batch must have shape (N,) = (5,)", "found (2,)"),
        ),
        Case(
            "clusters-beyond",
            lambda: pp.Clusters(rows, ids, batch=graphs, num_graphs=1),
            ValueError,
            ("batch must be in [0, 1)", "found 1", "larger num_graphs"),
        ),
        Case(
            "clusters-float",
            lambda: pp.Clusters(rows, ids, batch=graphs.float()),
            TypeError,
            ("batch must hold integers", "found torch.float32", ".long()"),
        ),
    ]
)
def test_graphs(case: Case) -> None:
    check(case)
