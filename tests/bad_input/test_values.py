"""Values of another kind or shape, for every constructor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

import polypool as pp
from tests.bad_input.cases import (
    Case,
    check,
    ends,
    graphs,
    ids,
    long,
    named,
    pairs,
    pixels,
    rows,
    states,
)
from tests.support import nested

MAKERS: dict[str, tuple[Callable[[Any], Any], Tensor]] = {
    "Grid": (pp.Grid, pixels),
    "Grid-channels_last": (lambda v: pp.Grid(v, channels_last=True), pixels),
    "Tokens": (pp.Tokens, states),
    "Tokens.from_lengths": (lambda v: pp.Tokens.from_lengths(v, long(1, 2)), states),
    "Packed": (lambda v: pp.Packed(v, ends), rows),
    "Packed.from_lengths": (lambda v: pp.Packed.from_lengths(v, long(2, 3)), rows),
    "Packed.from_list": (lambda v: pp.Packed.from_list([v]), rows),
    "Nodes": (pp.Nodes, rows),
    "Nodes-batch": (lambda v: pp.Nodes(v, graphs), rows),
    "Clusters": (lambda v: pp.Clusters(v, ids), rows),
    "Clusters-pairs": (lambda v: pp.Clusters(v, pairs), rows),
    "Clusters-soft": (lambda v: pp.Clusters(v, torch.ones(5, 2)), rows),
}


def wrong_values() -> list[Case]:
    cases = []
    for name, (make, good) in MAKERS.items():
        what = "each of list_of_tensors" if name == "Packed.from_list" else "values"
        wrong: dict[str, tuple[Any, type[Exception], tuple[str, ...]]] = {
            "list": (good.tolist(), TypeError, ("must be a torch.Tensor", "found list", "torch.as_tensor")),
            "array": (
                good.numpy(),
                TypeError,
                ("must be a torch.Tensor", "found ndarray", "torch.as_tensor"),
            ),
            "none": (None, TypeError, ("must be a torch.Tensor", "found NoneType", "torch.as_tensor")),
            "int": (good.long(), TypeError, ("must be of a floating dtype", "found torch.int64", ".float()")),
            "bool": (good > 0, TypeError, ("must be of a floating dtype", "found torch.bool", ".float()")),
            "complex": (
                good.to(torch.complex64),
                TypeError,
                ("must be of a floating dtype", "found torch.complex64"),
            ),
            "nested": (
                nested(rows, rows),
                TypeError,
                ("must be a plain tensor", "found a nested one", "as_layout"),
            ),
            "no-channels": (
                good[..., 0] if good.dim() < 4 else good[0, 0],
                ValueError,
                ("must have shape", "found ("),
            ),
            "one-dimension": (good.flatten(), ValueError, ("must have shape", f"found ({good.numel()},)")),
            "no-dimension": (good.sum(), ValueError, ("must have shape", "found ()")),
            "too-many": (good[(None,) * (6 - good.dim())], ValueError, ("must have shape", "found (1, ")),
        }
        for kind, (value, error, says) in wrong.items():
            cases.append(Case(f"{name}-{kind}", partial(make, value), error, (what, *says)))
    return cases


@named(wrong_values())
def test_values(case: Case) -> None:
    check(case)
