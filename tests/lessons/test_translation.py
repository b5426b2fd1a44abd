"""Shifts and proportions."""

from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
import torch

LESSON = "translation"
# One worker measures for all tests of the page.
pytestmark = pytest.mark.xdist_group(LESSON)


def test_convolutions_move_with_the_image_and_pooled_vectors_stay(lesson: ModuleType, result: Any) -> None:
    assert result.numbers["shift then convolve, less convolve then shift"] < 1e-6
    names = lesson.indifferent()
    assert {"mean", "max", "sum", "std", "median", "logsumexp"} <= set(names)
    for name in names:
        assert result.numbers[f"change of {name} after a shift"] < 1e-5, name


def test_a_pooling_that_looks_at_the_order_is_seen(lesson: ModuleType) -> None:
    maps = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for name in ("first", "position_weighted"):
        pool = lesson.pp.build(name)
        assert lesson.change(pool(maps), pool(maps.roll(1, 3))) > 1e-3


def test_strides_and_borders_break_it(result: Any) -> None:
    assert result.numbers["the largest over all shifts, torus"] < 1e-6
    assert result.numbers["change of the mean after one pixel, torus, stride 2"] > 0.05
    assert result.moved["torus, stride 2"][2] < 1e-6
    assert result.numbers["change of the mean after one pixel, zero padding"] < 1e-6
    assert result.numbers["the largest over all shifts, zero padding"] > 0.05


def test_the_same_fraction_gives_the_same_output(lesson: ModuleType, result: Any) -> None:
    errors = [result.numbers[f"fraction told by the mean, error, {side}x{side}"] for side in lesson.SIDES]
    assert errors[0] < 0.03
    for smaller, larger in pairwise(errors):
        assert smaller / larger == pytest.approx(2, rel=0.1)


def test_a_sum_reports_areas(result: Any) -> None:
    assert result.numbers["mean of 128x128 over that of 32x32, half striped"] == pytest.approx(1, abs=0.01)
    assert result.numbers["sum of 128x128 over that of 32x32, half striped"] == pytest.approx(16, abs=0.16)


def test_figure(lesson: ModuleType, result: Any) -> None:
    assert len(lesson.draw(result).axes) == 3
