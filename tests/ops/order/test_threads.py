"""Bitwise the same for any number of threads, and twice in a row: results and gradients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from polypool.ops.source import Source
from tests.ops.moments.sources import dense, listed
from tests.ops.order.loops import ASKED, measured
from tests.support import identical

pytestmark = pytest.mark.usefixtures("_threads_restored")

# Large enough for more threads than one, which need 2^15 numbers.
SOURCES: dict[str, Source] = {
    "many cells": listed([10] * 600, 20),
    "few cells": listed((3000, 5, 0, 900), 40, shuffled=True),
    "a long cell": listed((9000, 5, 10_000), 40),
    "one channel": listed((300_000, 10), 1),
    "dense": dense(3, 700, 65),
    "contiguous": dense(20, 100, 30, first=True),
    "contiguous, one cell": dense(1, 90_300, 3, first=True),
    "bfloat16": dense(3, 700, 65, torch.bfloat16),
    "float64": dense(3, 700, 65, torch.float64),
}


@pytest.fixture
def _threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", SOURCES)
def test_any_number_of_threads(name: str) -> None:
    for operation, asked in ASKED:
        torch.set_num_threads(1)
        one = measured(operation, asked, SOURCES[name])
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            for found, wanted in zip(measured(operation, asked, SOURCES[name]), one, strict=True):
                identical(found, wanted, f"{operation} of {asked} with {threads} threads")
