"""float32 results are those of float64 to a rounding, however large the cell or the mean."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.ops.source import Source
from polypool.testing.tolerances import LARGE_CELL, LARGE_OFFSET
from tests.ops.moments.sources import ALL, agree, defined, measured
from tests.support import Tolerance, close, normal, uniform

SHAPES: dict[str, Callable[[Tensor], Source]] = {
    "rows": lambda x: Source(x[None]),
    "listed": lambda x: Source(x, torch.tensor([0, len(x)]), torch.arange(len(x)).flip(0)),
    "weighted": lambda x: Source(x[None], weight=torch.ones(1, len(x), 1)),
    "contiguous": lambda x: Source(x.T.contiguous().T[None]),
    "contiguous, weighted": lambda x: Source(x.T.contiguous().T[None], weight=torch.ones(1, len(x), 1)),
}
every_shape = pytest.mark.parametrize("shape", SHAPES)
#: What is left of a sum or a mean: roundings in one block of 64 rows, whatever the size of the cell.
EXACT = Tolerance(2e-6, 1e-9)


@every_shape
@pytest.mark.parametrize("offset", [1e4, -1e4])
def test_a_large_mean_keeps_its_variance(shape: str, offset: float) -> None:
    """N(1e4, 1) has variance 1."""
    x = (offset + normal(20_000, 2)).float()
    found, wanted = measured(SHAPES[shape](x), ("mean", "m2")), defined(SHAPES[shape](x), ("mean", "m2"))
    close(found.stats[0], wanted.stats[0], "mean", EXACT)
    close(found.stats[1], wanted.stats[1], "variance", LARGE_OFFSET)
    close(found.values, wanted.values, "gradient", Tolerance(1e-3, 1e-4))


@every_shape
def test_higher_moments_of_a_large_mean(shape: str) -> None:
    x = (1e4 + normal(5_000, 2) ** 3).float()
    found, wanted = measured(SHAPES[shape](x), ALL), defined(SHAPES[shape](x), ALL)
    for i, key in enumerate(ALL):
        close(found.stats[i], wanted.stats[i], key, LARGE_OFFSET)


@every_shape
def test_an_error_does_not_grow_with_the_cell(shape: str) -> None:
    """A running float32 sum of tenths would be 0.5 % off."""
    x = torch.full((1_000_000, 1), 0.1).expand(-1, 2).contiguous()
    found = measured(SHAPES[shape](x), ("sum", "mean"))
    close(found.stats[0], x.double().sum(0, keepdim=True), "sum", EXACT)
    close(found.stats[1], x[:1], "mean", EXACT)


@every_shape
def test_one_large_number_first(shape: str) -> None:
    """1e6, and then N(0, 1): every later number is below a rounding of a running sum."""
    x = normal(50_000, 2, dtype=torch.float32)
    x[0] = 1e6
    found, wanted = measured(SHAPES[shape](x), ALL), defined(SHAPES[shape](x), ALL)
    for i, key in enumerate(ALL):
        close(found.stats[i], wanted.stats[i], key, LARGE_CELL)


@every_shape
def test_a_trend(shape: str) -> None:
    """Sorted numbers: every block has another mean."""
    x = torch.linspace(-3, 1e3, 100_000)[:, None].expand(-1, 2).contiguous()
    found, wanted = measured(SHAPES[shape](x), ALL), defined(SHAPES[shape](x), ALL)
    deviation = wanted.stats[ALL.index("m2")].sqrt()
    for i, key in enumerate(ALL):
        unit = deviation ** {"m2": 2, "m3": 3, "m4": 4}.get(key, 0)
        close(found.stats[i] / unit, wanted.stats[i] / unit, key, LARGE_CELL)


@every_shape
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_70_000_ones_in_half_precision(shape: str, dtype: torch.dtype) -> None:
    """More than the largest float16."""
    found = measured(SHAPES[shape](torch.ones(70_000, 3, dtype=dtype)), ALL)
    close(found.stats[:, 0, 0], torch.tensor([70_000.0, 1, 0, 0, 0, 1, 1]), "all of them", EXACT)


@every_shape
def test_numbers_near_the_ends_of_the_range(shape: str) -> None:
    """Subnormal numbers count, and large ones whose sum is finite stay finite."""
    x = normal(100, 3, dtype=torch.float32)
    agree(SHAPES[shape](x * 1e-18), ("mean", "m2"))
    agree(SHAPES[shape](x * 1e17), ("mean", "m2"), tolerance=Tolerance(2e-5, 0.0))
    tiny = torch.full((100, 3), 1e-42)
    found = measured(SHAPES[shape](tiny), ("mean", "max", "sum")).stats[:, 0]
    assert torch.equal(found, torch.stack([tiny[0], tiny[0], tiny.double().sum(0).float()]))


@every_shape
@pytest.mark.parametrize("value", [0.1, 1.1, -12345.678, 1e6 + 0.3])
@pytest.mark.parametrize("places", [3, 64, 1000])
def test_a_constant_has_no_spread(shape: str, value: float, places: int) -> None:
    """What is left of it is the rounding of the mean."""
    x = torch.full((places, 2), value)
    found = measured(SHAPES[shape](x), ("mean", "m2"))
    close(found.stats[0], x[:1], "mean", EXACT)
    assert bool((found.stats[1].sqrt() <= 1e-6 * abs(value)).all())


@pytest.mark.parametrize("value", [0.1, 1.1, -12345.678, 1e6 + 0.3])
@pytest.mark.parametrize("form", ["nodes", "tokens", "grid"])
def test_the_gradient_of_the_deviation_of_a_constant_is_0(form: str, value: float) -> None:
    """std does not change when everything moves, so its gradients add up to 0; here all are equal."""
    x = torch.full((1000, 2), value, requires_grad=True)
    layouts: dict[str, Callable[[], pp.Layout]] = {
        "nodes": lambda: pp.Nodes(x),
        "tokens": lambda: pp.Tokens(x[None]),
        "grid": lambda: pp.Grid(x.T.reshape(1, 2, 1000).contiguous()),
    }
    (gradient,) = torch.autograd.grad(pp.build("std")(layouts[form]()).sum(), x)
    assert gradient.abs().amax() < 1e-6


@pytest.mark.parametrize("value", [0.7, 594336.0699136324])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_give_a_constant_no_spread(value: float, dtype: torch.dtype) -> None:
    x = torch.full((65, 2), value, dtype=dtype, requires_grad=True)
    pooled = pp.build("std")(pp.Nodes(x, weight=uniform(65, dtype=dtype)))
    (gradient,) = torch.autograd.grad(pooled.sum(), x)
    assert gradient.abs().amax() < 1e-6


@pytest.mark.parametrize("name", ["var", "std", "moments"])
@pytest.mark.parametrize("form", ["nodes", "tokens", "grid"])
def test_gradients_add_up_to_0_where_a_shift_changes_nothing(name: str, form: str) -> None:
    x = (50 + normal(3000, 2)).float().requires_grad_()
    layouts: dict[str, Callable[[], pp.Layout]] = {
        "nodes": lambda: pp.Nodes(x),
        "tokens": lambda: pp.Tokens(x[None]),
        "grid": lambda: pp.Grid(x.T.reshape(1, 2, 3000).contiguous()),
    }
    pooled = pp.build(name)(layouts[form]())
    (gradient,) = torch.autograd.grad(pooled[:, -2:].sum(), x)
    assert gradient.double().sum().abs() < 1e-5 * gradient.double().abs().sum()
