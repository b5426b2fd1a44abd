"""Masks, offsets, batches and lengths: the constructor, `as_layout`, a pooling and a block refuse them alike."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import polypool as pp
from tests.bad_input.cases import (
    BLOCK,
    MEAN,
    Case,
    check,
    ends,
    graphs,
    long,
    named,
    pixels,
    rows,
    signal,
    states,
    two,
    volume,
)


@dataclass(frozen=True)
class Wrong:
    """A wrong argument that every way in has to refuse."""

    name: str
    x: Tensor
    arguments: dict[str, Any]
    layout: Callable[..., Any]
    error: type[Exception]
    says: tuple[str, ...]


def masks(name: str, x: Tensor, layout: Callable[..., Any], form: str, shape: tuple[int, ...]) -> list[Wrong]:
    good = torch.ones(shape, dtype=torch.bool)
    required = f"mask must have shape {form} = {tuple(shape)}"
    fraction = ("mask must be bool or 0/1 integers", "weight=")
    whole = "mask must hold 0 and 1 alone"
    wrong: dict[str, tuple[Any, type[Exception], tuple[str, ...]]] = {
        "float": (good.float(), TypeError, (*fraction, "found torch.float32")),
        "double": (good.double(), TypeError, (*fraction, "found torch.float64")),
        "half": (good.half(), TypeError, (*fraction, "found torch.float16")),
        "complex": (good.to(torch.complex64), TypeError, (*fraction, "found torch.complex64")),
        "list": (good.tolist(), TypeError, ("mask must be a torch.Tensor", "found list", "torch.as_tensor")),
        "array": (
            good.numpy(),
            TypeError,
            ("mask must be a torch.Tensor", "found ndarray", "torch.as_tensor"),
        ),
        "wider": (torch.cat([good, good[..., :1]], -1), ValueError, (required, f"{shape[-1] + 1})")),
        "narrower": (good[..., :-1], ValueError, (required, f"{shape[-1] - 1})")),
        "transposed": (good.transpose(0, -1), ValueError, (required, "found (")),
        "one-row": (good[:1], ValueError, (required, "found (1, ")),
        "one-place": (good[:, :1], ValueError, (required, "found (")),
        "no-batch": (good[0], ValueError, (required, "found (")),
        "channels": (good[..., None], ValueError, (required, ", 1)")),
        "of-values": (torch.ones_like(x, dtype=torch.bool), ValueError, (required, "found (")),
        "two": (two(good), ValueError, (whole, "found values from 1 to 2")),
        "negative": (-good.long(), ValueError, (whole, "found values from -1 to -1")),
        "bytes": (good.byte() * 255, ValueError, (whole, "found values from 255 to 255")),
        "device": (
            good.to("meta"),
            ValueError,
            ("mask must be on the device of the values, cpu", "found meta", ".to("),
        ),
    }
    return [Wrong(f"{name}-mask-{k}", x, {"mask": v}, layout, e, s) for k, (v, e, s) in wrong.items()]


def offsets() -> list[Wrong]:
    way_out = "Packed.from_lengths"
    form = "offsets must have shape (B + 1,)"
    wrong: dict[str, tuple[Any, type[Exception], tuple[str, ...]]] = {
        "list": ([0, 2, 5], TypeError, ("offsets must be a torch.Tensor", "found list", "torch.as_tensor")),
        "float": (ends.float(), TypeError, ("offsets must hold integers", "found torch.float32", ".long()")),
        "bool": (ends > 0, TypeError, ("offsets must hold integers", "found torch.bool", ".long()")),
        "matrix": (ends[None], ValueError, (form, "found (1, 4)")),
        "number": (torch.tensor(5), ValueError, (form, "found ()")),
        "empty": (ends[:0], ValueError, (form, "found (0,)")),
        "start": (long(1, 2, 5), ValueError, ("offsets must start at 0", "found 1", way_out)),
        "negative": (long(-1, 2, 5), ValueError, ("offsets must start at 0", "found -1", way_out)),
        "decrease": (
            long(0, 3, 2, 5),
            ValueError,
            ("offsets must not decrease", "found 3 before 2 at 1", way_out),
        ),
        "overshoot": (
            long(0, 7, 5),
            ValueError,
            ("offsets must not decrease", "found 7 before 5 at 1", way_out),
        ),
        "short": (long(0, 2, 4), ValueError, ("offsets must end at N = 5", "found 4", way_out)),
        "long": (long(0, 2, 7), ValueError, ("offsets must end at N = 5", "found 7", way_out)),
        "alone": (long(0), ValueError, ("offsets must end at N = 5", "found 0", way_out)),
        "int32": (long(0, 2, 4).int(), ValueError, ("offsets must end at N = 5", "found 4", way_out)),
        "lengths": (long(2, 3), ValueError, ("offsets must start at 0", "found 2", way_out)),
        "device": (
            ends.to("meta"),
            ValueError,
            ("offsets must be on the device of the values, cpu", "found meta", ".to("),
        ),
    }
    return [
        Wrong(f"Packed-offsets-{k}", rows, {"offsets": v}, pp.Packed, e, s) for k, (v, e, s) in wrong.items()
    ]


def batches() -> list[Wrong]:
    form = "batch must have shape (N,) = (5,)"
    given = {"num_graphs": 2}
    wrong: dict[str, tuple[dict[str, Any], type[Exception], tuple[str, ...]]] = {
        "list": (
            {"batch": [0, 0, 1, 1, 1]},
            TypeError,
            ("batch must be a torch.Tensor", "found list", "torch.as_tensor"),
        ),
        "float": (
            {"batch": graphs.float()},
            TypeError,
            ("batch must hold integers", "found torch.float32", ".long()"),
        ),
        "bool": (
            {"batch": graphs > 0},
            TypeError,
            ("batch must hold integers", "found torch.bool", ".long()"),
        ),
        "long": ({"batch": long(0, 0, 1, 1, 1, 1)}, ValueError, (form, "found (6,)")),
        "short": ({"batch": graphs[:4]}, ValueError, (form, "found (4,)")),
        "matrix": ({"batch": graphs[:, None]}, ValueError, (form, "found (5, 1)")),
        "number": ({"batch": torch.tensor(0)}, ValueError, (form, "found ()")),
        "negative": (
            {"batch": long(0, -1, 1, 1, 0)},
            ValueError,
            ("batch must be >= 0", "found -1", "from 0"),
        ),
        "negative-given": (
            {"batch": long(0, -1, 1, 1, 0), **given},
            ValueError,
            ("batch must be in [0, 2)", "found -1", "num_graphs"),
        ),
        "beyond": (
            {"batch": long(0, 2, 1, 1, 0), **given},
            ValueError,
            ("batch must be in [0, 2)", "found 2", "larger num_graphs"),
        ),
        "none-exist": (
            {"batch": graphs, "num_graphs": 0},
            ValueError,
            ("batch must be in [0, 0)", "num_graphs"),
        ),
        "graphs-bool": (
            {"batch": graphs * 0, "num_graphs": True},
            TypeError,
            ("num_graphs must be an int", "found bool"),
        ),
        "graphs-float": (
            {"batch": graphs, "num_graphs": 2.0},
            TypeError,
            ("num_graphs must be an int", "found float"),
        ),
        "graphs-tensor": (
            {"batch": graphs, "num_graphs": torch.tensor(2)},
            TypeError,
            ("num_graphs must be an int", "found Tensor"),
        ),
        "graphs-negative": (
            {"batch": graphs, "num_graphs": -2},
            ValueError,
            ("num_graphs must be >= 0", "found -2"),
        ),
        "device": (
            {"batch": graphs.to("meta")},
            ValueError,
            ("batch must be on the device of the values, cpu", "found meta", ".to("),
        ),
    }
    return [Wrong(f"Nodes-batch-{k}", rows, v, pp.Nodes, e, s) for k, (v, e, s) in wrong.items()]


def lengths() -> list[Wrong]:
    form = "lengths must have shape (B,) = (2,)"
    wrong: dict[str, tuple[Any, type[Exception], tuple[str, ...]]] = {
        "list": ([1, 2], TypeError, ("lengths must be a torch.Tensor", "found list", "torch.as_tensor")),
        "float": (
            torch.tensor([1.0, 2.0]),
            TypeError,
            ("lengths must hold integers", "found torch.float32", ".long()"),
        ),
        "bool": (
            torch.tensor([True, False]),
            TypeError,
            ("lengths must hold integers", "found torch.bool", ".long()"),
        ),
        "more": (long(1, 2, 3), ValueError, (form, "found (3,)")),
        "fewer": (long(1), ValueError, (form, "found (1,)")),
        "matrix": (long(1, 2)[None], ValueError, (form, "found (1, 2)")),
        "negative": (
            long(1, -1),
            ValueError,
            ("lengths must be in [0, 5)", "found -1", "T = 4", "Packed.from_lengths"),
        ),
        "too-long": (
            long(1, 5),
            ValueError,
            ("lengths must be in [0, 5)", "found 5", "T = 4", "Packed.from_lengths"),
        ),
        "device": (
            long(1, 2).to("meta"),
            ValueError,
            ("lengths must be on the device of the values, cpu", "found meta", ".to("),
        ),
    }
    make = pp.Tokens.from_lengths
    return [
        Wrong(f"Tokens-lengths-{k}", states, {"lengths": v}, make, e, s) for k, (v, e, s) in wrong.items()
    ]


WRONG = [
    *masks("Grid", pixels, pp.Grid, "(B, *S)", (2, 4, 5)),
    *masks("Grid-3d", volume, pp.Grid, "(B, *S)", (2, 2, 3, 4)),
    *masks("Tokens", states, pp.Tokens, "(B, T)", (2, 4)),
    *offsets(),
    *batches(),
    *lengths(),
]
NO_KEYWORDS = [
    *masks("Grid-1d", signal, pp.Grid, "(B, *S)", (2, 6)),
    *masks("Grid-cl", pixels, lambda x, mask: pp.Grid(x, mask, channels_last=True), "(B, *S)", (2, 3, 4)),
]


@named([Case(w.name, partial(w.layout, w.x, **w.arguments), w.error, w.says) for w in [*WRONG, *NO_KEYWORDS]])
def test_where_the_elements_are(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_never_a_number_from_wrong_arguments(wrong: Wrong) -> None:
    """The same message, whichever way the argument comes in."""
    for way_in in (pp.as_layout, MEAN, BLOCK):
        check(Case(wrong.name, partial(way_in, wrong.x, **wrong.arguments), wrong.error, wrong.says))


@pytest.mark.parametrize("name", pp.names())
def test_never_a_number_from_a_wrong_mask_whatever_the_operator(name: str) -> None:
    pool = pp.build(name, channels=3).double()
    with pytest.raises(ValueError, match=re.escape("mask must have shape (B, T) = (2, 4); found (2, 5)")):
        pool(states, mask=torch.ones(2, 5, dtype=torch.bool))
    with pytest.raises(TypeError, match=r"mask must be bool or 0/1 integers; found torch.float32"):
        pool(states, mask=torch.ones(2, 4))
    with pytest.raises(ValueError, match=r"offsets must end at N = 5; found 4"):
        pool(rows, offsets=long(0, 2, 4))
    with pytest.raises(ValueError, match=r"batch must be in \[0, 2\)"):
        pool(rows, batch=long(0, 2, 1, 1, 0), num_graphs=2)
