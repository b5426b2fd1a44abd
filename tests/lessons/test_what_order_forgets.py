"""Stripes, checkerboards and digits, seen through poolings without order."""

from types import ModuleType
from typing import Any

import pytest
import torch

LESSON = "what_order_forgets"
# One worker measures for all tests of the page.
pytestmark = pytest.mark.xdist_group(LESSON)


# Over 20 seeds the accuracies on digits have standard deviations of .026 (mean), .013 (mean+std), .012 (covariance) and
# .005 (strips). The bands are three and a half standard errors of a mean of five.


@pytest.mark.parametrize(
    ("pooling", "published", "band"),
    [("mean", 0.825, 0.04), ("mean+std", 0.909, 0.02), ("covariance", 0.952, 0.02), ("strips", 0.985, 0.012)],
)
def test_digits(result: Any, pooling: str, published: float, band: float) -> None:
    assert result.numbers[f"digits, {pooling}"] == pytest.approx(published, abs=band)


def test_more_order_tells_more(result: Any) -> None:
    accuracies = [result.numbers[f"digits, {name}"] for name in ("mean", "mean+std", "covariance", "strips")]
    assert accuracies == sorted(accuracies)
    assert result.numbers["digits, mean, 64 channels"] > result.numbers["digits, mean+std"]


@pytest.mark.parametrize("pooling", ["mean", "max", "var"])
def test_without_noise_nothing_differs(result: Any, pooling: str) -> None:
    assert result.numbers[f"stripes less checkerboard, {pooling}"] == 0


@pytest.mark.parametrize("look", ["mean", "max", "mean+std", "1x1 conv, mean", "1x1 conv, covariance"])
def test_single_pixels_leave_it_to_chance(result: Any, look: str) -> None:
    # 800 guesses: a standard deviation of .018.
    assert result.told[look] == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("look", ["gradient energy", "3x3 conv, mean"])
def test_neighbours_tell(result: Any, look: str) -> None:
    assert result.told[look] == 1


def test_leaning_stripes_need_the_diagonals(result: Any) -> None:
    assert result.numbers["leaning left or right, gradient energy, axes"] == pytest.approx(0.5, abs=0.07)
    assert result.numbers["leaning left or right, gradient energy, neighbours"] == 1


def test_covariance_by_its_definition(lesson: ModuleType) -> None:
    maps = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = lesson.covariance(lesson.pp.Grid(maps))
    row, column = torch.triu_indices(3, 3)
    for image, pairs in zip(maps, found, strict=True):
        torch.testing.assert_close(pairs, torch.cov(image.flatten(1), correction=0)[row, column])


def test_figure(lesson: ModuleType, result: Any) -> None:
    assert len(lesson.draw(result).axes) == 6
