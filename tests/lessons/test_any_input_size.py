"""One network at many sizes, and what each pixel counts in bins."""

from types import ModuleType
from typing import Any

import pytest
import torch

import polypool as pp

LESSON = "any_input_size"
# One worker measures for all tests of the page.
pytestmark = pytest.mark.xdist_group(LESSON)


# Over eight seeds the accuracies below have standard deviations of 0.03 to 0.09; the bands are five standard errors
# of a mean of three.


def test_one_size_is_learned_for_that_size(result: Any) -> None:
    numbers = result.numbers
    assert numbers["accuracy at 12x12, trained at size 12"] == pytest.approx(0.93, abs=0.07)
    assert numbers["accuracy at 20x20, trained at size 12"] == pytest.approx(0.33, abs=0.22)


def test_many_sizes_are_learned_for_all_of_them(result: Any) -> None:
    numbers = result.numbers
    assert numbers["accuracy at 12x12, trained at sizes 8 to 20"] == pytest.approx(0.84, abs=0.15)
    gain = (
        numbers["accuracy at 20x20, trained at sizes 8 to 20"]
        - numbers["accuracy at 20x20, trained at size 12"]
    )
    assert gain > 0.2


def test_adaptive_pooling_counts_shared_pixels_more(result: Any) -> None:
    # Along one dimension the bins [0, 2), [1, 4), [3, 6), [5, 7) count the pixels 1/2, 5/6, 1/3, 2/3, 1/3, 5/6, 1/2.
    along = torch.tensor([3, 5, 2, 4, 2, 5, 3], dtype=torch.float64) / 6 * 7 / 4
    torch.testing.assert_close(result.counted["AdaptiveAvgPool2d"], along[:, None] * along)


def test_bins_of_equal_area_count_all_pixels_alike(result: Any) -> None:
    torch.testing.assert_close(result.counted["Grid.bins"], torch.ones(7, 7, dtype=torch.float64))


def test_the_average_of_equal_bins_is_the_average() -> None:
    maps = torch.randn(2, 3, 7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bins = pp.build("mean")(pp.Grid(maps).bins(4))
    torch.testing.assert_close(bins.mean((2, 3)), maps.mean((2, 3)))


def test_figure(lesson: ModuleType, result: Any) -> None:
    assert len(lesson.draw(result).axes) == 4
