"""Assignments that are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import polypool as pp
from tests.bad_input.cases import (
    INF,
    NAN,
    Case,
    check,
    graphs,
    ids,
    long,
    named,
    rows,
    spoilt,
)
from tests.support import integers


def clusters_of(
    assignment: Any, num_clusters: Any = None, **more: Any
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The two ways to clusters."""
    direct = lambda: pp.Clusters(rows, assignment, num_clusters, **more)  # noqa: E731
    return direct, lambda: pp.Nodes(rows, graphs, 2).clusters(assignment, num_clusters)


def wrong_clusters() -> list[Case]:
    soft = torch.ones(5, 2)
    out_of = "assignment must be in ["
    wrong: dict[str, tuple[Any, Any, type[Exception], tuple[str, ...]]] = {
        "list": (
            [0, 1, 0, 1, 0],
            None,
            TypeError,
            ("assignment must be a torch.Tensor", "found list", "torch.as_tensor"),
        ),
        "bool": (ids > 0, None, TypeError, ("assignment must hold integers", "found torch.bool", ".long()")),
        "hard-long": (
            integers(2, 6),
            None,
            ValueError,
            ("assignment must have shape (N,) = (5,)", "found (6,)"),
        ),
        "hard-cube": (
            ids.view(1, 5, 1),
            None,
            ValueError,
            ("assignment must have shape (N,) = (5,)", "found (1, 5, 1)"),
        ),
        "hard-number": (
            torch.tensor(0),
            None,
            ValueError,
            ("assignment must have shape (N,) = (5,)", "found ()"),
        ),
        "hard-below": (
            long(0, 1, -2, 0, 0),
            None,
            ValueError,
            ("assignment must be >= -1", "found -2", "from 0"),
        ),
        "hard-below-given": (long(0, 1, -2, 0, 0), 2, ValueError, (out_of + "-1, 2)", "found -2", "from 0")),
        "hard-beyond": (
            long(0, 2, -1, 0, 0),
            2,
            ValueError,
            (out_of + "-1, 2)", "found 2", "larger num_clusters"),
        ),
        "pairs-shape": (
            torch.zeros(5, 2, dtype=torch.long),
            None,
            ValueError,
            ("assignment of pairs must have shape (2, M)", "found (5, 2)", "must be floating"),
        ),
        "pairs-element": (
            long(0, 5, 0, 1).view(2, 2),
            None,
            ValueError,
            ("assignment[0] must be in [0, 5)", "found 5", "from 0"),
        ),
        "pairs-element-negative": (
            long(0, -1, 0, 1).view(2, 2),
            None,
            ValueError,
            ("assignment[0] must be in [0, 5)", "found -1", "from 0"),
        ),
        "pairs-cluster": (
            long(0, 1, 0, 2).view(2, 2),
            2,
            ValueError,
            ("[0, 2)", "found 2", "larger num_clusters"),
        ),
        "pairs-cluster-negative": (
            long(0, 1, 0, -1).view(2, 2),
            None,
            ValueError,
            (">= 0", "found -1", "from 0"),
        ),
        "pairs-cluster-negative-given": (
            long(0, 1, 0, -1).view(2, 2),
            2,
            ValueError,
            ("[0, 2)", "found -1", "from 0"),
        ),
        "soft-rows": (
            torch.ones(4, 2),
            None,
            ValueError,
            ("assignment must have shape (N, K) with N = 5", "found (4, 2)"),
        ),
        "soft-vector": (
            ids.float(),
            None,
            ValueError,
            ("assignment must have shape (N, K) with N = 5", "found (5,)", "ids must be integers"),
        ),
        "soft-cube": (
            torch.ones(5, 2, 1),
            None,
            ValueError,
            ("assignment must have shape (N, K) with N = 5", "found (5, 2, 1)"),
        ),
        "soft-negative": (
            spoilt((5, 2), -1.0),
            None,
            ValueError,
            ("assignment must be finite and >= 0", "found -1"),
        ),
        "soft-nan": (
            spoilt((5, 2), NAN),
            None,
            ValueError,
            ("assignment must be finite and >= 0", "found nan"),
        ),
        "soft-inf": (
            spoilt((5, 2), INF),
            None,
            ValueError,
            ("assignment must be finite and >= 0", "found inf"),
        ),
        "soft-width": (
            soft,
            3,
            ValueError,
            ("num_clusters must be the width of a soft assignment, 2", "found 3"),
        ),
        "soft-number-bool": (
            torch.ones(5, 1),
            True,
            TypeError,
            ("num_clusters must be an int", "found bool"),
        ),
        "soft-number-float": (soft, 2.0, TypeError, ("num_clusters must be an int", "found float")),
        "number-bool": (ids, True, TypeError, ("num_clusters must be an int", "found bool")),
        "number-float": (ids, 2.0, TypeError, ("num_clusters must be an int", "found float")),
        "number-tensor": (ids, torch.tensor(2), TypeError, ("num_clusters must be an int", "found Tensor")),
        "number-negative": (ids, -1, ValueError, ("num_clusters must be >= 0", "found -1")),
        "device": (
            ids.to("meta"),
            2,
            ValueError,
            ("assignment must be on the device of the values, cpu", "found meta", ".to("),
        ),
    }
    cases = []
    for name, (assignment, number, error, says) in wrong.items():
        direct, of_nodes = clusters_of(assignment, number)
        cases += [
            Case(f"Clusters-{name}", direct, error, says),
            Case(f"Nodes.clusters-{name}", of_nodes, error, says),
        ]
    twice = clusters_of(soft, weight=torch.ones(5))[0]
    cases.append(
        Case(
            "soft-and-weight", twice, ValueError, ("weight must be None with a soft assignment",), parts=False
        )
    )
    return cases


@named(wrong_clusters())
def test_clusters(case: Case) -> None:
    check(case)


def test_pairs_have_no_such_thing_as_minus_one() -> None:
    """The message for pairs must not offer the -1 of hard clusters."""
    with pytest.raises(ValueError, match="found -1") as caught:
        pp.Clusters(rows, torch.tensor([[0, 1], [0, -1]]))
    assert "-1 for none" not in str(caught.value)
