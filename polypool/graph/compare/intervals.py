"""How sure a mean over folds and seeds is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether all of it is on one side of 0."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.mean:+.1%} [{self.low:+.1%}, {self.high:+.1%}]"


def paired(ours: Sequence[float], theirs: Sequence[float], test_share: float = 0.0) -> Interval:
    """The mean difference of runs on the same folds and seeds, with Student's 95 % interval.

    Folds share most of their training graphs, so that their results are less independent than their number says. The
    variance of the mean is therefore taken as `(1 / n + s / (1 - s)) var`, s the share of the graphs that a fold tests.

    Args:
        ours: One number for each run.
        theirs: One number for each run, in the same order.
        test_share: The share of the graphs that each run tests; 0 for runs that are independent.

    Raises:
        ValueError: The lists differ in length, or hold fewer than two runs.

    Source: Nadeau, Bengio 2003, Inference for the Generalization Error, eq. 9.

    Example:
        >>> from polypool.graph.compare import paired
        >>> print(paired([0.9, 0.8, 0.9, 0.8], [0.8, 0.8, 0.8, 0.8]))
        +5.0% [-4.2%, +14.2%]
    """
    if len(ours) != len(theirs) or len(ours) < 2:
        raise ValueError(
            f"ours and theirs must hold the same runs, two or more; found {len(ours)} and {len(theirs)}."
        )
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    n = len(differences)
    mean = math.fsum(differences) / n
    variance = math.fsum((d - mean) ** 2 for d in differences) / (n - 1)
    spread = student(n - 1) * math.sqrt((1 / n + test_share / (1 - test_share)) * variance)
    return Interval(mean, mean - spread, mean + spread)


def student(freedom: int) -> float:
    """The 97.5 % point of Student's t distribution."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)

    def upper(t: float, steps: int = 400) -> float:
        """The probability beyond t, by Simpson's rule in a = atan(x), which makes the tail finite."""
        low, high = math.atan(t), math.pi / 2
        width = (high - low) / steps

        def at(a: float) -> float:
            x = math.tan(a)
            return scale * (1 + x * x / freedom) ** (-(freedom + 1) / 2) * (1 + x * x)

        # At the very end the integrand is scale * freedom^((f + 1) / 2) * x^(1 - f): 0, but for one degree of freedom.
        total = at(low) + (scale if freedom == 1 else 0.0)
        total += sum((4 if i % 2 else 2) * at(low + i * width) for i in range(1, steps))
        return total * width / 3

    low, high = 0.0, 13.0  # 12.7 for one degree of freedom, and less for more
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if upper(middle) > 0.025 else (low, middle)
    return (low + high) / 2
