"""Powers of ratios to a number of about the same size: `2^(p (log2 x - log2 y))`, so that nothing overflows."""

from __future__ import annotations

from typing import Any

import numpy as np

from polypool.ops.cpu.like import size
from polypool.ops.cpu.vec import bits, constant, fma, from_bits, full, polynomial, select, to_float
from polypool.ops.cpu.vmath import (
    EXPONENT,
    INFINITY,
    LOGARITHM,
    LOWEST,
    ONE,
    POWER,
    ROOT,
    TWO,
    WHOLE,
    ZERO,
    exp2,
    log2,
)
from polypool.ops.cpu.walk import inline, put
from polypool.ops.power.terms import size_of

#: Members of cells whose top is below the first bound are multiplied by the second number, so that they are normal.
SMALL, UP = constant(2.0**-60, 2.0**-500), constant(2.0**64, 2.0**520)
#: The power of what is beside an infinite top: what is finite is nothing there, for small p too.
STEEP = constant(2.0**34, 2.0**66)
LARGEST = constant(float(np.finfo(np.float32).max), float(np.finfo(np.float64).max))
#: The bits of a number behind its exponent.
DIGITS = constant(2**23 - 1, 2**52 - 1)
# log2(1 + f) / f of float32 within 2.1e-7, a term less than `LOGARITHM`: that costs less than a unit in the last place
# of a power mean. In pairs, so that the processor waits less for one to finish.
PAIRS = (
    (-0.721352756, 1.4426949),
    (-0.360239238, 0.480923653),
    (-0.248876646, 0.287099093),
    (-0.145811677, 0.234042585),
)
FIRST, SECOND, THIRD, FOURTH = (polynomial(single=pair, double=(0.0, 0.0)) for pair in PAIRS)
#: What `prepare` writes, 256 bytes each, and the bytes of all.
TOPS, UPS, BASES, RESTS, STEEPS, LOWS, LIMITS, PREPARED = (i * 256 for i in range(8))


@inline
def _above(x: Any) -> Any:
    """The bits of x counted from those of sqrt(1/2): the whole part of its logarithm stands where an exponent does."""
    return bits(x) - ROOT(bits(x))


@inline
def _quotient(f: Any) -> Any:
    """log2(1 + f) / f."""
    if size(f) == 8:
        return LOGARITHM(f)
    square = f * f
    return fma(fma(fma(FOURTH(f), square, THIRD(f)), square, SECOND(f)), square, FIRST(f))


@inline
def _beyond(above: Any) -> Any:
    """The f of 1 + f in [sqrt(1/2), sqrt(2)]: what is left of a number without the whole part of its logarithm."""
    return from_bits((above & DIGITS(above)) + ROOT(above)) - ONE(from_bits(above))


@inline
def logarithm(x: Any) -> Any:
    """log2 of normal or infinite x > 0: its whole part, and the rest between -1/2 and 1/2."""
    above = _above(x)
    f = _beyond(above)
    return above >> EXPONENT(above), f * _quotient(f)


@inline
def log2_ratio(x: Any, base: Any, rest: Any) -> Any:
    """`log2(x / y)` from the logarithm of y, its whole part as in `prepare`: exactly 0 where they are equal."""
    above = bits(x) - base
    f = _beyond(above)
    return fma(f, _quotient(f), to_float(above >> EXPONENT(above))) - rest


@inline
def raised(y: Any, p: Any) -> Any:
    """`2^(p y)` where the exponent is between `LOWEST` and 127."""
    shifted = fma(y, p, WHOLE(y))
    n = bits(shifted)
    r = fma(y, p, WHOLE(y) - shifted)
    return from_bits(n << EXPONENT(n)) * fma(POWER(r), r, TWO(r))


@inline
def powers(x: Any, sign: Any, up: Any, base: Any, rest: Any, p: Any, low: Any) -> Any:
    """`(x / top)^p` of numbers given as bits, with the sign where it is kept; the rest is what `prepare` wrote.

    What is too small to be normal counts as 0.
    """
    y = log2_ratio(size_of(x) * up, base, rest)
    y = select(y < low, ZERO(y), raised(y, p))
    return from_bits(bits(y) | (x & sign))


@inline
def prepare(like: Any, mask: Any, scratch: Any, top: Any, p: Any, room: Any) -> None:
    """Writes down what powers of ratios to a top are computed with, for the lanes of one vector.

    Members may be above the top as long as their powers are below `2^room`.
    """
    up = select(top < SMALL(top), UP(top), ONE(top))
    whole, rest = logarithm(top * up)
    lowest = LOWEST(p) - to_float(whole) - rest
    p = select(top < INFINITY(top), p, STEEP(p))
    limit = top * exp2(full(like, room) / p)
    limit = select(limit < INFINITY(top), limit, select(top < INFINITY(top), LARGEST(top), top))
    put(scratch + TOPS, top, mask)
    put(scratch + UPS, up, mask)
    put(scratch + BASES, ROOT(whole) + (whole << EXPONENT(whole)), mask)
    put(scratch + RESTS, rest, mask)
    put(scratch + STEEPS, p, mask)
    low = LOWEST(p) / p
    put(scratch + LOWS, select(low < lowest, lowest, low), mask)
    put(scratch + LIMITS, limit, mask)


@inline
def shrunk(old: Any, top: Any, p: Any) -> Any:
    """What a sum about one top is multiplied by to be one about another, in float64: `(old / top)^p`."""
    y = exp2(log2(old / top) * p)
    return select(old == top, ONE(y), select(old == ZERO(old), ZERO(y), y))


@inline
def grounded(total: Any, top: Any) -> Any:
    """The top of a sum; 0 where nothing has been added up, unless infinite members of either sign cancelled."""
    return select((total == ZERO(total)) & (top < INFINITY(top)), ZERO(top), top)
