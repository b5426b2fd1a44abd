"""Average pooling is a convolution, and what commutes with which pooling."""

from types import ModuleType
from typing import Any

import pytest
import torch

LESSON = "fixed_kernel"
# One worker measures for all tests of the page.
pytestmark = pytest.mark.xdist_group(LESSON)


def test_average_pooling_is_a_convolution(lesson: ModuleType, result: Any) -> None:
    assert result.numbers["pooling against convolution, largest difference"] <= 1e-6
    compared = len(lesson.KERNELS) * len(lesson.STRIDES) * len(lesson.GROUPS) * 2
    assert sum(map(len, result.gaps.values())) == compared


def test_the_comparison_sees_another_kernel(lesson: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    right = lesson.fixed_kernel
    tilt = torch.linspace(0.99, 1.01, 9).view(3, 3)
    monkeypatch.setattr(lesson, "fixed_kernel", lambda size, groups: tilt * right(size, groups))
    images = torch.randn(1, lesson.CHANNELS, 9, 9, generator=torch.Generator().manual_seed(0))
    assert lesson.gap(images, (3, 3), 2, (0, 0), 2) > 1e-6


def test_a_bias_commutes_with_averaging(result: Any) -> None:
    for function in ("+ bias", "x 2", "x -1", "1x1 conv"):
        assert result.numbers[f"mean before and after {function}"] < 1e-6
    assert result.numbers["sum before and after + bias"] > 0.1


def test_what_is_curved_does_not_commute_with_averaging(result: Any) -> None:
    for function in ("ReLU", "tanh"):
        assert result.numbers[f"mean before and after {function}"] > 0.01


def test_the_maximum_commutes_with_what_keeps_the_order(result: Any) -> None:
    for function in ("+ bias", "x 2", "ReLU", "tanh"):
        for pooling in ("max", "median"):
            assert result.numbers[f"{pooling} before and after {function}"] < 1e-6
    assert result.numbers["max before and after 1x1 conv"] > 0.1


def test_zeros_that_are_counted_darken_the_border(result: Any) -> None:
    assert result.numbers["a corner of ones, 3x3, zeros counted"] == pytest.approx(4 / 9)
    assert result.numbers["a corner of ones, 3x3, real pixels counted"] == pytest.approx(1)


def test_figure(lesson: ModuleType, result: Any) -> None:
    assert len(lesson.draw(result).axes) == 3
