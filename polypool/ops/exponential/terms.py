"""What members add to a cell, and how two parts of a cell are brought to the same largest member."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int64

from polypool.ops.cpu.like import same
from polypool.ops.cpu.vec import fma, full, select
from polypool.ops.cpu.vmath import ZERO, exp2_both_of_negative, exp2_of_negative, not_too_low
from polypool.ops.cpu.walk import inline
from polypool.ops.exponential.fields import AVERAGE_SLOPE, LOG_MEAN, LOG_MEAN_SLOPE, PERIOD


@inline
def channel_of(job: Any, cell: Any) -> Any:
    """Which k is that of a contiguous cell."""
    return cell % job[PERIOD] if job[PERIOD] > 1 else int64(0)


@inline
def lowest(like: Any, k: Any) -> Any:
    """What every member is beyond: -inf where k is positive, inf where it is negative."""
    low = full(like, -np.inf)
    return select(k < ZERO(k), -low, low)


@inline
def further(x: Any, y: Any, negative: Any) -> Any:
    """Where x is beyond y: above it, or below it in lanes that are negative."""
    return select(negative, x < y, x > y)


@inline
def below(x: Any, top: Any, k: Any) -> Any:
    """`k2 (x - top)`, where what equals an infinite top is at 0 and what is infinitely far at a finite number."""
    return not_too_low(select(x == top, ZERO(x), x - top) * k)


@inline
def add(level: Any, y: Any, share: Any, s: Any, a: Any, z: Any) -> Any:
    """Adds members at y to the three sums of a cell."""
    if level >= LOG_MEAN:
        e, less = exp2_both_of_negative(y)
        if level == LOG_MEAN_SLOPE:
            a = fma(e * share, y, a)
        return fma(e, share, s), a, fma(less, share, z)
    e = exp2_of_negative(y) * share
    if level == AVERAGE_SLOPE:
        ey = e * y
        return s + e, a + ey, fma(ey, y, z)
    return s + e, fma(e, y, a), z


@inline
def moved(level: Any, s: Any, a: Any, z: Any, old: Any, top: Any, k: Any, mass: Any) -> Any:
    """The three sums about another top, in float64."""
    y = below(old, top, k)
    r, less = exp2_both_of_negative(y)
    if level >= LOG_MEAN:
        z = fma(r, z, less * same(z, mass))
    else:
        z = r * (z + y * (a + a + y * s))
    return r * s, r * fma(y, s, a), z
