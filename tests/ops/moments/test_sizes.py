"""Moments kernels against float64 loops: sizes of cells, channels, dtypes, weights, and all gradients."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from tests.ops.moments.sources import ALL, CHANNELS, DTYPES, SETS, SIZES, agree, dense, listed

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
LEARNED = ("sum", "mean", "m2")


@every_dtype
@pytest.mark.parametrize("channels", CHANNELS)
def test_rows_one_after_the_other(channels: int, dtype: torch.dtype) -> None:
    agree(listed(SIZES, channels, dtype))


@every_dtype
@pytest.mark.parametrize("channels", CHANNELS)
def test_rows_that_are_listed(channels: int, dtype: torch.dtype) -> None:
    agree(listed(SIZES, channels, dtype, shuffled=True))


@every_dtype
@pytest.mark.parametrize(
    ("channels", "heads"), [(1, 1), (3, 3), (16, 1), (65, 5), (100, 2), (130, 1), (130, 10)]
)
def test_weights(channels: int, heads: int, dtype: torch.dtype) -> None:
    """A third of them 0; each head weighs channels of its own."""
    agree(listed(SIZES, channels, dtype, heads=heads))
    agree(listed(SIZES, channels, dtype, heads=heads, shuffled=True), LEARNED, weights=True)


@every_dtype
@pytest.mark.parametrize("places", SIZES[1:])
def test_dense_rows(places: int, dtype: torch.dtype) -> None:
    agree(dense(2, places, 17, dtype))
    agree(dense(2, places, 66, dtype, heads=3), LEARNED, weights=True)


@every_dtype
@pytest.mark.parametrize("places", SIZES[1:])
def test_contiguous_cells(places: int, dtype: torch.dtype) -> None:
    agree(dense(2, places, 3, dtype, first=True))
    agree(dense(2, places, 6, dtype, first=True, heads=1))
    agree(dense(2, places, 6, dtype, first=True, heads=3), LEARNED, weights=True)


@every_dtype
def test_a_single_channel_is_contiguous_too(dtype: torch.dtype) -> None:
    agree(dense(3, 100, 1, dtype))
    agree(dense(3, 100, 1, dtype, heads=1))
    agree(listed((5, 0, 2000, 64), 1, dtype))


@pytest.mark.parametrize("keys", SETS, ids="+".join)
def test_only_what_is_wanted(keys: Sequence[str]) -> None:
    for source in (listed(SIZES, 20), dense(2, 100, 3, first=True), listed(SIZES, 20, heads=2)):
        agree(source, keys)


@pytest.mark.parametrize("key", [("sum",), ("mean",), ("mean", "m2"), ("sum", "mean")], ids="+".join)
@pytest.mark.parametrize("first", [False, True])
def test_gradients_of_weights(key: Sequence[str], first: bool) -> None:
    for heads in (1, 2):
        agree(dense(2, 130, 20, heads=heads, first=first), key, weights=True)
        agree(dense(2, 130, 20, torch.float64, heads=heads, first=first), key, weights=True)


def test_results_come_in_the_order_asked_for() -> None:
    source = listed((3, 70), 5)
    agree(source, ALL[::-1])
    agree(source, ("min", "m2", "max", "mean"))
