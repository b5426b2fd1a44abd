"""Maps that add up to a logit, for four poolings."""

from types import ModuleType
from typing import Any

import pytest
import torch

LESSON = "maps_of_a_decision"
# One worker measures for all tests of the page.
pytestmark = pytest.mark.xdist_group(LESSON)
POOLS = ("mean", "max", "gem", "attention")


@pytest.mark.parametrize("pool", POOLS)
def test_the_sum_of_the_map_is_the_logit_minus_the_bias(result: Any, pool: str) -> None:
    assert result.numbers[f"{pool}: logit minus bias minus sum of the map, at most"] < 1e-5


# Standard deviations over eight seeds: 0.004, 0.022, 0.008 and 0.023.


@pytest.mark.parametrize(
    ("pool", "share"), [("mean", 0.967), ("max", 0.928), ("gem", 0.97), ("attention", 0.863)]
)
def test_the_evidence_is_on_the_side_of_the_digit(result: Any, pool: str, share: float) -> None:
    assert result.numbers[f"{pool}: evidence on the right side"] == pytest.approx(share, abs=0.08)


@pytest.mark.parametrize("pool", POOLS)
def test_single_digits_are_read(result: Any, pool: str) -> None:
    assert result.numbers[f"{pool}: accuracy on one digit"] > 0.8


@pytest.mark.parametrize("pool", ["max", "gem"])
def test_rectified_maps_do_not_add_up(result: Any, pool: str) -> None:
    assert result.numbers[f"{pool}: sum of the rectified map over the score"] > 1.3


@pytest.mark.parametrize("pool", POOLS)
def test_gradients_further_back_leave_something_out(result: Any, pool: str) -> None:
    assert result.numbers[f"{pool}: share left out one convolution back"] > 0.02


def test_the_heads_are_densities(result: Any) -> None:
    torch.testing.assert_close(result.heads.sum((1, 2)), torch.ones(2))


def test_figure(lesson: ModuleType, result: Any) -> None:
    assert len(lesson.draw(result).axes) == 13
