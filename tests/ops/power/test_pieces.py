"""Cells so long that they are read in pieces, which are joined in their order."""

from __future__ import annotations

import pytest
import torch

from polypool.ops.source import Source
from tests.ops.moments.sources import dense, listed
from tests.ops.power.cases import INF, NAN, SETTINGS, Setting, agree, defined, measured
from tests.support import Tolerance, close, normal

LONG = (1 << 18) + 5000
FEW = (
    Setting(3.0, floor=1e-6),
    Setting(2.5),
    Setting(2.0, signed=True),
    Setting(torch.tensor([3.0]), floor=1e-6),
    Setting(torch.linspace(0.5, 5.0, 2)),
)


@pytest.mark.parametrize("setting", FEW, ids=str)
def test_rows(setting: Setting) -> None:
    wide = setting._replace(p=torch.linspace(0.5, 5.0, 130)) if setting is FEW[-1] else setting
    for heads in (0, 1):
        source = listed((5000, 70, 0, 3000), 130, heads=heads)
        agree(source._replace(values=source.values.abs() + 0.25), wide)


@pytest.mark.parametrize("setting", FEW, ids=str)
def test_contiguous_cells(setting: Setting) -> None:
    for heads in (0, 1):
        source = dense(1, LONG, 2, heads=heads, first=True)
        agree(source._replace(values=source.values.abs() + 0.25), setting)


@pytest.mark.parametrize("setting", FEW[:4], ids=str)
def test_one_channel_of_some_long_cells(setting: Setting) -> None:
    source = listed((LONG, 10, 0, 700), 1)
    agree(source._replace(values=source.values.abs() + 0.25), setting)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("first", [False, True])
def test_pieces_that_differ(first: bool, setting: Setting) -> None:
    """Zeros, tiny and huge numbers, infinities and NaN, each in one piece alone."""
    n = LONG if first else 6000
    x = 0.25 + normal(1, n, 2 if first else 130, dtype=torch.float32).abs()
    half, end = n // 2, slice(n - 500, None)
    for begin, special in ((half, 0.0), (half, 1e-25), (half, 1e25), (end, INF), (end, NAN)):
        changed = x.clone()
        if begin is end:
            changed[0, end, 0] = special
        else:
            changed[0, :half, 0] = special
            changed[0, :, 1] = special
        if first:
            changed = changed.transpose(1, 2).contiguous().transpose(1, 2)
        source = Source(changed)
        found, wanted = measured(source, setting).out, defined(source, setting).out
        scale = wanted.abs().where(wanted.isfinite() & (wanted != 0), 1.0)
        close(found / scale, wanted / scale, f"{special}", Tolerance(2e-5, 2e-6))
