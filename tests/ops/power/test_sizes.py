"""Cells and channels of every size, in every dtype and order of memory, with weights and without."""

from __future__ import annotations

import pytest
import torch

from polypool.ops.cpu import team
from polypool.ops.source import Source
from tests.ops.moments.sources import CHANNELS, DTYPES, SIZES, dense, listed
from tests.ops.power.cases import SETTINGS, Setting, agree, per_channel
from tests.support import normal

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
every_setting = pytest.mark.parametrize("setting", SETTINGS, ids=str)
FEW = (Setting(3.0, floor=1e-6), Setting(2.5), Setting(torch.tensor([3.0]), floor=1e-6))


def beside(source: Source, setting: Setting) -> Source:
    """Values whose signed powers do not cancel, which would leave few digits of them."""
    return source._replace(values=source.values.abs() + 0.25) if setting.signed else source


@every_setting
@every_dtype
def test_every_setting(setting: Setting, dtype: torch.dtype) -> None:
    for source in (
        listed((3, 0, 70, 130), 20, dtype),
        listed((3, 0, 70, 130), 20, dtype, shuffled=True, heads=1),
        dense(2, 49, 5, dtype, first=True),
        dense(2, 1100, 3, dtype, first=True, heads=1),
    ):
        agree(beside(source, setting), setting)


@every_dtype
@pytest.mark.parametrize("channels", CHANNELS)
def test_listed_rows(channels: int, dtype: torch.dtype) -> None:
    for setting in (*FEW, per_channel(channels)):
        agree(listed(SIZES, channels, dtype), setting)
        agree(listed(SIZES, channels, dtype, shuffled=True, heads=1), setting)


@every_dtype
@pytest.mark.parametrize("places", SIZES[1:])
def test_dense_rows(places: int, dtype: torch.dtype) -> None:
    for setting in (*FEW, per_channel(66)):
        agree(dense(2, places, 66, dtype), setting)
        agree(dense(2, places, 66, dtype, heads=1), setting)


@every_dtype
@pytest.mark.parametrize("places", SIZES[1:])
def test_contiguous_cells(places: int, dtype: torch.dtype) -> None:
    for setting in (*FEW, per_channel(3)):
        agree(dense(2, places, 3, dtype, first=True), setting)
        agree(dense(2, places, 3, dtype, first=True, heads=1), setting)


@every_dtype
def test_a_single_channel_is_contiguous_too(dtype: torch.dtype) -> None:
    for setting in FEW:
        agree(dense(3, 100, 1, dtype), setting)
        agree(dense(3, 100, 1, dtype, heads=1), setting)
        agree(listed((5, 0, 2000, 64, *[7] * 40), 1, dtype), setting)
        agree(listed((5, 0, 2000, 64), 1, dtype, heads=1), setting)


def test_many_short_cells() -> None:
    """More than a handful is read together."""
    for setting in FEW:
        for places in (1, 5, 49, 196, 600):
            agree(dense(3, places, 45, first=True), setting)


def test_memory_in_other_orders() -> None:
    crop = normal(3, 20, 9, 70, dtype=torch.float32)[:, 2:17, 1:, 3:68]
    for setting in FEW:
        agree(Source(crop[:, :, 0]), setting)
        agree(Source(crop[0].transpose(0, 2)), setting)
        agree(Source(crop[0].transpose(1, 2)), setting)
        agree(Source(crop[0, :, 0].expand(4, -1, -1)), setting)
        agree(Source(crop[:, 0, :, 3:40].transpose(1, 2)), setting)
        agree(Source(crop[:1, 0, :, 3:40].contiguous()[..., :35].transpose(1, 2)), setting)
        agree(Source(crop[0, :, 0].T, torch.tensor([0, 5, 65])), setting)
        agree(Source(crop[0, :, 0, ::2], torch.tensor([0, 5, 15])), setting)


def test_rows_outside_of_all_cells() -> None:
    """Neither read nor given a gradient."""
    x = normal(100, 5, dtype=torch.float32)
    x[90:] = torch.nan
    for setting in FEW:
        found = agree(Source(x, torch.tensor([0, 40, 90])), setting)
        assert not found.values[90:].any()


def test_kernels_ran() -> None:
    before = team.launches()
    agree(listed((3, 70), 5), FEW[0])
    agree(dense(2, 70, 5, first=True), FEW[0])
    ran = {name for name, times in team.launches().items() if times != before.get(name, 0)}
    assert ran >= {"powers_of_rows", "gradients_of_rows", "powers_of_stretches", "gradients_of_stretches"}
