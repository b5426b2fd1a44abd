"""What heads cost: counts are exact; times are not judged."""

from types import ModuleType
from typing import Any

import pytest

LESSON = "heads"
# One worker measures for all tests of the page.
pytestmark = pytest.mark.xdist_group(LESSON)


def test_the_weights_of_the_claim(result: Any) -> None:
    assert result.numbers["128 x 64 x 64, pooled: weights"] == 1_280
    assert result.numbers["128 x 64 x 64, flattened: weights"] == 5_242_880


@pytest.mark.parametrize(
    ("name", "flattened", "pooled"),
    [
        ("AlexNet", 256 * 36 * 4096 + 4096 * 4096 + 4096 * 1000, 256 * 1000),
        ("GoogLeNet", 1024 * 49 * 1000, 1024 * 1000),
        ("ResNet-18", 512 * 49 * 1000, 512 * 1000),
        ("ResNet-50", 2048 * 49 * 1000, 2048 * 1000),
    ],
)
def test_the_heads_of_known_networks(result: Any, name: str, flattened: int, pooled: int) -> None:
    assert result.numbers[f"{name}, flattened: weights"] == flattened
    assert result.numbers[f"{name}, pooled: weights"] == pooled


def test_every_weight_is_a_multiplication_and_an_addition(lesson: ModuleType, result: Any) -> None:
    for name, maps in lesson.NETWORKS.items():
        flattened, pooled = (f"{name}, {kind}:" for kind in ("flattened", "pooled"))
        assert result.numbers[f"{flattened} operations"] == 2 * result.numbers[f"{flattened} weights"]
        averaged = maps.channels * maps.side**2
        assert result.numbers[f"{pooled} operations"] == 2 * result.numbers[f"{pooled} weights"] + averaged


def test_times_are_measured(result: Any) -> None:
    assert all(value > 0 for name, value in result.numbers.items() if "microseconds" in name)


def test_figure(lesson: ModuleType, result: Any) -> None:
    assert len(lesson.draw(result).axes) == 3
