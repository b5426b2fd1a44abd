"""How much of a blur there is, and learning it: from the sampling of a strided layer to the whole blur."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import polypool as pp
from polypool.vision import BlurPool, MaxBlurPool
from tests.support import close, identical, normal, uniform

BORDERS = ("renormalise", "reflect", "circular")


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("learn", [False, True])
def test_nothing_of_a_blur_is_the_sampling(learn: bool, border: Any) -> None:
    x = normal(2, 3, 7, 8)
    for kernel in (2, 3, 4, 5):
        pool = BlurPool(kernel, 2, border=border, amount=0.0, learn=learn)
        identical(pool(x), x[:, :, ::2, ::2], f"{kernel} taps")
    largest = MaxBlurPool(3, 2, window=3, amount=0.0, learn=learn)
    identical(largest(x), F.max_pool2d(x, 3, 2, 1), "a maximum with a stride")


@pytest.mark.parametrize("border", BORDERS)
def test_a_part_of_a_blur_has_blended_taps(border: Any) -> None:
    x = normal(2, 3, 12)
    own, whole = BlurPool(5, 1, border=border, amount=0.0), BlurPool(5, 1, border=border)
    part = BlurPool(5, 1, border=border, amount=0.25)
    learned = BlurPool(5, 1, border=border, amount=0.25, learn=True)
    inside = slice(2, -2)
    close(part(x)[..., inside], (0.75 * own(x) + 0.25 * whole(x))[..., inside], "away from the borders")
    close(learned(x), part(x), "a parameter of the same size")
    identical(BlurPool(5, 1, border=border, amount=1.0)(x), whole(x), "all of it")


def test_a_constant_stays_whatever_the_amount() -> None:
    x = torch.full((1, 2, 7, 5), 3.7, dtype=torch.float64)
    for amount in (0.0, 0.3, 1.0, -0.2, 1.4):
        for border in BORDERS:
            pool = BlurPool(3, border=border, learn=True)  # type: ignore[arg-type]
            assert isinstance(pool.amount, nn.Parameter)
            with torch.no_grad():
                pool.amount.fill_(amount)
            out = pool(x)
            close(out, torch.full_like(out, 3.7), f"{amount} of a blur, {border}")
    grid = pp.Grid(x, uniform(1, 7, 5) > 0.4)
    out = BlurPool(3, amount=0.3)(grid)
    assert out.mask is not None
    real = out.values.movedim(1, -1)[out.mask]
    close(real, torch.full_like(real, 3.7), "masked")


def test_the_amount_is_learned() -> None:
    x = normal(1, 1, 32, 32)
    pool = BlurPool(3, amount=0.0, learn=True)
    target = BlurPool(3)(x)
    optimizer = torch.optim.Adam(pool.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        (pool(x) - target).square().mean().backward()
        optimizer.step()
    assert isinstance(pool.amount, nn.Parameter)
    assert pool.amount.item() == pytest.approx(1.0, abs=0.02)
    assert list(pool.state_dict()) == ["amount"]
    assert copy.deepcopy(pool).amount is not pool.amount
    assert "learn=True" in repr(pool)


def test_derivatives() -> None:
    x, mask, weight = normal(1, 2, 4, 5).requires_grad_(), uniform(1, 4, 5) > 0.3, uniform(1, 4, 5, seed=1)
    for border in BORDERS:
        pool = BlurPool(3, border=border, amount=0.4, learn=True).double()  # type: ignore[arg-type]
        assert isinstance(pool.amount, nn.Parameter)

        def blurred(x: torch.Tensor, amount: torch.Tensor, pool: nn.Module = pool) -> torch.Tensor:
            return torch.func.functional_call(pool, {"amount": amount}, (x,))

        assert torch.autograd.gradcheck(blurred, (x, pool.amount))

    def masked(x: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
        grid = pp.Grid(x, mask, weight=weight)
        return torch.func.functional_call(BlurPool(3, learn=True), {"amount": amount}, (grid,)).values

    assert torch.autograd.gradcheck(masked, (x, torch.tensor(0.4, dtype=torch.float64, requires_grad=True)))


def test_what_has_no_share_is_not_read() -> None:
    x = torch.tensor([[[1.0, torch.inf, 2.0, torch.nan]]])
    assert BlurPool(3, amount=0.0)(x).tolist() == [[[1.0, 2.0]]]


def test_half_precision() -> None:
    pool = BlurPool(3, amount=0.5, learn=True).half()
    x = normal(1, 2, 6, 6, dtype=torch.float16)
    out = pool(x)
    assert out.dtype == torch.float16
    identical(out, BlurPool(3, amount=0.5)(x), "computed in float32")


def test_programs() -> None:
    torch.compiler.reset()
    pool, x = BlurPool(3, amount=0.5, learn=True), normal(2, 3, 6, 8, dtype=torch.float32)
    compiled = torch.compile(pool, fullgraph=True, backend="aot_eager")
    close(compiled(x), pool(x), "compiled")
    dims = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.export.export(pool, (x,), dynamic_shapes={"x": dims}).module()
    y = normal(3, 3, 9, 5, dtype=torch.float32)
    close(program(y), pool(y), "exported")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"amount": 1.5}, ValueError, r"amount must be in \[0, 1\]; found 1.5"),
        ({"amount": "half"}, TypeError, "amount must be a number; found str"),
        ({"learn": 1}, TypeError, "learn must be a bool"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    for pool in (BlurPool, MaxBlurPool):
        with pytest.raises(error, match=message):
            pool(**settings)
