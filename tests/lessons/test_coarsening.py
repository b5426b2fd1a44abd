"""What sums and averages keep when a graph is coarsened twice."""

from types import ModuleType
from typing import Any

import pytest
import torch

LESSON = "coarsening"


def test_sums_keep_the_total_two_levels_deep(result: Any) -> None:
    torch.testing.assert_close(result.population["sum"], torch.ones(20, 3, dtype=torch.float64))


def test_averages_keep_a_share_of_the_total(result: Any) -> None:
    # About one district in each county of 30 counts, then one in each region of 6.
    assert result.numbers["share of the population, average, counties"] == pytest.approx(30 / 240, rel=0.1)
    assert result.numbers["share of the population, average, regions"] == pytest.approx(6 / 240, rel=0.1)


def test_the_weighted_average_keeps_the_mean_two_levels_deep(result: Any) -> None:
    assert result.temperature["weighted average"].abs().max() < 1e-12


def test_the_average_of_averages_does_not(result: Any) -> None:
    off = result.temperature["average"][:, 1:]
    assert (off < -1).all()
    assert result.numbers["degrees off (rms), average, regions"] == pytest.approx(3.1, abs=0.5)


def test_lifting_keeps_the_variance_between_clusters(result: Any) -> None:
    kept = result.numbers["variance between regions, kept by lifting"]
    lost = result.numbers["variance inside regions, lost"]
    assert kept + lost == pytest.approx(1, abs=1e-12)
    assert 0.3 < kept < 0.9


def test_averages_do_not_count(result: Any) -> None:
    assert result.numbers["mean of two copies over that of one"] == pytest.approx(1, abs=1e-12)
    assert result.numbers["sum of two copies over that of one"] == pytest.approx(2, abs=1e-12)


def test_figure(lesson: ModuleType, result: Any) -> None:
    assert len(lesson.draw(result).axes) == 7
