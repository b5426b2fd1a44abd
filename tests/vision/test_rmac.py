"""`RMAC`: its regions as the paper lays them, and the descriptor."""

from __future__ import annotations

from itertools import pairwise
from math import floor
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import polypool as pp
from polypool.vision import RMAC, rmac_regions
from tests.support import close, normal, uniform


def by_the_paper(height: int, width: int, levels: int) -> list[tuple[int, int, int]]:
    """The sampling as it is published: of 2 to 7 squares along the longer side those whose overlap is nearest .4."""
    short = min(height, width)
    more_w = more_h = 0
    if height != width:
        gaps = [(max(height, width) - short) / (m - 1) for m in range(2, 8)]
        overlaps = [abs((short * short - short * gap) / (short * short) - 0.4) for gap in gaps]
        more = overlaps.index(min(overlaps)) + 1
        more_w, more_h = (more, 0) if width > height else (0, more)
    found = []
    for level in range(1, levels + 1):
        side = floor(2 * short / (level + 1))
        half = floor(side / 2 - 1)
        spots = []
        for length, more in ((height, more_h), (width, more_w)):
            count = level + more
            step = 0.0 if count == 1 else (length - side) / (count - 1)
            spots.append([floor(half + i * step) - half for i in range(count)])
        if side:
            found += [(i, j, side) for i in spots[0] for j in spots[1]]
    return found


@pytest.mark.parametrize(
    "size", [(7, 7), (7, 10), (10, 7), (12, 12), (24, 32), (30, 13), (5, 6), (1, 1), (2, 3)]
)
def test_the_regions_are_those_of_the_paper(size: tuple[int, int]) -> None:
    for levels in (1, 2, 3, 5):
        assert rmac_regions(*size, levels=levels) == by_the_paper(*size, levels)


def test_regions_lie_in_the_map_and_reach_its_borders() -> None:
    for height in range(1, 15):
        for width in range(1, 40, 3):
            regions = rmac_regions(height, width)
            for top, left, side in regions:
                assert 0 <= top <= height - side
                assert 0 <= left <= width - side
            first = [r for r in regions if r[2] == min(height, width)]
            assert min(r[0] for r in first) == min(r[1] for r in first) == 0
            assert max(r[0] + r[2] for r in first) == height
            assert max(r[1] + r[2] for r in first) == width


def test_the_overlap_is_near_forty_percent() -> None:
    regions = rmac_regions(10, 100, levels=1)
    steps = [b[1] - a[1] for a, b in pairwise(regions)]
    assert all(5 <= step <= 7 for step in steps)  # 6 would be 40 % exactly


def test_the_descriptor_by_hand() -> None:
    x = normal(2, 4, 7, 10)
    vectors = []
    for top, left, side in rmac_regions(7, 10):
        region = x[:, :, top : top + side, left : left + side]
        vectors.append(F.normalize(F.adaptive_max_pool2d(region, 1).flatten(1)))
    close(RMAC()(x), F.normalize(torch.stack(vectors).sum(0)), "max, length 1, sum, length 1")
    vectors.append(F.normalize(x.amax((2, 3))))
    close(RMAC(whole=True)(x), F.normalize(torch.stack(vectors).sum(0)), "with the whole map")


def test_whitening_is_between_two_normalisations() -> None:
    x = normal(2, 4, 6, 6)
    white = nn.Linear(4, 3).double()
    vectors = [
        F.normalize(white(F.normalize(x[:, :, t : t + s, u : u + s].amax((2, 3)))))
        for t, u, s in rmac_regions(6, 6)
    ]
    close(RMAC(whiten=white)(x), F.normalize(torch.stack(vectors).sum(0)), "whitened")


@pytest.mark.parametrize("name", ["mean", "gem", "std", "median", "mean+max"])
def test_any_operator(name: str) -> None:
    x = normal(2, 4, 7, 7)
    pool = pp.build(name).double()
    describe = RMAC(pool)
    out = describe(x)
    assert out.shape == (2, describe.out_channels(4))
    close(out.norm(dim=1), torch.ones(2, dtype=torch.float64), "length")
    regions = [pool(pp.Grid(x[:, :, t : t + s, u : u + s])) for t, u, s in rmac_regions(7, 7)]
    close(out, F.normalize(torch.stack([F.normalize(r) for r in regions]).sum(0)), name)


def test_padding_is_not_read() -> None:
    x, mask = normal(3, 4, 8, 8), torch.zeros(3, 8, 8, dtype=torch.bool)
    mask[:, :5, :6] = uniform(3, 5, 6) > 0.2
    mask[2] = False
    for white in (None, nn.Linear(4, 4).double()):
        describe = RMAC(whiten=white)
        hidden = x.masked_fill(~mask[:, None], torch.nan).requires_grad_()
        out = describe(hidden, mask=mask)
        low = x.masked_fill(~mask[:, None], -1e9)
        regions = rmac_regions(8, 8)
        parts = []
        for t, u, s in regions:
            there = mask[:, t : t + s, u : u + s].any((1, 2))
            vector = F.normalize(low[:, :, t : t + s, u : u + s].amax((2, 3)))
            vector = vector if white is None else F.normalize(white(vector))
            parts.append(torch.where(there[:, None], vector, 0.0))
        close(out, F.normalize(torch.stack(parts).sum(0)), "regions with a real pixel")
        assert (out[2] == 0).all()
        out.square().sum().backward()
        assert hidden.grad is not None
        assert hidden.grad.isfinite().all()
        assert (hidden.grad.masked_select(~mask[:, None]) == 0).all()
    last = pp.Grid(x.movedim(1, -1), mask, channels_last=True)
    close(RMAC()(last), RMAC()(x, mask=mask), "channels last")


def test_derivatives_and_programs() -> None:
    x = normal(2, 3, 5, 4).requires_grad_()
    assert torch.autograd.gradcheck(RMAC(), x)
    assert torch.autograd.gradgradcheck(RMAC("mean"), x)
    zero = torch.zeros(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(RMAC("mean")(zero).sum(), zero, create_graph=True)
    assert gradient.isfinite().all()
    torch.compiler.reset()
    compiled = torch.compile(RMAC(), fullgraph=True, backend="aot_eager")
    close(compiled(x), RMAC()(x), "compiled")
    dims = {0: torch.export.Dim.DYNAMIC}
    program = torch.export.export(RMAC(), (normal(2, 3, 5, 4),), dynamic_shapes={"x": dims}).module()
    close(program(normal(4, 3, 5, 4)), RMAC()(normal(4, 3, 5, 4)), "exported")


def test_large_numbers_in_half_precision() -> None:
    x = torch.full((1, 4, 6, 6), 60000.0, dtype=torch.float16)
    out = RMAC()(x)
    assert out.dtype == torch.float16
    close(out, torch.full((1, 4), 0.5, dtype=torch.float16), "length 1")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: RMAC(levels=0), ValueError, "levels must be >= 1"),
        (lambda: RMAC(whiten="pca"), TypeError, "whiten must be a module or None; found str"),  # type: ignore[arg-type]
        (lambda: RMAC()(normal(1, 2, 5)), ValueError, "two spatial dimensions; found 1"),
        (lambda: rmac_regions(0, 3), ValueError, "height must be >= 1"),
    ],
)
def test_what_makes_no_sense(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
