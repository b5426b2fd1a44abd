"""Bitwise the same for any number of threads: power means, the gradient of the values, and that of p."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from polypool.ops.source import Source
from tests.ops.moments.sources import dense, listed
from tests.ops.power.cases import Setting, measured
from tests.support import identical

pytestmark = pytest.mark.usefixtures("_threads_restored")
LONG = (1 << 18) + 5000

# Large enough for more threads than one, which need 2^15 numbers.
SOURCES: dict[str, Source] = {
    "many cells": listed([10] * 600, 20),
    "few cells": listed((3000, 5, 0, 900), 20, shuffled=True),
    "pieces": listed((5000, 70, 3000), 130),
    "weights": listed((4000, 70, 3000), 66, heads=1),
    "one channel": listed((LONG, 10), 1),
    "one channel, weights": listed((LONG, 10), 1, heads=1),
    "dense": dense(3, 700, 65),
    "contiguous": dense(20, 100, 30, first=True),
    "contiguous, weights": dense(20, 100, 30, first=True, heads=1),
    "contiguous, pieces": dense(1, LONG, 2, first=True),
    "bfloat16": dense(3, 700, 65, torch.bfloat16),
    "float64": dense(3, 700, 65, torch.float64),
}
SETTINGS = (
    Setting(3.0, floor=1e-6),
    Setting(2.5),
    Setting(torch.tensor([3.0]), floor=1e-6),
    Setting(1.7, signed=True),
)


@pytest.fixture
def _threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", SOURCES)
def test_the_operation(name: str) -> None:
    source = SOURCES[name]
    for setting in (*SETTINGS, Setting(torch.linspace(0.5, 4.0, source.values.shape[-1]))):
        torch.set_num_threads(1)
        one = measured(source, setting)
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            other = measured(source, setting)
            identical(other.out, one.out, f"{setting}, {threads} threads")
            identical(other.values, one.values, f"gradient of the values, {setting}, {threads} threads")
            if one.power is not None and other.power is not None:
                identical(other.power, one.power, f"gradient of p, {setting}, {threads} threads")
