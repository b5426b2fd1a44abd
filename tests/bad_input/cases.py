"""Calls that have to fail, and what their messages have to say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import polypool as pp
from tests.support import normal

NAN, INF = float("nan"), float("inf")

pixels = normal(2, 3, 4, 5)
signal = normal(2, 3, 6)
volume = normal(2, 3, 2, 3, 4)
states = normal(2, 4, 3)
rows = normal(5, 3)
ids = torch.tensor([0, 1, -1, 1, 0])
pairs = torch.tensor([[0, 1, 4], [1, 1, 0]])
graphs = torch.tensor([1, 0, 1, 1, 0])
ends = torch.tensor([0, 2, 2, 5])
spans = torch.tensor([[0, 0, 2], [1, 1, 3]])

mask4, mask2 = torch.ones(2, 4, 5, dtype=torch.bool), torch.ones(2, 4, dtype=torch.bool)

MEAN = pp.build("mean")
BLOCK = pp.blocks.SqueezeExcite(3, 1).double()


@dataclass(frozen=True)
class Case:
    """A call that has to fail.

    Attributes:
        name: The id of the test.
        call: What a user does.
        error: The exception.
        says: What its message holds: argument and requirement, what was found, what to do.
        parts: Whether the message is "<requirement>; found <this>. <way out>".
    """

    name: str
    call: Callable[[], Any]
    error: type[Exception]
    says: tuple[str, ...]
    parts: bool = True


def check(case: Case) -> str:
    """Sees the call fail; returns the message."""
    with pytest.raises(case.error) as caught:
        case.call()
    message = str(caught.value)
    assert type(caught.value) is case.error
    for fragment in case.says:
        assert fragment in message, f"{fragment!r} is not in {message!r}"
    return message


ALL: list[Case] = []


def named(cases: list[Case]) -> Any:
    assert len({case.name for case in cases}) == len(cases)
    ALL.extend(cases)
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def long(*numbers: int) -> Tensor:
    return torch.tensor(numbers)


def spoilt(shape: tuple[int, ...], value: float) -> Tensor:
    weight = torch.ones(shape)
    weight.view(-1)[-1] = value
    return weight


def two(mask: Tensor) -> Tensor:
    """A mask of integers with one 2."""
    spoilt = mask.long()
    spoilt.view(-1)[0] = 2
    return spoilt


LAYOUTS: dict[str, Any] = {
    "Grid": pp.Grid(pixels),
    "Grid-channels_last": pp.Grid(pixels, channels_last=True),
    "Tokens": pp.Tokens(states),
    "Packed": pp.Packed(rows, ends),
    "Nodes": pp.Nodes(rows, graphs),
    "Clusters": pp.Clusters(rows, ids),
    "Windows": pp.Grid(pixels).windows(2),
    "Bins": pp.Grid(pixels).bins(3),
    "Tokens.spans": pp.Tokens(states).spans(spans),
    "Packed.spans": pp.Packed(rows, long(0, 2, 5)).spans(spans),
}
