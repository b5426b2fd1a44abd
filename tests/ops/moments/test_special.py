"""NaN, infinities, zeros of either sign, ties, weights of 0 and cells of nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.ops.source import Source
from tests.ops.moments.sources import ALL, DTYPES, agree, defined, listed, measured
from tests.support import close, identical, integers, normal

INF, NAN = float("inf"), float("nan")
Make = Callable[[Tensor, "Tensor | None"], Source]

# One cell of n members and C channels, and a second one beside it that must not notice.
SHAPES: dict[str, Make] = {
    "rows": lambda x, w: Source(
        torch.stack([x, torch.ones_like(x)]),
        weight=None if w is None else torch.stack([w, torch.ones_like(w)]),
    ),
    "listed": lambda x, w: Source(
        torch.cat([torch.ones(2, x.shape[1], dtype=x.dtype), x]),
        torch.tensor([0, 2, 2 + len(x)]),
        torch.cat([torch.arange(2), 2 + torch.arange(len(x)).flip(0)]),
        None if w is None else torch.cat([w[:2] * 0 + 1, w.flip(0)]),
    ),
    "contiguous": lambda x, w: Source(
        torch.stack([x.T, torch.ones_like(x.T)]).transpose(1, 2),
        weight=None if w is None else torch.stack([w, torch.ones_like(w)]),
    ),
}
every_shape = pytest.mark.parametrize("shape", SHAPES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))


def same(source: Source, keys: tuple[str, ...] = ALL) -> None:
    """Like the loops, NaN and infinities included, and places too."""
    agree(source, keys)


@every_shape
@every_dtype
@pytest.mark.parametrize("bad", [(NAN,), (INF,), (-INF,), (INF, -INF), (NAN, INF), (-INF, NAN, NAN)])
def test_in_their_own_cell_and_channel_only(shape: str, dtype: torch.dtype, bad: tuple[float, ...]) -> None:
    for places in (3, 64, 100, 1030):
        x = normal(places, 5, dtype=dtype)
        clean = measured(SHAPES[shape](x, None), ALL)
        for i, number in enumerate(bad):
            x[(places // 2 + 37 * i) % places, 1] = number
        source = SHAPES[shape](x, None)
        same(source)
        found = measured(source, ALL)
        others = [0, 2, 3, 4]
        identical(found.stats[..., others], clean.stats[..., others], "other channels")
        identical(found.values[..., others], clean.values[..., others], "their gradients")


@every_shape
@every_dtype
def test_behind_weight_0(shape: str, dtype: torch.dtype) -> None:
    """Neither read nor given a gradient, whatever is there."""
    for places in (3, 64, 100, 1030):
        x, w = normal(places, 5, dtype=dtype), 0.5 + torch.arange(places)[:, None] % 3
        w = w.to(torch.promote_types(dtype, torch.float32))
        w[places // 3 :: 2] = 0
        hidden = w[:, 0] == 0
        clean = measured(SHAPES[shape](x, w), ALL)
        same(SHAPES[shape](x, w))
        for bad in (NAN, INF, -INF):
            x[hidden] = bad
            found = measured(SHAPES[shape](x, w), ALL)
            identical(found.stats, clean.stats, f"with {bad}")
            identical(found.values, clean.values, f"gradients with {bad}")
            identical(found.places, clean.places, f"places with {bad}")


@pytest.mark.parametrize("first", [False, True])
def test_heads_hide_different_rows(first: bool) -> None:
    """A row that one head does not read is read by the other."""
    x, w = normal(2, 70, 6, dtype=torch.float32), torch.ones(2, 70, 2)
    w[:, ::3, 0] = 0
    w[:, 1::3, 1] = 0
    x[:, ::3, :3] = NAN
    x[:, 1::3, 3:] = INF
    x[1, 2, 4] = NAN
    source = Source(x.transpose(1, 2).contiguous().transpose(1, 2) if first else x, weight=w)
    same(source)
    found = measured(source, ALL)
    assert found.stats[:, 0].isfinite().all()
    assert found.stats[:, 1].isnan().any(0).tolist() == [False] * 4 + [True, False]


@every_shape
@pytest.mark.parametrize("bad", [-INF, INF])
def test_nothing_but_an_infinity(shape: str, bad: float) -> None:
    """Comparisons alone find no winner: the first member is."""
    for places in (1, 5, 64, 65, 200, 1030):
        x = torch.full((places, 3), bad)
        same(SHAPES[shape](x, None), ("max", "min", "mean"))


@every_shape
@pytest.mark.parametrize("bad", [-INF, INF])
@pytest.mark.parametrize("first", [1, 5, 64, 70, 99])
def test_nothing_but_an_infinity_behind_weight_0(shape: str, bad: float, first: int) -> None:
    """The first member that counts wins, and no other has a gradient."""
    x, w = torch.full((200, 3), bad), torch.ones(200, 1)
    w[:first] = 0
    w[-first:] = 0  # where rows are listed backwards
    same(SHAPES[shape](x, w), ("max", "min"))


@pytest.mark.parametrize("kind", ["tokens", "grid", "channels_last", "nodes", "packed"])
@pytest.mark.parametrize("name", ["max", "min"])
def test_padding_beside_nothing_but_infinities(kind: str, name: str) -> None:
    """Padding has gradient 0, exactly."""
    x = torch.full((6, 2), -INF if name == "max" else INF, requires_grad=True)
    real = torch.tensor([0, 0, 1, 1, 1, 0])
    layouts = {
        "tokens": lambda: pp.Tokens(x[None], mask=real[None]),
        "grid": lambda: pp.Grid(x.T.contiguous()[None], mask=real[None]),
        "channels_last": lambda: pp.Grid(x[None], mask=real[None], channels_last=True),
        "nodes": lambda: pp.Nodes(x, weight=real.float()),
        "packed": lambda: pp.Packed(x, torch.tensor([0, 6]), weight=real.float()),
    }
    pooled = pp.build(name)(layouts[kind]())
    assert pooled.tolist() == [[-INF if name == "max" else INF] * 2]
    (gradient,) = torch.autograd.grad(pooled.sum(), x)
    assert gradient[:, 0].tolist() == [0, 0, 1, 0, 0, 0]


@every_shape
@every_dtype
def test_ties_go_to_the_first(shape: str, dtype: torch.dtype) -> None:
    for places in (2, 31, 64, 65, 1025):
        x = integers(3, places, 20).to(dtype)
        found = agree(SHAPES[shape](x, None), ("max", "min"))
        assert int((found.values[..., :, :] != 0).sum()) == 2 * 20 * 2 - overlaps(found.places)


def overlaps(places: Tensor) -> int:
    """Where one member is both the largest and the smallest: both gradients are at one place."""
    return int((places[0] == places[1]).sum())


@every_shape
def test_zeros_of_either_sign_are_equal(shape: str) -> None:
    """The first wins, and keeps its sign."""
    for places in (2, 64, 100):
        for first in (0.0, -0.0):
            x = torch.full((places, 3), -first)
            source = SHAPES[shape](x, None)
            source.values[..., 0, :] = first
            if shape == "listed":
                source.values[1 + places] = first
            found = agree(source, ("max", "min"))
            wanted = defined(source, ("max", "min"))
            assert torch.equal(found.stats.signbit(), wanted.stats.signbit())


@pytest.mark.parametrize("channels", [1, 3, 70])
@pytest.mark.parametrize("form", ["packed", "tokens", "grid"])
def test_empty_cells(form: str, channels: int) -> None:
    """Zeros; no place; nothing to differentiate."""
    x = normal(2, 5, channels, dtype=torch.float32)
    if form == "packed":
        source = Source(x[0], torch.tensor([0, 0, 5, 5]))
        empty = [0, 2]
    else:
        x = x.transpose(1, 2).contiguous().transpose(1, 2) if form == "grid" else x
        source = Source(x, weight=torch.tensor([0.0, 1.0])[:, None, None].expand(2, 5, 1))
        empty = [0]
    found = measured(source, ALL)
    assert not found.stats[:, empty].any()
    assert bool((found.places[:, empty] == -1).all()), "the places of empty cells are -1"
    if form != "packed":
        assert not found.values[0].any()


def test_cells_of_nothing_at_all() -> None:
    for source in (
        Source(torch.zeros(0, 3), torch.tensor([0, 0, 0])),
        Source(torch.zeros(2, 0, 3)),
        Source(torch.zeros(0, 4, 3)),
        Source(torch.zeros(2, 3, 0).transpose(1, 2)),
        Source(torch.zeros(5, 3), torch.tensor([0])),
        Source(torch.zeros(5, 3), torch.tensor([0, 0]), torch.arange(5), torch.ones(5, 1)),
    ):
        found = measured(source, ("mean", "m2", "max"))
        assert not found.stats.any()
        assert not found.values.any()


@pytest.mark.parametrize("name", ["mean", "std", "moments", "max", "mean+max+std"])
def test_nan_reaches_its_own_output_only(name: str) -> None:
    """Through layouts, forward and backward."""
    x = normal(40, 6, dtype=torch.float32)
    x[7, 2] = NAN
    batch = torch.arange(40) % 4
    pool = pp.build(name)
    for layout in (pp.Nodes(x.requires_grad_(), batch), pp.Tokens(x.view(10, 4, 6).transpose(0, 1))):
        pooled = pool(layout)
        bad = pooled.isnan()
        assert bad.any(1).tolist() == [False, False, False, True]
        assert set((bad[3].nonzero()[:, 0] % 6).tolist()) == {2}
        (gradient,) = torch.autograd.grad(pooled.sum(), x)
        elsewhere = torch.ones_like(gradient, dtype=torch.bool)
        elsewhere[3::4, 2] = False
        assert gradient[elsewhere].isfinite().all()


def test_large_and_small_weights() -> None:
    """Moments do not depend on the scale of the weights."""
    source = listed((100, 3), 20, heads=1)
    assert source.weight is not None
    plain = measured(source, ("mean", "m2", "m3", "m4"))
    for scale in (1e-12, 1e12):
        scaled = measured(source._replace(weight=source.weight * scale), ("mean", "m2", "m3", "m4"))
        close(scaled.stats, plain.stats, f"weights times {scale}")
        close(scaled.values, plain.values, f"gradient with weights times {scale}")
