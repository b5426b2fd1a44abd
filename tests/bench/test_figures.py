"""Medians, spreads and ratios."""

import math

import pytest

from polypool.bench.figures import median, paired, slope, spread


def test_median_and_spread() -> None:
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 3)
    assert spread([1.0]) == 0.0
    assert spread([0.0, 0.0]) == 0.0


def test_a_ratio_is_the_median_of_pairs() -> None:
    # the machine was three times slower in the last two rounds, for both
    ours = {0: 1.0, 1: 1.0, 2: 3.0, 3: 3.0}
    theirs = {0: 2.0, 1: 2.0, 2: 6.0, 3: 6.0}
    assert paired(theirs, ours) == 2.0
    # one that had its turn in slow rounds only
    assert paired({2: 6.0, 3: 6.0}, ours) == 2.0


def test_without_a_common_round_the_medians_count() -> None:
    assert paired({7: 10.0}, {0: 4.0, 1: 6.0}) == 2.0
    assert paired({}, {0: 1.0}) is None
    assert paired({0: 1.0}, {}) is None


def test_slope_is_the_exponent() -> None:
    x = [10.0, 100.0, 1000.0]
    assert slope(x, [5 * v**1.5 for v in x]) == pytest.approx(1.5)
    assert slope([10.0, 10.0], [1.0, 2.0]) is None
    assert math.isclose(slope(x, [3.0, 3.0, 3.0]) or 0.0, 0.0, abs_tol=1e-12)
