"""A shift by one pixel through poolings with stride 2."""

from types import ModuleType
from typing import Any

import pytest

LESSON = "aliasing"
# One worker measures for all tests of the page.
pytestmark = pytest.mark.xdist_group(LESSON)


# Over six seeds the consistency after one pixel has standard deviations of .021 (max), .011 (average), .004 (three
# taps) and .003 (five taps). The bands are three standard errors of a mean of two, and twice that for the blurred ones,
# whose published numbers come from another network.


@pytest.mark.parametrize(
    ("name", "published", "band"),
    [
        ("max, stride 2", 0.846, 0.045),
        ("blurred max, 3 taps", 0.968, 0.018),
        ("blurred max, 5 taps", 0.987, 0.012),
    ],
)
def test_consistency(result: Any, name: str, published: float, band: float) -> None:
    assert result.numbers[f"{name}: consistency after one pixel"] == pytest.approx(published, abs=band)


def test_the_longer_the_blur_the_steadier(lesson: ModuleType, result: Any) -> None:
    changes = [result.numbers[f"{name}: change of the logits"] for name in lesson.POOLS]
    assert changes == sorted(changes, reverse=True)
    assert changes[0] > 0.3
    assert changes[-1] < 0.12


def test_all_networks_have_learned(lesson: ModuleType, result: Any) -> None:
    for name in lesson.POOLS:
        assert result.numbers[f"{name}: accuracy"] > 0.9


def test_the_product_of_the_strides_is_a_whole_shift(lesson: ModuleType, result: Any) -> None:
    for name in lesson.POOLS:
        assert result.consistency[name][:, -1].min() == 1
        assert result.change[name][:, -1].max() < 1e-4


def test_a_blur_with_samples_keeps_the_mean(lesson: ModuleType, result: Any) -> None:
    change = {name: result.numbers[f"{name}: change of the mean of pooled digits"] for name in lesson.POOLS}
    assert change.pop("max, stride 2") > 0.02
    assert max(change.values()) < 1e-6


def test_the_border_is_not_darkened(result: Any) -> None:
    assert result.numbers["corner of ones after a blur, zeros counted"] == pytest.approx(9 / 16)
    assert result.numbers["corner of ones after a blur, BlurPool"] == pytest.approx(1)


def test_figure(lesson: ModuleType, result: Any) -> None:
    assert len(lesson.draw(result).axes) == 6
