"""Medians, spreads and ratios of what was timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median, quantiles

__all__ = ["median", "paired", "slope", "spread"]


def spread(values: Sequence[float]) -> float:
    """The distance between the quartiles as a share of the median; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return (high - low) / middle if middle else 0.0


def paired(over: Mapping[int, float], under: Mapping[int, float]) -> float | None:
    """The median ratio of what was measured in the same round; of the medians where no round has both.

    A machine that slows down for a while slows both sides of a pair, and their ratio stays.
    """
    if not over or not under:
        return None
    both = over.keys() & under.keys()
    if both:
        return median(over[key] / under[key] for key in both)
    return median(over.values()) / median(under.values())


def slope(x: Sequence[float], y: Sequence[float]) -> float | None:
    """The exponent k of `y ~ x^k` by least squares on logarithms; None for fewer than two places."""
    from math import log

    if len(set(x)) < 2:
        return None
    a, b = [log(value) for value in x], [log(value) for value in y]
    at, to = sum(a) / len(a), sum(b) / len(b)
    return sum((p - at) * (q - to) for p, q in zip(a, b, strict=True)) / sum((p - at) ** 2 for p in a)
