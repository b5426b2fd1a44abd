"""Bitwise the same for any number of threads: results and every gradient."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from polypool.ops.source import Source
from tests.ops.exponential.loops import LOOPS, measured
from tests.ops.moments.sources import dense, listed
from tests.support import identical

pytestmark = pytest.mark.usefixtures("_threads_restored")
LONG = (1 << 18) + 5000

# Large enough for more threads than one, which need 2^15 numbers.
SOURCES: dict[str, Source] = {
    "many cells": listed([10] * 600, 20),
    "few cells": listed((3000, 5, 0, 900), 20, shuffled=True),
    "pieces": listed((5000, 70, 3000), 130),
    "weights": listed((4000, 70, 3000), 66, heads=1),
    "one channel": listed((LONG, 10, 900), 1),
    "one channel, weights": listed((LONG, 10, 900), 1, heads=1),
    "small cells of one channel": listed([10] * 6000, 1),
    "dense": dense(3, 700, 65),
    "contiguous": dense(20, 49, 100, first=True),
    "contiguous, weights": dense(20, 100, 30, first=True, heads=1),
    "contiguous, pieces": dense(1, LONG, 2, first=True),
    "bfloat16": dense(3, 700, 65, torch.bfloat16),
    "float64": dense(3, 700, 65, torch.float64),
}


@pytest.fixture
def _threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("source", SOURCES)
def test_the_operations(source: str) -> None:
    dtype = torch.promote_types(SOURCES[source].values.dtype, torch.float32)
    for name in LOOPS:
        torch.set_num_threads(1)
        one = measured(name, SOURCES[source], torch.tensor([0.7], dtype=dtype))
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            again = measured(name, SOURCES[source], torch.tensor([0.7], dtype=dtype))
            for found, wanted in zip(again, one, strict=True):
                identical(found, wanted, f"{name} of {source} with {threads} threads")
