"""Exponential kernels against float64 loops: sizes of cells, channels, dtypes, weights, and all gradients."""

from __future__ import annotations

import pytest
import torch

from tests.ops.exponential.loops import LOOPS, agree, agree_all
from tests.ops.moments.sources import CHANNELS, DTYPES, SIZES, dense, listed

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))


@every_dtype
@pytest.mark.parametrize("channels", CHANNELS)
def test_rows_one_after_the_other(channels: int, dtype: torch.dtype) -> None:
    agree_all(listed(SIZES, channels, dtype))


@pytest.mark.parametrize("channels", CHANNELS)
def test_rows_that_are_listed(channels: int) -> None:
    agree_all(listed(SIZES, channels, shuffled=True))


@every_dtype
@pytest.mark.parametrize("channels", [1, 3, 16, 65, 130])
def test_weights(channels: int, dtype: torch.dtype) -> None:
    """A third of them 0."""
    agree_all(listed(SIZES, channels, dtype, heads=1))
    agree_all(listed(SIZES, channels, dtype, heads=1, shuffled=True))


@every_dtype
@pytest.mark.parametrize("places", SIZES[1:])
def test_dense_rows(places: int, dtype: torch.dtype) -> None:
    agree_all(dense(2, places, 17, dtype))
    agree_all(dense(2, places, 66, dtype, heads=1))


@every_dtype
@pytest.mark.parametrize("places", SIZES[1:])
def test_contiguous_cells(places: int, dtype: torch.dtype) -> None:
    agree_all(dense(2, places, 3, dtype, first=True))
    agree_all(dense(2, places, 6, dtype, first=True, heads=1))


@every_dtype
def test_many_small_cells(dtype: torch.dtype) -> None:
    """More than stand side by side, of lengths that differ, some of them empty."""
    lengths = [n * 7 % 65 for n in range(70)]
    agree_all(listed(lengths, 1, dtype))
    agree_all(listed(lengths, 1, dtype, heads=1))
    agree_all(listed(lengths, 20, dtype))
    agree_all(dense(7, 49, 9, dtype, first=True))


@every_dtype
def test_a_single_channel_is_contiguous_too(dtype: torch.dtype) -> None:
    agree_all(dense(3, 100, 1, dtype))
    agree_all(dense(3, 100, 1, dtype, heads=1))
    agree_all(listed((5, 0, 2000, 64, 5000, 3), 1, dtype))
    agree_all(listed((5, 0, 2000, 64, 5000, 3), 1, dtype, heads=1, shuffled=True))


@pytest.mark.parametrize("parameter", [1e-3, 0.1, 1.0, 30.0, 1e3])
@pytest.mark.parametrize("name", LOOPS)
def test_temperatures(name: str, parameter: float) -> None:
    for dtype in (torch.float32, torch.float64):
        tensor = torch.tensor([parameter], dtype=dtype)
        for source in (listed((70, 3), 20, dtype), dense(2, 49, 3, dtype, first=True)):
            agree(name, source, parameter)
            if parameter < 100:  # the derivative by t is a difference that vanishes with t
                agree(name, source, tensor)
