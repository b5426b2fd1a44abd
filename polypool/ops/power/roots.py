"""Roots of means of powers."""

from __future__ import annotations

from typing import Any

from polypool.ops.cpu.like import as_double, as_like, size
from polypool.ops.cpu.vec import (
    absolute,
    bits,
    constant,
    fma,
    from_bits,
    full,
    select,
    sqrt,
    to_float,
    to_int,
)
from polypool.ops.cpu.vmath import ONE, SMALLEST_NORMAL, ZERO, exp2
from polypool.ops.cpu.walk import inline
from polypool.ops.power.fields import PRODUCTS
from polypool.ops.power.ratios import logarithm
from polypool.ops.power.terms import SIGN_BIT

#: Two thirds of the bits of 1, less what makes roots of numbers between powers of two as exact as they get.
THIRD = constant(int((127 * 2 / 3 - 0.03306235651) * 2**23), int((1023 * 2 / 3 - 0.03306235651) * 2**52))


@inline
def cube_root(n: Any) -> Any:
    """The cube root of normal numbers: to 15 bits, or 46 of float64."""
    # A third of the bits, the exponent first, is a root within 4 %.
    y = from_bits(to_int(to_float(bits(n)) * full(n, 1.0 / 3.0)) + THIRD(bits(n)))
    for _ in range(size(n) // 4):
        # Halley's method, which has three times as many digits with each step; divided by 4, so as not to overflow.
        cube = y * y * y * full(n, 0.25)
        y = y * (fma(n, full(n, 0.5), cube) / fma(n, full(n, 0.25), cube + cube))
    return y


@inline
def rooted(like: Any, job: Any, mean: Any, p: Any) -> Any:
    """The root of a mean of powers, with its sign, in float64."""
    of = absolute(mean)
    y, n = of, as_like(like, of)
    if job[PRODUCTS] == 2:
        y = sqrt(of)
    elif job[PRODUCTS] == 3:
        y = cube_root(n)
        slope = y / (n * full(like, 3.0))
        y = as_double(y)
        y = y - (y * y * y - of) * as_double(slope)  # Newton's method, which has twice as many
    elif job[PRODUCTS] == 0:
        whole, rest = logarithm(n)
        y = as_double(exp2((to_float(whole) + rest) * (ONE(p) / p)))
    y = select(of >= as_double(SMALLEST_NORMAL(n)), y, of * ZERO(of))  # NaN stays NaN
    return from_bits(bits(y) | (bits(mean) & SIGN_BIT(bits(mean))))
