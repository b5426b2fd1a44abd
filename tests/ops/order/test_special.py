"""Ties, signed zeros, infinities and NaN: places in stable order, and the neighbours untouched."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from polypool.ops.order import op
from polypool.ops.source import Source
from tests.ops.order.loops import ASKED, agree_all, measured
from tests.support import identical, normal, uniform

INF, NAN = float("inf"), float("nan")

#: The same cell of numbers `(n, C)` in every way that kernels go through memory.
SHAPES: dict[str, Callable[[Tensor], Source]] = {
    "listed": lambda x: Source(x, torch.tensor([0, len(x)])),
    "shuffled": lambda x: Source(x, torch.tensor([0, len(x)]), torch.arange(len(x)).flip(0)),
    "dense": lambda x: Source(x[None]),
    "padded": lambda x: Source(x[None], weight=(torch.arange(len(x)) % 3 != 1).to(x.dtype)[None, :, None]),
    "contiguous": lambda x: Source(x.T.contiguous().T[None]),
    "contiguous, padded": lambda x: Source(
        x.T.contiguous().T[None], weight=(torch.arange(len(x)) % 3 != 1).to(x.dtype)[None, :, None]
    ),
    "one channel": lambda x: Source(x[:, :1].contiguous(), torch.tensor([0, len(x)])),
}
KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "few numbers": lambda x: (x * 2).round(),
    "half of them zero": torch.relu,
    "zeros of both signs": lambda x: torch.where(x.abs() < 0.7, x * 0.0, x),
    "all the same": lambda x: torch.full_like(x, -0.1),
    "infinities": lambda x: torch.where(x.abs() > 1, x * INF, x),
    "all infinite": lambda x: x * INF,
    "the smallest numbers": lambda x: x * 1e-44,
    "of all magnitudes": lambda x: (x * 20).exp() * x.sign(),
    "sorted": lambda x: x.sort(dim=0).values,
    "some NaN": lambda x: torch.where(uniform(*x.shape, seed=7) < 0.02, NAN, x),
    "many NaN": lambda x: torch.where(uniform(*x.shape, seed=7) < 0.7, NAN, x),
    "all NaN": lambda x: x * NAN,
}
every_shape = pytest.mark.parametrize("shape", SHAPES)


@every_shape
@pytest.mark.parametrize("n", [1, 30, 700, 1100])
@pytest.mark.parametrize("kind", KINDS)
def test_numbers(kind: str, n: int, shape: str) -> None:
    for dtype in (torch.float32, torch.float64):
        agree_all(SHAPES[shape](KINDS[kind](normal(n, 5, seed=n)).to(dtype)))


@every_shape
def test_a_nan_stays_in_its_channel(shape: str) -> None:
    x = normal(70, 5)
    clean, lost = (
        SHAPES[shape](x),
        SHAPES[shape](torch.where(torch.arange(350).view(70, 5) == 5 * 30, NAN, x)),
    )
    for name, asked in ASKED:
        for found, wanted in zip(measured(name, asked, lost), measured(name, asked, clean), strict=True):
            identical(found[..., 1:], wanted[..., 1:], f"{name} of {asked}")


def test_ties_go_to_the_first() -> None:
    x = torch.tensor([[1.0], [3.0], [3.0], [3.0], [2.0]])
    for make in SHAPES.values():
        source = make(x)
        if source.weight is None and source.rows is None:
            _, gradient = measured("top", 2, source)
            assert (gradient.flatten() != 0).tolist() == [False, True, True, False, False]


def test_an_infinity_without_a_share_is_not_read() -> None:
    x = torch.tensor([[-INF], [1.0], [2.0], [3.0], [INF]])
    for name in ("listed", "contiguous", "one channel"):
        source = SHAPES[name](x)
        found = op.quantiles(source, [0.5, 0.25, 0.1, 0.0, 0.9, 1.0]).flatten().tolist()
        assert found == [2.0, 1.0, -INF, -INF, INF, INF]
        assert op.trimmed(source, 0.2).item() == 2.0
        assert op.top(source, 1).item() == INF


def test_the_share_between_two_places_is_exact() -> None:
    """From float64 places: between 99,999 and 100,000 a float32 place has two digits after the point."""
    n, q = 100_003, 0.777_777_7
    x = torch.arange(float(n), dtype=torch.float64)[:, None]
    found = op.quantiles(Source(x, torch.tensor([0, n])), [q]).item()
    assert abs(found - q * (n - 1)) < 1e-9 * n
    assert op.quantiles(Source(x[:11], torch.tensor([0, 11])), [0.3]).item() == 3.0


@pytest.mark.parametrize("n", [1, 3, 65, 3000])
def test_quantiles_of_equal_members_are_these(n: int) -> None:
    for value in (0.1, -1e4, 1e30):
        found = op.quantiles(Source(torch.full((n, 3), value), torch.tensor([0, n])), [0.0, 0.5, 1.0])
        identical(found, torch.full((3, 1, 3), value), f"{n} times {value}")
