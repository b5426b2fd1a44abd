"""Gradients of power means: `w g / W (|x| / |out|)^(p - 1)`, with the sign of x where powers do not keep it.

That of p is `g |out| / p` times the mean of `(|x| / |out|)^p log(|x| / |out|)`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from polypool.ops.cpu.vec import absolute, bits, constant, from_bits, select, to_float
from polypool.ops.cpu.vmath import EXPONENT, INFINITY, LOWEST, NAN, ONE, ROOT, SMALLEST_NORMAL, ZERO
from polypool.ops.cpu.walk import inline, put
from polypool.ops.power.fields import SIGNED
from polypool.ops.power.ratios import SMALL, UP, log2_ratio, logarithm, raised
from polypool.ops.power.terms import NOTHING, SIGN_BIT, clamped, size_of

LOG_OF_TWO = constant(float(np.log(2.0)), float(np.log(2.0)))
#: What `prepare` writes, 256 bytes each, and the bytes of all.
UPS, PARTS, BASES, RESTS, STEEPS, LOWS, HIGHS, SLOPES, OF_POWER, PREPARED = (i * 256 for i in range(10))


@inline
def prepare(like: Any, mask: Any, scratch: Any, out: Any, g: Any, p: Any, part: Any) -> None:
    """Writes down what the gradients of cells are made of, one cell or channel in each lane; `part` is 1 / W."""
    of = absolute(out)
    dead = (of == ZERO(of)) | (of == INFINITY(of))
    # Members are brought to about 1 before anything is made of them: neither 1 / out nor sums may overflow.
    up = select(of < SMALL(of), UP(of), select(of > ONE(of) / SMALL(of), ONE(of) / UP(of), ONE(of)))
    whole, rest = logarithm(of * up)
    steep = p - ONE(p)
    limit = -LOWEST(p) / absolute(steep)
    low = LOWEST(p) - to_float(whole) - rest  # where numbers are no longer normal
    low = select(low < -limit, -limit, low)
    put(scratch + UPS, up, mask)
    put(scratch + PARTS, select(dead, ZERO(of), ONE(of) / (of * up)), mask)
    put(scratch + BASES, ROOT(whole) + (whole << EXPONENT(whole)), mask)
    put(scratch + RESTS, rest, mask)
    put(scratch + STEEPS, steep, mask)
    put(scratch + LOWS, select(dead, INFINITY(of), low), mask)
    put(scratch + HIGHS, limit, mask)
    put(scratch + SLOPES, select(out == out, g * part, NAN(out)), mask)
    put(scratch + OF_POWER, g * part * LOG_OF_TWO(of) / p / up, mask)


@inline
def flip(job: Any, like: Any) -> Any:
    """The bit of the sign where a negative number has a negative gradient; otherwise none."""
    none = NOTHING(bits(like))
    return none if job[SIGNED] != 0 else SIGN_BIT(none)


@inline
def passed(x: Any, floor: Any, g: Any) -> Any:
    """A gradient where numbers are not clamped; as for torch, it does not pass a NaN that is."""
    return select((x >= floor) | (floor != floor), g, ZERO(g))


@inline
def by_products(
    x: Any, share: Any, floor: Any, parts: Any, up: Any, part: Any, slope: Any, flipped: Any
) -> Any:
    """The gradients of a vector of numbers where p is 1, 2 or 3; each counts 1 where there is no share."""
    first, first_one, second, second_one = parts
    clear = bits(clamped(floor, x))
    r = size_of(clear) * up * part
    y = from_bits((bits(r) & first) | first_one) * from_bits((bits(r) & second) | second_one)
    g = slope * select(r >= SMALLEST_NORMAL(r), y, ZERO(y))
    if share is not None:
        g = g * share
    return passed(x, floor, from_bits(bits(g) ^ (clear & flipped)))


@inline
def by_ratios(
    x: Any,
    share: Any,
    floor: Any,
    up: Any,
    base: Any,
    rest: Any,
    steep: Any,
    low: Any,
    high: Any,
    slope: Any,
    flipped: Any,
) -> Any:
    """The gradients of a vector of numbers for any p, and what they add to the gradient of p."""
    clear = bits(clamped(floor, x))
    of = size_of(clear) * up
    y = log2_ratio(of, base, rest)
    r = raised(select(y > high, high, y), steep)
    r = select(y < low, ZERO(y), r)
    if share is not None:
        r = r * share
    of_power = bits(r * of * y) ^ (clear & (flipped ^ SIGN_BIT(flipped)))
    return passed(x, floor, from_bits(bits(slope * r) ^ (clear & flipped))), from_bits(of_power)
