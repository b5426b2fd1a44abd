"""Pooled and flattened heads with few digits, in place and out of place."""

from types import ModuleType
from typing import Any

import pytest

LESSON = "little_data"
# One worker measures for all tests of the page.
pytestmark = pytest.mark.xdist_group(LESSON)


# Over five seeds an accuracy has a standard deviation of up to .11 with 20 digits and .08 with more. The bands are
# three standard errors of their mean.


def number(result: Any, scene: str, head: str, count: int) -> float:
    return float(result.numbers[f"{scene}, {head}, {count} digits"])


def test_in_the_middle_the_flattened_head_is_better(result: Any) -> None:
    for count in (20, 500):
        gain = number(result, "all in the middle", "flattened", count) - number(
            result, "all in the middle", "pooled", count
        )
        assert gain > 0, count
    assert number(result, "all in the middle", "pooled", 500) == pytest.approx(0.955, abs=0.02)
    assert number(result, "all in the middle", "flattened", 500) == pytest.approx(0.974, abs=0.02)


def test_a_shift_in_the_test_breaks_the_flattened_head(result: Any) -> None:
    assert number(result, "only the test shifted", "flattened", 500) < 0.35
    assert number(result, "only the test shifted", "pooled", 500) == pytest.approx(0.79, abs=0.11)


def test_where_position_is_an_accident_pooling_needs_fewer_digits(result: Any) -> None:
    gains = [
        number(result, "both shifted", "pooled", count) - number(result, "both shifted", "flattened", count)
        for count in (100, 500)
    ]
    assert gains[0] == pytest.approx(0.36, abs=0.1)
    assert 0.04 < gains[1] < gains[0]


def test_figure(lesson: ModuleType, result: Any) -> None:
    assert len(lesson.draw(result).axes) == 3
