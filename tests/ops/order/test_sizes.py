"""Order kernels against float64 loops: sizes of cells, channels, dtypes, padding, and gradients."""

from __future__ import annotations

import pytest
import torch

from polypool.ops.source import Source
from tests.ops.moments.sources import CHANNELS, DTYPES, SIZES, dense, listed
from tests.ops.order.loops import agree_all
from tests.support import normal

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))


@every_dtype
@pytest.mark.parametrize("channels", CHANNELS)
def test_rows_one_after_the_other(channels: int, dtype: torch.dtype) -> None:
    agree_all(listed(SIZES, channels, dtype))


@every_dtype
@pytest.mark.parametrize("channels", CHANNELS)
def test_rows_that_are_listed(channels: int, dtype: torch.dtype) -> None:
    agree_all(listed(SIZES, channels, dtype, shuffled=True))


@every_dtype
@pytest.mark.parametrize("places", SIZES[1:])
def test_dense_rows(places: int, dtype: torch.dtype) -> None:
    agree_all(dense(2, places, 17, dtype))
    agree_all(dense(2, places, 66, dtype))
    agree_all(padded(dense(3, places, 40, dtype)))


@every_dtype
@pytest.mark.parametrize("places", SIZES[1:])
def test_contiguous_cells(places: int, dtype: torch.dtype) -> None:
    agree_all(dense(2, places, 3, dtype, first=True))
    agree_all(dense(3, places, 40, dtype, first=True))
    agree_all(padded(dense(3, places, 40, dtype, first=True)))


@every_dtype
def test_a_single_channel_is_contiguous_too(dtype: torch.dtype) -> None:
    agree_all(dense(3, 100, 1, dtype))
    agree_all(padded(dense(3, 100, 1, dtype)))
    agree_all(listed((5, 0, 2000, 64), 1, dtype))
    agree_all(listed((5, 0, 20, 64), 1, dtype))


@every_dtype
def test_what_is_not_dense_in_memory(dtype: torch.dtype) -> None:
    """Rows with something between them, planes with something between them, cells innermost."""
    agree_all(listed(SIZES, 43, dtype)._replace(values=normal(sum(SIZES), 50).to(dtype)[:, :43]))
    agree_all(Source(normal(2, 71, 9).to(dtype)[:, 1:, :6]))
    agree_all(Source(normal(2, 5, 71).to(dtype)[..., :70].transpose(1, 2)))
    agree_all(Source(normal(2, 9, 70).to(dtype)[:, 1:6].transpose(1, 2)))
    agree_all(Source(normal(70, 6, 2).to(dtype).permute(2, 0, 1)))


def test_rows_that_are_in_no_cell() -> None:
    source = listed((3, 0, 70, 40), 5, shuffled=True)
    assert source.offsets is not None
    agree_all(source._replace(offsets=source.offsets[:-1]))


def padded(source: Source) -> Source:
    """Two fifths of the places are padding; all of the last cell."""
    batch, places, _ = source.values.shape
    real = torch.rand(batch, places, 1, generator=torch.Generator().manual_seed(3)) < 0.6
    real[-1] = False
    return source._replace(weight=real.to(torch.promote_types(source.values.dtype, torch.float32)))
