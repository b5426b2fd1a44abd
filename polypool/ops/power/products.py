"""Powers whose exponent is 1, 2 or 3, by products: one code for the three of them."""

from __future__ import annotations

from typing import Any

from polypool.ops.cpu.vec import bits, from_bits, full, select
from polypool.ops.cpu.vmath import ONE, TWO
from polypool.ops.cpu.walk import inline
from polypool.ops.power.fields import PRODUCTS
from polypool.ops.power.terms import NOTHING, SIZE_BITS


@inline
def factors(job: Any, like: Any) -> Any:
    """Which bits of a number make each of two factors of its power, and those of 1 where a factor is left out."""
    p = full(like, float(job[PRODUCTS]))
    one, none, whole = bits(ONE(p)), NOTHING(bits(p)), SIZE_BITS(bits(p))
    square, cube = p >= TWO(p), p > TWO(p)
    return (
        select(square, whole, none),
        select(square, none, one),
        select(cube, whole, none),
        select(cube, none, one),
    )


@inline
def product(x: Any, sign: Any, factors: Any) -> Any:
    """The power of numbers given as bits, with the sign where it is kept."""
    first, first_one, second, second_one = factors
    y = from_bits((x & first) | first_one) * from_bits((x & second) | second_one)
    return y * from_bits((x & SIZE_BITS(x)) | (x & sign))
