"""The variance of averages of noise and of the gradients behind them, against their formulas."""

from types import ModuleType
from typing import Any

import pytest

LESSON = "noise"
# One worker measures for all tests of the page.
pytestmark = pytest.mark.xdist_group(LESSON)


# A variance over n draws is known to a relative sqrt(2 / n): 2.2 % for 4000 draws, 3.2 % for 2000. The bands are four
# of those.


def test_the_variance_falls_with_the_number_of_pixels(lesson: ModuleType, result: Any) -> None:
    for side in lesson.SIDES:
        assert result.numbers[f"variance of the mean x H W, {side}x{side}"] == pytest.approx(1, rel=0.13)


def test_blurred_pixels_count_for_fewer(result: Any) -> None:
    assert result.share == pytest.approx((70 / 256) ** 2, rel=1e-4)
    for side in (16, 32, 64):
        assert result.blurred[side] * side**2 * result.share == pytest.approx(1, rel=0.15)


def test_one_image_of_64_pixels_is_as_good_as_64_of_one(result: Any) -> None:
    one_image = result.numbers["variance of the gradient, batch 1, 8x8 pixels"]
    assert one_image == pytest.approx(1 / 64 / 4, rel=0.13)
    assert result.numbers["the same, batch 64, one pixel"] == pytest.approx(one_image, rel=0.2)


def test_what_images_share_is_not_averaged_away(lesson: ModuleType, result: Any) -> None:
    measured = result.numbers["variance of the gradient, batch 1, 8x8 pixels, brightness differs"]
    assert measured == pytest.approx((lesson.SHARED**2 + 1 / 64) / 4, rel=0.13)


def test_figure(lesson: ModuleType, result: Any) -> None:
    assert len(lesson.draw(result).axes) == 2
