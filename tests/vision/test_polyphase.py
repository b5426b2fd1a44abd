"""`PolyphasePool`: the strongest samples, and the same ones wherever the image has moved to on a torus."""

from __future__ import annotations

import copy
import pickle
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import polypool as pp
from polypool.vision import BlurPool, PolyphasePool
from tests.support import close, identical, integers, normal, uniform

INF = float("inf")


def components(x: Tensor, strides: tuple[int, ...]) -> list[Tensor]:
    """All ways to keep every s-th pixel, the last dimension's beginning first to change."""
    return [
        x[(..., *(slice(o, None, s) for o, s in zip(offsets, strides, strict=True)))]  # type: ignore[index]
        for offsets in product(*map(range, strides))
    ]


@pytest.mark.parametrize("p", [1.0, 2.0, 3.5, INF])
@pytest.mark.parametrize(("spatial", "stride"), [((12,), 3), ((6, 8), 2), ((6, 8), (3, 2)), ((4, 2, 6), 2)])
def test_the_definition(spatial: tuple[int, ...], stride: Any, p: float) -> None:
    x = normal(4, 3, *spatial)
    strides = (stride,) * len(spatial) if isinstance(stride, int) else stride
    ways = components(x, strides)
    strength = torch.stack([torch.linalg.vector_norm(way.flatten(1), p, dim=1) for way in ways])
    wanted = torch.stack([ways[int(k)][b] for b, k in enumerate(strength.argmax(0))])
    pool = PolyphasePool(stride, p=p)
    identical(pool(x), wanted, f"norm {p}")
    identical(pool.choose(x), strength.argmax(0), "the choice")
    last = pool(pp.Grid(x.movedim(1, -1), channels_last=True))
    identical(last.values.movedim(-1, 1), wanted, "channels last")


@pytest.mark.parametrize("kernel", [1, 3, (4, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_shifts_on_a_torus_move_the_result_and_change_no_bit(dtype: torch.dtype, kernel: Any) -> None:
    x = normal(3, 4, 8, 6, dtype=dtype)
    pool = PolyphasePool(2, kernel)
    still = pool(x)
    for shift in product(range(8), range(6)):
        moved = pool(x.roll(shift, (2, 3)))
        for b in range(3):
            turns = [still[b].roll(t, (1, 2)) for t in product(range(4), range(3))]
            assert sum(torch.equal(moved[b], turn) for turn in turns) == 1
        # So what forgets the place is exactly the same.
        identical(pp.build("max")(moved), pp.build("max")(still), f"maximum after a shift by {shift}")


def test_two_in_a_row_with_convolutions_between_forget_every_shift() -> None:
    def network(pool: type[nn.Module], *settings: Any) -> nn.Sequential:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            convolutions = [
                nn.Conv2d(a, b, 3, padding=1, padding_mode="circular") for a, b in ((1, 6), (6, 8), (8, 8))
            ]
        a, b, c = convolutions
        layers = (a, nn.ReLU(), pool(*settings), b, nn.ReLU(), pool(*settings), c)
        return nn.Sequential(*layers).double().requires_grad_(False)

    x = normal(4, 1, 12, 12)
    change = {}
    for name, model in (
        ("polyphase", network(PolyphasePool, 2)),
        ("max", network(nn.MaxPool2d, 2)),
        ("blur", network(BlurPool, 3)),
    ):
        still = model(x).mean((2, 3))
        moved = [model(x.roll(shift, (2, 3))).mean((2, 3)) for shift in ((1, 0), (0, 3), (5, 7))]
        change[name] = max(float((m - still).abs().max() / still.abs().max()) for m in moved)
    assert change["polyphase"] < 1e-12
    assert change["max"] > 1e-2
    assert change["blur"] > 1e-4


def test_ties_take_the_first_and_a_constant_stays() -> None:
    x = torch.full((2, 3, 4, 4), 2.5)
    pool = PolyphasePool(2)
    assert pool.choose(x).tolist() == [0, 0]
    identical(pool(x), x[:, :, ::2, ::2], "a constant")
    one = normal(2, 3, 1, 1)
    identical(pool(one), one, "a map of one pixel")


def test_sizes_that_the_stride_does_not_divide() -> None:
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 9.0]]])
    assert PolyphasePool(2, border="reflect")(x).tolist() == [[[2.0, 4.0, 9.0]]]  # 9 twice, at the end
    assert PolyphasePool(2)(x).tolist() == [[[1.0, 3.0, 9.0]]]  # 1 once more, from the beginning
    assert PolyphasePool((2, 3))(normal(1, 1, 5, 7)).shape == (1, 1, 3, 3)


def test_one_branch_is_sampled_like_another() -> None:
    x, skip = normal(4, 3, 6, 6), normal(4, 5, 6, 6, seed=1)
    pool = PolyphasePool(2)
    chosen = pool.choose(x)
    identical(pool(x, chosen=chosen), pool(x), "its own choice")
    ways = torch.stack(components(skip, (2, 2)))
    identical(pool(skip, chosen=chosen), ways[chosen, torch.arange(4)], "the other's choice")


def test_padding_has_no_strength_and_is_sampled_along() -> None:
    x, mask, weight = normal(4, 3, 6, 6), uniform(4, 6, 6) > 0.4, uniform(4, 6, 6, seed=1)
    mask[3] = False
    hidden = x.masked_fill(~mask[:, None], torch.nan)
    for grid in (pp.Grid(hidden, mask), pp.Grid(hidden, mask, weight=weight)):
        counted = mask[:, None] * (1 if grid.weight is None else weight[:, None].sqrt())
        chosen = PolyphasePool(2).choose(x * counted)
        out = PolyphasePool(2)(grid)
        assert out.mask is not None
        rows = torch.arange(4)
        identical(out.values, torch.stack(components(hidden, (2, 2)))[chosen, rows], "values")
        identical(out.mask, torch.stack(components(mask, (2, 2)))[chosen, rows], "mask")
        if out.weight is not None:
            identical(out.weight, torch.stack(components(weight, (2, 2)))[chosen, rows], "weights")
        assert pp.build("mean")(out).isfinite().all()
    identical(PolyphasePool(2)(hidden, mask=mask), PolyphasePool(2)(pp.Grid(hidden, mask)).values, "a tensor")


def test_large_and_special_numbers() -> None:
    x = normal(2, 2, 4, 4) * 1e200
    ways = components(x / 1e200, (2, 2))
    strength = torch.stack([way.square().sum((1, 2, 3)) for way in ways])
    identical(PolyphasePool(2).choose(x), strength.argmax(0), "no square overflows")
    y = torch.ones(1, 1, 4)
    y[..., 1] = torch.nan
    assert PolyphasePool(2).choose(y).item() == 1
    y[..., 1] = torch.inf
    assert PolyphasePool(2).choose(y).item() == 1
    assert PolyphasePool(2)(torch.zeros(0, 3, 4, 4)).shape == (0, 3, 2, 2)


def test_the_pixels_that_are_kept_take_the_gradient() -> None:
    x = torch.tensor([[[0.0, 5.0, 1.0, 2.0]]], requires_grad=True)
    PolyphasePool(2)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [0, 1, 0, 1]


def test_derivatives() -> None:
    x = normal(2, 2, 4, 4).requires_grad_()
    for pool in (PolyphasePool(2), PolyphasePool(2, 3)):
        assert torch.autograd.gradcheck(pool, x)
    assert torch.autograd.gradgradcheck(PolyphasePool(2), x)
    stacked = normal(3, 2, 2, 4, 6)
    pool = PolyphasePool(2)
    identical(torch.func.vmap(pool)(stacked), torch.stack([pool(one) for one in stacked]), "vmap")


@pytest.mark.parametrize("kernel", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_programs(kernel: int) -> None:
    torch.compiler.reset()
    pool = PolyphasePool(2, kernel)
    compiled = torch.compile(pool, fullgraph=True, backend="aot_eager", dynamic=True)
    for shape in ((2, 2, 4, 6), (3, 2, 8, 5)):
        identical(compiled(normal(*shape)), pool(normal(*shape)), "compiled")
    sizes = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.export.export(pool, (normal(2, 2, 4, 6),), dynamic_shapes={"x": sizes}).module()
    for shape in ((3, 2, 8, 4), (3, 2, 7, 5)):
        identical(program(normal(*shape)), pool(normal(*shape)), "exported")


def test_memory_formats_are_kept_and_modules_copy() -> None:
    x = normal(2, 3, 6, 8).contiguous(memory_format=torch.channels_last)
    pool = PolyphasePool(2, 3, p=1.0)
    assert pool(x).is_contiguous(memory_format=torch.channels_last)
    assert pool(x.contiguous()).is_contiguous()
    for other in (copy.deepcopy(pool), pickle.loads(pickle.dumps(pool))):
        identical(other(x), pool(x), "a copy")
    assert "stride=2, kernel=3, p=1, border='circular'" in repr(pool)
    close(pool(x), PolyphasePool(2, p=1.0)(BlurPool(3, 1, border="circular")(x)), "blurred first")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: PolyphasePool(0), ValueError, "stride must be >= 1"),
        (lambda: PolyphasePool(p=0), ValueError, "p must be > 0; found 0"),
        (lambda: PolyphasePool(p="2"), TypeError, "p must be a number; found str"),  # type: ignore[arg-type]
        (lambda: PolyphasePool(border="zeros"), ValueError, "border must be one of"),  # type: ignore[arg-type]
        (lambda: PolyphasePool((2, 2))(normal(1, 1, 4)), ValueError, "stride must be one int or 1"),
        (
            lambda: PolyphasePool(2)(normal(2, 1, 4), chosen=integers(2, 3)),
            ValueError,
            r"chosen must have shape \(B,\)",
        ),
        (
            lambda: PolyphasePool(2)(normal(1, 1, 4), chosen=torch.tensor([2])),
            ValueError,
            r"chosen must be in \[0, 2\) \(the ways to begin\); found 2",
        ),
    ],
)
def test_what_makes_no_sense(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
