"""Weights of another kind, shape or sign, for every constructor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

import polypool as pp
from tests.bad_input.cases import (
    INF,
    NAN,
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
    signal,
    spoilt,
    states,
    volume,
)

WEIGHTED: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "Grid": (lambda w: pp.Grid(pixels, weight=w), (2, 4, 5)),
    "Grid-1d": (lambda w: pp.Grid(signal, weight=w), (2, 6)),
    "Grid-3d": (lambda w: pp.Grid(volume, weight=w), (2, 2, 3, 4)),
    "Grid-channels_last": (lambda w: pp.Grid(pixels, channels_last=True, weight=w), (2, 3, 4)),
    "Tokens": (lambda w: pp.Tokens(states, weight=w), (2, 4)),
    "Tokens.from_lengths": (lambda w: pp.Tokens.from_lengths(states, long(1, 2), weight=w), (2, 4)),
    "Packed": (lambda w: pp.Packed(rows, ends, weight=w), (5,)),
    "Packed.from_lengths": (lambda w: pp.Packed.from_lengths(rows, long(2, 3), weight=w), (5,)),
    "Packed.from_list": (lambda w: pp.Packed.from_list([rows], weight=w), (5,)),
    "Nodes": (lambda w: pp.Nodes(rows, graphs, weight=w), (5,)),
    "Nodes-no-batch": (lambda w: pp.Nodes(rows, weight=w), (5,)),
    "Clusters": (lambda w: pp.Clusters(rows, ids, weight=w), (5,)),
    "Clusters-pairs": (lambda w: pp.Clusters(rows, pairs, weight=w), (3,)),
}


def wrong_weights() -> list[Case]:
    cases = []
    for name, (make, shape) in WEIGHTED.items():
        good = torch.ones(shape)
        wider = torch.ones(*shape[:-1], shape[-1] + 1)
        wrong: dict[str, tuple[Any, type[Exception], tuple[str, ...]]] = {
            "list": (good.tolist(), TypeError, ("must be a torch.Tensor", "found list", "torch.as_tensor")),
            "number": (1.0, TypeError, ("must be a torch.Tensor", "found float", "torch.as_tensor")),
            "int": (good.long(), TypeError, ("must be of a floating dtype", "found torch.int64", "mask=")),
            "bool": (good.bool(), TypeError, ("must be of a floating dtype", "found torch.bool", "mask=")),
            "wider": (
                wider,
                ValueError,
                ("must have shape (", f"= {tuple(shape)}", f"found ({', '.join(map(str, wider.shape))}"),
            ),
            "channels": (good[..., None], ValueError, ("must have shape (", f"= {tuple(shape)}", ", 1)")),
            "one-number": (good.sum(), ValueError, ("must have shape (", f"= {tuple(shape)}", "found ()")),
            "negative": (spoilt(shape, -0.5), ValueError, ("must be finite and >= 0", "found -0.5")),
            "nan": (spoilt(shape, NAN), ValueError, ("must be finite and >= 0", "found nan")),
            "inf": (spoilt(shape, INF), ValueError, ("must be finite and >= 0", "found inf")),
            "device": (
                good.to("meta"),
                ValueError,
                ("must be on the device of the values, cpu", "found meta", ".to(values.device)"),
            ),
        }
        for kind, (value, error, says) in wrong.items():
            cases.append(Case(f"{name}-{kind}", partial(make, value), error, ("weight", *says)))
    return cases


@named(wrong_weights())
def test_weight(case: Case) -> None:
    check(case)
