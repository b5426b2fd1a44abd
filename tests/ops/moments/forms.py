"""Layouts to differentiate through: few elements, one for each way that values are stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

import polypool as pp
from tests.support import integers, normal, uniform


class Form(NamedTuple):
    """Values, weights of their elements, and a layout of both."""

    values: Tensor
    weight: Tensor
    make: Callable[[Tensor, Tensor | None], pp.Layout]


graph = torch.tensor([2, 0, 2, 2, 0, 3, 2])
real = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 1, 0]]).bool()
holes = integers(4, 2, 2, 3, seed=2) > 0


def form(shape: tuple[int, ...], channel: int, make: Callable[[Tensor, Tensor | None], pp.Layout]) -> Form:
    places = [size for dim, size in enumerate(shape) if dim != channel]
    return Form(normal(*shape), 0.2 + uniform(*places, seed=1), make)


FORMS: dict[str, Form] = {
    "nodes": form((7, 3), 1, lambda x, w: pp.Nodes(x, graph, 4, weight=w)),
    "packed": form((7, 2), 1, lambda x, w: pp.Packed(x, torch.tensor([0, 3, 3, 7]), weight=w)),
    "packed, one channel": form((7, 1), 1, lambda x, w: pp.Packed(x, torch.tensor([0, 3, 3, 7]), weight=w)),
    "tokens": form((3, 4, 2), 2, lambda x, w: pp.Tokens(x, weight=w)),
    "tokens, mask": form((3, 4, 2), 2, lambda x, w: pp.Tokens(x, mask=real, weight=w)),
    "grid": form((2, 3, 2, 3), 1, lambda x, w: pp.Grid(x, weight=w)),
    "grid, mask": form((2, 3, 2, 3), 1, lambda x, w: pp.Grid(x, mask=holes, weight=w)),
    "channels_last": form((2, 2, 3, 3), 3, lambda x, w: pp.Grid(x, weight=w, channels_last=True)),
    "channels_last, mask": form(
        (2, 2, 3, 3), 3, lambda x, w: pp.Grid(x, mask=holes, weight=w, channels_last=True)
    ),
    "clusters": form((7, 2), 1, lambda x, w: pp.Clusters(x, torch.tensor([1, -1, 0, 1, 1, -1, 0]), 3, w)),
}
OPERATORS = ("sum", "mean", "var", "std", "max", "min", "moments", "mean+max+std")
