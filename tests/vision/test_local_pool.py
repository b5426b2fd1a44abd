"""`LocalPool`: any pooling over windows; its fast ways beside the cells they stand for, and beside torch."""

from __future__ import annotations

import copy
import pickle
from contextlib import nullcontext
from itertools import product
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import polypool as pp
from polypool.vision import LocalPool
from tests.support import close, identical, normal, uniform

FAST = ("mean", "sum", "max", "min")
# kernel, stride, padding, ceil_mode, count_include_pad, dilation
SETTINGS: list[tuple[Any, ...]] = [
    (3, 2, 1, False, False, 1),
    (3, 2, 1, True, True, 1),
    ((3, 2), None, 0, True, False, 1),
    (2, 3, 1, True, False, (2, 1)),
    (9, 1, 4, False, True, 1),
    ((1, 4), (2, 3), (0, 2), True, False, 1),
]


def made(pool: str | pp.Pooling, settings: tuple[Any, ...]) -> LocalPool:
    kernel, stride, padding, ceil_mode, include, dilation = settings
    return LocalPool(
        pool, kernel, stride, padding, ceil_mode=ceil_mode, count_include_pad=include, dilation=dilation
    )


def grids() -> list[pp.Grid]:
    """Plain, masked with NaN in the padding, weighted, channels last."""
    x, mask, weight = normal(2, 3, 9, 8), uniform(2, 9, 8, seed=1) > 0.4, uniform(2, 9, 8, seed=2)
    mask[:, :4, :4] = False
    weight[0, 2:4] = 0
    hidden = x.masked_fill(~mask[:, None], torch.nan)
    return [
        pp.Grid(x),
        pp.Grid(hidden, mask),
        pp.Grid(hidden, mask, weight=weight),
        pp.Grid(x.movedim(1, -1), mask, channels_last=True),
    ]


def window_by_window(pool: pp.Pooling, grid: pp.Grid, settings: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    """The definition: every window as a packed cell. `(B, C, H, W)`, and which windows have a real pixel."""
    kernel, stride, padding, ceil_mode, include, dilation = settings
    k, p, d = ((n, n) if isinstance(n, int) else n for n in (kernel, padding, dilation))
    s = k if stride is None else (stride, stride) if isinstance(stride, int) else stride
    x = grid.values.movedim(-1, 1) if grid.channels_last else grid.values
    size = F.max_pool2d(x.nan_to_num(), k, s, p, d, ceil_mode).shape[2:]
    real = torch.ones(x.shape[0], *x.shape[2:], dtype=torch.bool) if grid.mask is None else grid.mask
    rows: list[Tensor] = []
    weights: list[Tensor] = []
    lengths: list[int] = []
    for b, i, j in product(range(x.shape[0]), range(size[0]), range(size[1])):
        before = len(rows)
        for u, v in product(range(k[0]), range(k[1])):
            y, z = i * s[0] - p[0] + u * d[0], j * s[1] - p[1] + v * d[1]
            if 0 <= y < x.shape[2] and 0 <= z < x.shape[3]:
                if real[b, y, z]:
                    rows.append(x[b, :, y, z])
                    weights.append(torch.tensor(1.0) if grid.weight is None else grid.weight[b, y, z])
            elif include and y < x.shape[2] + p[0] and z < x.shape[3] + p[1]:
                rows.append(torch.zeros(x.shape[1], dtype=x.dtype))
                weights.append(torch.tensor(1.0))
        lengths.append(len(rows) - before)
    packed = pp.Packed.from_lengths(
        torch.stack(rows),
        torch.tensor(lengths),
        weight=None if grid.weight is None else torch.stack(weights).double(),
    )
    pooled = pool(packed).unflatten(0, (x.shape[0], *size)).movedim(-1, 1)
    return pooled, (packed.counts > 0).unflatten(0, (x.shape[0], *size))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("name", [*FAST, "std"])
def test_the_definition(name: str, settings: tuple[Any, ...]) -> None:
    pool = pp.build(name)
    for grid in grids():
        out = made(pool, settings)(grid)
        wanted, real = window_by_window(pool, grid, settings)
        found = out.values.movedim(-1, 1) if grid.channels_last else out.values
        close(found, wanted, f"{name} of {grid}")
        assert out.channels_last == grid.channels_last
        if grid.mask is None:
            assert out.mask is None
        else:
            assert out.mask is not None
            identical(out.mask, real, "windows with a real pixel")


@pytest.mark.parametrize("name", FAST)
def test_the_fast_ways_have_the_gradients_of_the_cells(name: str) -> None:
    for settings, grid in product(SETTINGS, grids()):
        pool, results = made(name, settings), []
        for fast in (True, False):
            x = grid.values.clone().requires_grad_()
            w = None if grid.weight is None else grid.weight.clone().requires_grad_()
            own = pp.Grid(x, grid.mask, grid.channels_last, weight=w)
            slow = mock.patch.object(LocalPool, "_by_torch", return_value=None)
            with nullcontext() if fast else slow:
                out = pool(own).values
            cotangent = normal(*out.shape, seed=3)
            wanted = [x] if w is None or name in ("max", "min") else [x, w]
            results.append((out, *torch.autograd.grad(out, wanted, cotangent)))
        for found, expected in zip(*results, strict=True):
            close(found, expected, f"{name} {settings} of {grid}")
        if grid.mask is not None:
            at = ~grid.mask[..., None] if grid.channels_last else ~grid.mask[:, None]
            assert (results[0][1].masked_select(at) == 0).all()


def test_a_drop_in_for_the_modules_of_torch() -> None:
    x = normal(2, 3, 11, 10)
    pairs: list[tuple[nn.Module, nn.Module]] = [
        (LocalPool("mean", 2), nn.AvgPool2d(2)),
        (LocalPool("mean", 3, 2, 1, count_include_pad=True), nn.AvgPool2d(3, 2, 1)),
        (LocalPool("mean", 3, 2, 1), nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
        (LocalPool("mean", 3, 2, 1, ceil_mode=True), nn.AvgPool2d(3, 2, 1, True, False)),
        (LocalPool("max", 3, 2, 1), nn.MaxPool2d(3, 2, 1)),
        (LocalPool("max", 3, 2, 1, ceil_mode=True), nn.MaxPool2d(3, 2, 1, ceil_mode=True)),
        (LocalPool("max", 2, dilation=3), nn.MaxPool2d(2, dilation=3)),
    ]
    for ours, torchs in pairs:
        identical(ours(x), torchs(x), repr(ours))
        identical(nn.Sequential(ours)(x), torchs(x), "in a sequence")
    close(
        LocalPool("rms", 2)(x) * 2, F.lp_pool2d(x, 2.0, 2), "a norm is the root mean square times sqrt(area)"
    )


@pytest.mark.parametrize("name", ["median", "moments", "gem", "attention", "mean+max"])
def test_any_operator_over_windows_of_a_grid(name: str) -> None:
    x = normal(2, 4, 7, 6)
    pool = pp.build(name, channels=4).double()
    local = LocalPool(pool, 3, 2, 1)
    out = local(x)
    close(out, pool(pp.Grid(x).windows(3, 2, 1)), name)
    assert out.shape[1] == local.out_channels(4)
    mask = uniform(2, 7, 6, seed=5) > 0.3
    hidden = x.masked_fill(~mask[:, None], torch.nan)
    close(local(hidden, mask=mask), pool(pp.Grid(x, mask).windows(3, 2, 1)), "masked")


def test_every_registered_operator_slides() -> None:
    x = normal(1, 4, 5, 4)
    for name in pp.names("grid"):
        pool = pp.build(name, channels=4).double()
        out = LocalPool(pool, 2, 1, 1, ceil_mode=True)(x)
        close(out[:, :, 2, 2], pool(pp.Grid(x[:, :, 1:3, 1:3])), name)


def test_zeros_that_count_are_pixels_for_every_operator() -> None:
    x = normal(1, 2, 4, 4)
    for name in ("std", "median", "max", "mean", "min"):
        found = LocalPool(name, 3, 1, 1, count_include_pad=True)(x)
        close(found, LocalPool(name, 3, 1)(F.pad(x, (1, 1, 1, 1))), name)


@pytest.mark.parametrize("dims", [1, 3])
def test_signals_and_volumes(dims: int) -> None:
    x = normal(2, 3, *(7, 6, 5)[:dims])
    average, largest = (F.avg_pool1d, F.max_pool1d) if dims == 1 else (F.avg_pool3d, F.max_pool3d)
    close(LocalPool("mean", 3, 2, 1, count_include_pad=True)(x), average(x, 3, 2, 1), "mean")
    close(LocalPool("sum", 3, 2, 1)(x), average(x, 3, 2, 1) * 3**dims, "sum")
    identical(LocalPool("max", 3, 2, 1)(x), largest(x, 3, 2, 1), "max")
    close(LocalPool("std", 2)(x), pp.build("std")(pp.Grid(x).windows(2)), "std")


class Largest(TorchDispatchMode):
    """The elements of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", FAST)
def test_no_window_is_written_out(name: str, masked: bool) -> None:
    """Of seven times seven pixels each, at every pixel."""
    x, mask = normal(2, 3, 20, 20), uniform(2, 20, 20) > 0.3
    with Largest() as seen:
        LocalPool(name, 7, 1, 3)(x, mask=mask if masked else None)
    assert 0 < seen.elements <= x.numel()
    with Largest() as seen:
        LocalPool("std", 7, 1, 3)(x)
    assert seen.elements == 49 * x.numel()


def test_large_windows_are_summed_without_their_error() -> None:
    x = (torch.rand(1, 1, 300, 300, generator=torch.Generator().manual_seed(0)) + 1000).float()
    for name in ("mean", "sum"):
        found = LocalPool(name, 200, 50)(x)
        close(found, LocalPool(name, 200, 50)(x.double()), name)
    narrow = LocalPool("mean", 31, 1, 15)(x)
    close(
        narrow, F.avg_pool2d(x.double(), 31, 1, 15, count_include_pad=False), "two dimensions, one at a time"
    )


def test_half_precision_is_pooled_in_single() -> None:
    x = torch.full((1, 1, 8, 8), 60000.0, dtype=torch.float16)
    assert LocalPool("mean", 4)(x).unique().item() == 60000
    y = normal(1, 2, 9, 9, dtype=torch.bfloat16)
    for name in FAST:
        found = LocalPool(name, 3, 2, 1)(y)
        assert found.dtype == torch.bfloat16
        identical(found, LocalPool(name, 3, 2, 1)(y.float()).bfloat16(), name)


def test_memory_formats_are_kept() -> None:
    x = normal(2, 3, 6, 8, dtype=torch.float32).contiguous(memory_format=torch.channels_last)
    for name in ("mean", "max", "std"):
        assert LocalPool(name, 2)(x).is_contiguous(memory_format=torch.channels_last)
        assert LocalPool(name, 2)(x.contiguous()).is_contiguous()


def test_nan_and_inf_stay_in_their_windows() -> None:
    for value in (torch.nan, torch.inf, -torch.inf):
        x = torch.zeros(1, 2, 9)
        x[0, 0, 4] = value
        for name in FAST:
            out = LocalPool(name, 3)(x)
            wanted = pp.build(name)(pp.Grid(x).windows(3))
            identical(out, wanted, f"{name} of {value}")


def test_weights_of_windows_keep_the_weighted_mean() -> None:
    x, weight = normal(2, 3, 6, 6), uniform(2, 6, 6) + 0.1
    pooled = LocalPool("mean", 2)(pp.Grid(x, weight=weight))
    close(pp.build("mean")(pooled), pp.build("mean")(pp.Grid(x, weight=weight)), "mean of means")


def test_derivatives() -> None:
    x = normal(1, 2, 5, 4).requires_grad_()
    mask = uniform(1, 5, 4, seed=7) > 0.3
    for name in ("mean", "sum", "max", "std"):
        pool = LocalPool(name, 3, 2, 1, ceil_mode=True)
        assert torch.autograd.gradcheck(pool, x)
        assert torch.autograd.gradgradcheck(pool, x)
        assert torch.autograd.gradcheck(lambda x, pool=pool: pool(x, mask=mask), x)
    stacked = normal(3, 1, 2, 5, 4)
    pool = LocalPool("mean", 3, 2, 1)
    close(torch.func.vmap(pool)(stacked), torch.stack([pool(one) for one in stacked]), "vmap")


DYNAMIC = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}


@pytest.mark.parametrize("name", [*FAST, "std"])
def test_exported_for_any_size(name: str) -> None:
    pool = LocalPool(name, 3, 2, 1)
    program = torch.export.export(pool, (normal(2, 3, 8, 10),), dynamic_shapes={"x": DYNAMIC})
    x = normal(3, 3, 9, 13)
    close(program.module()(x), pool(x), name)


@pytest.mark.parametrize(
    ("name", "ceil_mode"),
    [
        ("mean", True),
        pytest.param("mean", False, marks=pytest.mark.slow),
        pytest.param("max", True, marks=pytest.mark.slow),
        pytest.param("median", True, marks=pytest.mark.slow),
    ],
)
def test_compiled_is_eager(name: str, ceil_mode: bool) -> None:
    torch.compiler.reset()
    pool = LocalPool(name, 3, 2, 1, ceil_mode=ceil_mode)
    compiled = torch.compile(pool, fullgraph=True, backend="aot_eager", dynamic=True)
    for shape in ((2, 3, 6, 8), (3, 3, 9, 5)):
        x, y = (normal(*shape).requires_grad_() for _ in range(2))
        out = compiled(x)
        close(out, pool(y), name)
        out.square().sum().backward()
        pool(y).square().sum().backward()
        assert x.grad is not None
        assert y.grad is not None
        close(x.grad, y.grad, f"gradient of {name}")


@pytest.mark.slow
def test_a_masked_grid_compiled_is_eager() -> None:
    torch.compiler.reset()
    masked = pp.Grid(normal(2, 3, 6, 8), uniform(2, 6, 8) > 0.5)
    compiled = torch.compile(LocalPool("mean", 2), fullgraph=True, backend="aot_eager")
    close(compiled(masked).values, LocalPool("mean", 2)(masked).values, "a grid")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mean", "std"])
def test_inductor_is_eager(name: str) -> None:
    torch.compiler.reset()
    pool = LocalPool(name, 3, 2, 1)
    x, y = (normal(2, 3, 9, 8, dtype=torch.float32).requires_grad_() for _ in range(2))
    out = torch.compile(pool, fullgraph=True)(x)
    close(out, pool(y), name)
    out.square().sum().backward()
    pool(y).square().sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    close(x.grad, y.grad, "gradients")


def test_modules_copy_and_print() -> None:
    pool = LocalPool("gem", 3, (1, 2), 1, ceil_mode=True)
    x = normal(1, 2, 6, 6)
    for other in (copy.deepcopy(pool), pickle.loads(pickle.dumps(pool))):
        identical(other(x), pool(x), "a copy")
    assert list(pool.state_dict()) == ["pool.p"]
    assert "kernel=3, stride=(1, 2), padding=1, ceil_mode=True" in repr(pool)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"kernel": 0}, ValueError, "kernel must be >= 1; found 0"),
        ({"kernel": 2.0}, TypeError, "kernel must be an int; found float"),
        ({"stride": 0}, ValueError, "stride must be >= 1; found 0"),
        ({"padding": -1}, ValueError, "padding must be >= 0; found -1"),
        ({"padding": 2}, ValueError, "padding must be at most half of a window, 3 // 2; found 2"),
        ({"dilation": 0}, ValueError, "dilation must be >= 1"),
        ({"kernel": (3, 3), "stride": (1, 1, 1)}, ValueError, "kernel must be one int or 3"),
        ({"ceil_mode": 1}, TypeError, "ceil_mode must be a bool"),
        ({"pool": "meen"}, ValueError, "Did you mean 'mean'"),
        ({"pool": nn.ReLU()}, TypeError, r"pool must be a name or a polypool\.Pooling; found ReLU"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        LocalPool(**{"pool": "mean", "kernel": 3, **settings})


def test_inputs_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="kernel must fit the grid with its padding, 4 places"):
        LocalPool("mean", 5)(normal(1, 1, 4, 4))
    with pytest.raises(ValueError, match="found 3 with dilation 2"):
        LocalPool("max", 3, dilation=2)(normal(1, 1, 4, 4))
    with pytest.raises(ValueError, match="kernel must be one int or 1, one per spatial dimension; found 2"):
        LocalPool("mean", (2, 2))(normal(1, 4, 4))
    with pytest.raises(
        TypeError, match=r"x must be a tensor \(B, C, \*S\) or a polypool\.Grid; found Tokens"
    ):
        LocalPool("mean", 2)(pp.Tokens(normal(1, 4, 4)))
    mask = torch.ones(1, 4, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="found mask too"):
        LocalPool("mean", 2)(pp.Grid(normal(1, 1, 4, 4)), mask=mask)
    with pytest.raises(NotImplementedError, match="median"):
        LocalPool("median", 2)(pp.Grid(normal(1, 1, 4, 4), weight=uniform(1, 4, 4)))
