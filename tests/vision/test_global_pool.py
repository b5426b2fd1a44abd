"""Global pooling in place of `nn.AdaptiveAvgPool2d(1)`, with every operator."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import polypool as pp
from polypool.vision import GlobalPool
from tests.support import close, identical, normal

C = 4
SPACES = {1: (7,), 2: (5, 6), 3: (3, 4, 5)}
TORCH: dict[int, Any] = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def image(dims: int, seed: int = 0) -> Tensor:
    return normal(2, C, *SPACES[dims], seed=seed)


@pytest.mark.parametrize("dims", SPACES)
def test_the_mean_is_that_of_torch(dims: int) -> None:
    """In value, shape, gradient and memory format; with and without a batch."""
    ours, theirs = GlobalPool(dims=dims), TORCH[dims](1)
    for x in (image(dims), image(dims)[0]):
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        out, wanted = ours(a), theirs(b)
        close(out, wanted, "value")
        assert out.stride() == wanted.stride()
        for found, other in zip(
            torch.autograd.grad(out.square().sum(), a),
            torch.autograd.grad(wanted.square().sum(), b),
            strict=True,
        ):
            close(found, other, "gradient")
    if dims in LAST:
        x = image(dims).contiguous(memory_format=LAST[dims])
        assert ours(x).stride() == theirs(x).stride()


@pytest.mark.parametrize("pool", pp.names("grid"))
@pytest.mark.parametrize("dims", SPACES)
def test_every_pooling(pool: str, dims: int) -> None:
    x = image(dims)
    module = GlobalPool(pool, channels=C).double()
    wanted = module.pool(pp.Grid(x))
    assert wanted.shape == (2, module.out_channels(C))
    identical(module(x), wanted.view(*wanted.shape, *[1] * dims), "keepdim")
    flat = GlobalPool(module.pool, keepdim=False)
    identical(flat(x), wanted, "flat")
    last = GlobalPool(module.pool, channels_last=True)
    out = last(x.movedim(1, -1))
    close(out, wanted.view(2, *[1] * dims, -1), "channels last")


def test_in_a_sequential() -> None:
    torch.manual_seed(0)
    x = normal(2, 3, 8, 8, dtype=torch.float32)
    body, head = nn.Conv2d(3, 8, 3), nn.Linear(8, 10)
    before = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    after = nn.Sequential(body, GlobalPool(), nn.Flatten(), head)
    close(after(x), before(x), "logits")
    squeeze = nn.Sequential(
        GlobalPool("max"), nn.Conv2d(8, 2, 1), nn.ReLU(), nn.Conv2d(2, 8, 1), nn.Sigmoid()
    )
    assert squeeze(body(x)).shape == (2, 8, 1, 1)
    wide = nn.Sequential(body, GlobalPool("mean+max+std", keepdim=False), nn.Linear(24, 10))
    wide(x).sum().backward()
    assert all(p.grad is not None for p in wide.parameters())


def test_masks_and_grids() -> None:
    x, mask = image(2), normal(2, 5, 6, seed=1) > 0
    module = GlobalPool("mean+std")
    spoilt = x.masked_fill(~mask[:, None], torch.nan)
    wanted = pp.build("mean+std")(x, mask=mask)[..., None, None]
    identical(module(spoilt, mask=mask), wanted, "mask")
    identical(module(pp.Grid(spoilt, mask)), wanted, "grid")
    identical(GlobalPool("mean+std", dims=2)(spoilt[0], mask=mask[0]), wanted[0], "one image")
    with pytest.raises(ValueError, match="a grid already says where its pixels are"):
        module(pp.Grid(x), mask=mask)


@pytest.mark.parametrize("pool", ["mean", "gem", "attention", "mean+max"])
def test_compiled_and_exported(pool: str) -> None:
    torch.compiler.reset()
    net = nn.Sequential(nn.Conv2d(C, C, 3), GlobalPool(pool, channels=C), nn.Flatten()).double()
    x = image(2)
    close(torch.compile(net, fullgraph=True, backend="aot_eager")(x), net(x), "compiled")
    auto = torch.export.Dim.DYNAMIC
    exported = torch.export.export(
        net.requires_grad_(False), (x,), dynamic_shapes=({0: auto, 2: auto, 3: auto},)
    )
    other = normal(5, C, 9, 4)
    close(exported.module()(other), net(other), "exported")


def test_a_module_like_any_other() -> None:
    module = GlobalPool("gem", keepdim=False, dims=2)
    assert "gem" in repr(module).lower()
    assert "dims=2, keepdim=False" in repr(module)
    x = image(2, seed=3)
    for same in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        identical(same(x), module(x), "twin")
    half = GlobalPool("std")(x.half())
    assert half.dtype == torch.float16


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: GlobalPool("meen"), ValueError, "no pooling is named 'meen'. Did you mean 'mean'"),
        (lambda: GlobalPool("attention"), TypeError, "attention needs channels"),
        (lambda: GlobalPool(nn.ReLU()), TypeError, "pool must be a name or a Pooling; found ReLU()"),  # type: ignore[arg-type]
        (lambda: GlobalPool(dims=4), ValueError, "dims must be 1, 2, 3 or None; found 4"),
        (lambda: GlobalPool(keepdim=1), TypeError, "keepdim must be a bool; found int"),  # type: ignore[arg-type]
        (
            lambda: GlobalPool(pp.build("attention", channels=4), channels=8),
            ValueError,
            "pool must be built for channels = 8; found one for 4",
        ),
        (
            lambda: GlobalPool(dims=2)(normal(2, 3, 4, 5, 6)),
            ValueError,
            "x must have 2 spatial dimensions; found 3",
        ),
        (lambda: GlobalPool()(normal(2, 3)), ValueError, "values must have shape (B, C, *S)"),
        (
            lambda: GlobalPool()(torch.ones(1, 1, 2, 2).long()),
            TypeError,
            "values must be of a floating dtype",
        ),
        (
            lambda: GlobalPool("attention", channels=3)(image(2)),
            ValueError,
            "the 3 channels that attention was built for",
        ),
    ],
)
def test_bad_input(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        make()
    assert text in str(caught.value)
