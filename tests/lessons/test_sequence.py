"""Bias and variance of last, mean and attention, and a GRU behind each."""

from types import ModuleType
from typing import Any

import pytest
import torch

LESSON = "sequence"
# One worker measures for all tests of the page.
pytestmark = pytest.mark.xdist_group(LESSON)


@pytest.mark.parametrize("case", ["all", "four"])
@pytest.mark.parametrize("name", ["last", "mean", "attention"])
def test_bias_and_variance_follow_the_formulas(result: Any, case: str, name: str) -> None:
    bias, variance = result.errors[case, name].unbind(1)
    bias_formula, variance_formula = result.formulas[case, name].unbind(1)
    # 2000 runs: a mean is known to sqrt(variance / 2000), a variance to 3 %. Five of those.
    torch.testing.assert_close(bias, bias_formula, rtol=0, atol=0.12)
    # The formula of attention is for many carriers; with four it is up to a tenth too large.
    torch.testing.assert_close(variance, variance_formula, rtol=0.25 if name == "attention" else 0.16, atol=0)


def test_the_mean_divides_the_variance_by_the_length(result: Any) -> None:
    assert result.numbers["variance of mean, all of 64 carry"] * 64 == pytest.approx(1, rel=0.16)


def test_averaging_removes_no_bias_and_attention_does(result: Any) -> None:
    numbers = result.numbers
    assert numbers["bias of mean, 4 of 64 carry"] == pytest.approx(-60 / 64, abs=0.02)
    assert abs(numbers["bias of attention, 4 of 64 carry"]) < 0.3
    assert abs(numbers["bias of attention, 4 of 256 carry"]) > 0.45


# Standard deviations over eight seeds: 0.01 at the length of training, 0.04 at eight times that length.


@pytest.mark.parametrize(
    ("name", "near", "far"), [("last", 0.956, 0.59), ("mean", 0.93, 0.59), ("attention", 0.96, 0.785)]
)
def test_a_gru_behind_each(result: Any, name: str, near: float, far: float) -> None:
    assert result.numbers[f"accuracy of a GRU and {name}, up to 16 steps"] == pytest.approx(near, abs=0.04)
    assert result.numbers[f"accuracy of a GRU and {name}, up to 128 steps"] == pytest.approx(far, abs=0.12)


def test_attention_still_finds_the_motif_in_long_sequences(result: Any) -> None:
    far = {name: result.numbers[f"accuracy of a GRU and {name}, up to 128 steps"] for name in result.accuracy}
    assert far["attention"] > max(far["last"], far["mean"]) + 0.05


def test_figure(lesson: ModuleType, result: Any) -> None:
    assert len(lesson.draw(result).axes) == 3
