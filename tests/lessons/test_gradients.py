"""Who gets the gradient of a pooling."""

from types import ModuleType
from typing import Any

import pytest
import torch

LESSON = "gradients"
# One worker measures for all tests of the page.
pytestmark = pytest.mark.xdist_group(LESSON)


def test_the_mean_is_dense_and_equal_and_the_maximum_has_one_winner(result: Any) -> None:
    torch.testing.assert_close(result.single["mean"], torch.full((8, 8), 1 / 64))
    assert float(result.single["max"].max()) == 1
    assert result.numbers["max: pixels with a gradient"] == 1
    assert result.numbers["top-9: pixels with a gradient"] == 9
    assert result.numbers["mean: pixels with a gradient"] == 64


def test_the_squared_norm_of_the_maximum_is_larger_by_the_number_of_pixels(result: Any) -> None:
    ratio = result.numbers["max: squared norm x H W"] / result.numbers["mean: squared norm x H W"]
    assert ratio == pytest.approx(64, rel=1e-5)
    for between in ("logsumexp, t = 0.5", "top-9"):
        assert 1 < result.numbers[f"{between}: squared norm x H W"] < 64


def test_every_pixel_expects_the_same(result: Any) -> None:
    # A pixel wins 20,000 / 64 maps, give or take 5.6 %; of 64 such numbers none should be off by four times that.
    for name, image in result.noise.items():
        assert float((image * 64 - 1).abs().max()) < 0.23, name


def test_pixels_that_are_not_alike_do_not(result: Any) -> None:
    assert result.numbers["mean: most expected x H W, digits"] == pytest.approx(1)
    assert result.numbers["max: most expected x H W, digits"] > 8
    assert float(result.digits["max"][:, 0].sum()) < 0.01


def test_a_map_of_zeros_sends_everything_to_its_first_pixel(result: Any) -> None:
    assert result.numbers["max: gradient of the first pixel of a map of zeros"] == 1


def test_figure(lesson: ModuleType, result: Any) -> None:
    assert len(lesson.draw(result).axes) == 13
