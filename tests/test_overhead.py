"""What a small call does beside its one reduction: operations are counted, since times depend on the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import polypool as pp
from tests.support import normal

pixels, states, rows = normal(2, 3, 4, 5), normal(2, 4, 3), normal(5, 3)
graphs, ends = torch.tensor([1, 0, 1, 1, 0]), torch.tensor([0, 2, 2, 5])
real = torch.tensor([[True, False, True, True], [True, True, False, False]])
# Views, the way from a tensor of one number to Python, and a question about dtypes.
FREE = {
    "view",
    "transpose",
    "unsqueeze",
    "select",
    "slice",
    "expand",
    "detach",
    "_local_scalar_dense",
    "promote_types",
}


class Operations(TorchDispatchMode):
    """The names of the operations that ran and were not free."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name not in FREE:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def operations(call: Callable[[], object]) -> list[str]:
    with Operations() as ran:
        call()
    return ran.names


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: pp.Grid(pixels), []),
        (lambda: pp.Grid(pixels, real.unflatten(1, (4, 1)).expand(-1, -1, 5)), []),
        (lambda: pp.Tokens(states), []),
        (lambda: pp.Tokens(states, real), []),
        (lambda: pp.Tokens(states, real.long()), ["_to_copy", "aminmax", "_to_copy"]),
        (lambda: pp.Tokens(states, weight=states[..., 0].abs()), ["abs", "aminmax"]),
        (lambda: pp.Nodes(rows), []),
        (lambda: pp.Nodes(rows, graphs), ["aminmax"]),
        (lambda: pp.Nodes(rows, graphs, 2), ["aminmax"]),
        (lambda: pp.Packed(rows, ends), ["sub", "min"]),
        (lambda: pp.Clusters(rows, graphs), ["aminmax"]),
        (lambda: pp.as_layout(pp.Grid(pixels)), []),
    ],
    ids=[
        "grid",
        "grid-mask",
        "tokens",
        "tokens-mask",
        "tokens-int-mask",
        "tokens-weight",
        "nodes-one-graph",
        "nodes",
        "nodes-num_graphs",
        "packed",
        "clusters",
        "as_layout",
    ],
)
def test_a_layout_is_checked_in_one_reading(make: Callable[[], object], expected: list[str]) -> None:
    """Forms cost nothing, values one reduction."""
    assert operations(make) == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: pp.Grid(pixels),
        lambda: pp.Grid(pixels.movedim(1, -1), channels_last=True),
        lambda: pp.Grid(pixels.contiguous(memory_format=torch.channels_last)),
        lambda: pp.Tokens(states),
    ],
    ids=["grid", "channels_last", "channels_last-memory", "tokens"],
)
@pytest.mark.parametrize("operator", ["mean", "sum"])
def test_a_mean_without_padding_is_one_operation(make: Callable[[], pp.Layout], operator: str) -> None:
    layout, pool = make(), pp.build(operator)
    assert operations(lambda: pool(layout)) == [operator]


def test_a_scale_without_padding_is_one_operation() -> None:
    grid, gate = pp.Grid(pixels), normal(2, 3)
    assert operations(lambda: grid.with_values(grid.scale(gate))) == ["mul"]
