"""Bitwise the same for any number of threads, and twice in a row: results, places and every gradient."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.ops.source import Source
from tests.ops.moments.sources import ALL, Found, dense, listed, measured
from tests.support import identical, normal, uniform

pytestmark = pytest.mark.usefixtures("_threads_restored")
LEARNED = ("sum", "mean", "m2")
LONG = (1 << 18) + 5000

# Large enough for more threads than one, which need 2^15 numbers.
SOURCES: dict[str, Source] = {
    "many cells": listed([10] * 600, 20),
    "few cells": listed((3000, 5, 0, 900), 20, shuffled=True),
    "pieces": listed((5000, 70, 3000), 130),
    "weights": listed((4000, 70, 3000), 66, heads=1),
    "heads": listed((4000, 70, 3000), 66, heads=33),
    "one channel": listed((LONG, 10), 1, heads=1),
    "dense": dense(3, 700, 65),
    "dense, weights": dense(3, 700, 65, heads=1),
    "dense, one cell": dense(1, 40_000, 3, heads=1),
    "contiguous": dense(20, 100, 30, first=True),
    "contiguous, weights": dense(20, 100, 30, first=True, heads=1),
    "contiguous, heads": dense(5, 900, 30, first=True, heads=3),
    "contiguous, pieces": dense(1, LONG, 2, first=True),
    "contiguous, one cell, weights": dense(1, 90_300, 3, first=True, heads=1),
    "contiguous, pieces, weights": dense(1, LONG, 2, first=True, heads=1),
    "bfloat16": dense(3, 700, 65, torch.bfloat16),
    "float64": dense(3, 700, 65, torch.float64),
}


@pytest.fixture
def _threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def same(one: Found, other: Found, where: str) -> None:
    identical(other.stats, one.stats, f"statistics, {where}")
    identical(other.places, one.places, f"places, {where}")
    identical(other.values, one.values, f"gradient of the values, {where}")
    if one.weight is not None and other.weight is not None:
        identical(other.weight, one.weight, f"gradient of the weights, {where}")


@pytest.mark.parametrize("name", SOURCES)
def test_the_operation(name: str) -> None:
    source = SOURCES[name]
    for keys, weights in ((ALL, False), (LEARNED, source.weight is not None)):
        torch.set_num_threads(1)
        one = measured(source, keys, weights)
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            same(one, measured(source, keys, weights), f"{threads} threads")


pictures, heat = normal(1, 3, 300, 301, dtype=torch.float32), uniform(1, 300, 301, dtype=torch.float32)
states, nodes = normal(2, 700, 40, dtype=torch.float32), normal(3000, 20, dtype=torch.float32)
share, graph = uniform(3000, seed=1, dtype=torch.float32), torch.arange(3000) * 7 % 11


def pooled(name: str, form: str) -> list[Tensor]:
    """A result and all gradients, those of the weights too."""
    x, w = {"grid": (pictures, heat), "tokens": (states, states[..., 0].abs()), "nodes": (nodes, share)}[form]
    x, w = x.clone().requires_grad_(), w.clone().requires_grad_()
    layout = {
        "grid": lambda: pp.Grid(x, weight=w),
        "tokens": lambda: pp.Tokens(x, weight=w),
        "nodes": lambda: pp.Nodes(x, graph, 11, weight=w),
    }[form]()
    y = pp.build(name)(layout)
    return [
        y.detach(),
        *torch.autograd.grad(y.sin().sum(), (x, w), allow_unused=True, materialize_grads=True),
    ]


@pytest.mark.parametrize("form", ["grid", "tokens", "nodes"])
@pytest.mark.parametrize("name", ["sum", "mean", "std", "moments", "max", "mean+max+std"])
def test_through_a_layout_with_learned_weights(name: str, form: str) -> None:
    torch.set_num_threads(1)
    one = pooled(name, form)
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        for found, wanted in zip(pooled(name, form), one, strict=True):
            identical(found, wanted, f"{name} of {form} with {threads} threads")
