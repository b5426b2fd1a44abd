"""Powers of two and logarithms to base two, lane by lane, of float32 and float64 vectors.

Nothing here calls a mathematical library, which would take the lanes one at a time. The polynomials have the smallest
largest relative error for their degree (Remez), with coefficients rounded to the precision of the lanes.
"""

from typing import Any

import numpy as np
from numba import njit

from polypool.ops.cpu.vec import bits, constant, fma, from_bits, polynomial, select, to_float

# Nothing calls these from Python: without what is needed for that they compile in three quarters of the time.
inline = njit(forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)

ONE = constant(1.0, 1.0)
HALF = constant(0.5, 0.5)
TWO = constant(2.0, 2.0)
ZERO = constant(0.0, 0.0)
INFINITY = constant(np.inf, np.inf)
NAN = constant(np.nan, np.nan)
SMALLEST_NORMAL = constant(2.0**-126, 2.0**-1022)

LOWEST = constant(-126.0, -1022.0)
HIGHEST = constant(128.0, 1024.0)
# So large that the sum with it has no digits after the point, and that the whole number n of the sum stands in its
# last bits as n + bias - 1: where the exponent of 2^(n - 1) is, once they are moved there.
WHOLE = constant(1.5 * 2.0**23 + 126.0, 1.5 * 2.0**52 + 1022.0)
EXPONENT = constant(23, 52)

# 2 (2^r - 1) / r for r in [-1/2, 1/2], within 2.1e-8 and 5.5e-17.
POWER = polynomial(
    single=(0.000308070231, 0.00267814709, 0.019236475, 0.111007149, 0.480452996, 1.38629438),
    double=(
        8.891073390358964e-10,
        1.4145123543909988e-08,
        2.0356242604299612e-07,
        2.6430885447745465e-06,
        3.0505467402417728e-05,
        0.0003080706088296252,
        0.0026667116293063275,
        0.01923625821521413,
        0.11100821732964247,
        0.48045301391820194,
        1.3862943611198906,
    ),
)

# log2(1 + f) / f for 1 + f in [sqrt(1/2), sqrt(2)], within 4.5e-8 and 3.6e-17.
LOGARITHM = polynomial(
    single=(
        0.12583709,
        -0.207269783,
        0.215715596,
        -0.238944816,
        0.287916249,
        -0.360703683,
        0.480910643,
        -0.721347347,
        1.442695,
    ),
    double=(
        0.03774241355269371,
        -0.08667297304094985,
        0.0942570990289804,
        -0.08193116766546996,
        0.08162443280201002,
        -0.08935850636908638,
        0.09645975173116611,
        -0.10315310030045356,
        0.11096381691273699,
        -0.12021769602995018,
        0.13115435944916734,
        -0.14426976933797855,
        0.16029944905531557,
        -0.18033687420382852,
        0.20609929145683853,
        -0.24044917355266882,
        0.2885390081792205,
        -0.36067376022184855,
        0.48089834696298184,
        -0.7213475204444824,
        1.4426950408889634,
    ),
)
# The bits of sqrt(1/2): numbers from a power of two times it up to the next one share an exponent.
ROOT = constant(0x3F3504F3, 0x3FE6A09E667F3BCD)


@inline
def _whole_and_rest(x: Any) -> Any:
    """The numbers 2^(n - 1) and r in [-1/2, 1/2] with x = n + r; the first is 0 where x is too low.

    Half the power is what an exponent can hold for every x whose own power is finite.
    """
    x = not_too_low(x)
    return _inside(select(HIGHEST(x) < x, HIGHEST(x), x))


@inline
def _inside(x: Any) -> Any:
    shifted = x + WHOLE(x)
    n = bits(shifted)
    return from_bits(n << EXPONENT(n)), x - (shifted - WHOLE(x))


@inline
def not_too_low(x: Any) -> Any:
    """x, or the highest exponent whose power of two counts as 0; NaN stays NaN."""
    return select(LOWEST(x) > x, LOWEST(x), x)


@inline
def exp2(x: Any) -> Any:
    """2^x; exactly 1 at 0, and 0 below 2^-125.5 (float64 2^-1021.5); NaN stays NaN."""
    half, r = _whole_and_rest(x)
    return half * fma(POWER(r), r, TWO(x))


@inline
def exp2m1(x: Any) -> Any:
    """2^x - 1, with the relative precision of the lanes near 0 too; infinite from x = 127.5 (float64 1023.5) on."""
    half, r = _whole_and_rest(x)
    return fma(half, POWER(r) * r, fma(half, TWO(x), -ONE(x)))


@inline
def exp2_both(x: Any) -> Any:
    """`exp2(x)` and `exp2m1(x)` in one go."""
    half, r = _whole_and_rest(x)
    more = POWER(r) * r
    return half * (more + TWO(x)), fma(half, more, fma(half, TWO(x), -ONE(x)))


@inline
def exp2_of_negative(x: Any) -> Any:
    """`exp2` of what is not above 0 and not too low."""
    half, r = _inside(x)
    return half * fma(POWER(r), r, TWO(x))


@inline
def exp2_both_of_negative(x: Any) -> Any:
    """`exp2_both` of what is not above 0 and not too low."""
    half, r = _inside(x)
    more = POWER(r) * r
    return half * (more + TWO(x)), fma(half, more, fma(half, TWO(x), -ONE(x)))


@inline
def log2_of_sum(x: Any, lost: Any) -> Any:
    """The logarithm to base two of x + lost, where lost is None or less than the last place of x."""
    above = bits(x) - ROOT(bits(x))
    n = above >> EXPONENT(above)
    power = n << EXPONENT(n)
    f = from_bits(bits(x) - power) - ONE(x)
    if lost is not None:
        # Twice what brings x down to 1 + f, and half of what was lost: so the largest n has a power too, if only 0.
        f = fma(lost * HALF(x), from_bits(bits(TWO(x)) - power), f)
    y = fma(f, LOGARITHM(f), to_float(n))
    y = select(x < INFINITY(x), y, x)
    y = select(x < SMALLEST_NORMAL(x), -INFINITY(x), y)
    return select(x < ZERO(x), NAN(x), y)


@inline
def log2(x: Any) -> Any:
    """The logarithm to base two, precise near 1 too; NaN below 0, and numbers too small to be normal count as 0."""
    return log2_of_sum(x, None)


@inline
def log2_1p(y: Any) -> Any:
    """log2(1 + y), with the relative precision of the lanes near 0 too; NaN below -1."""
    x = y + ONE(y)
    return log2_of_sum(x, y - (x - ONE(y)))
