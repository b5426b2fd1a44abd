"""Powers whose exponent is 1, 2 or 3, by products: one code for the three of them."""

from __future__ import annotations

from typing import Any

from polypool.ops.cpu.like import size
from polypool.ops.cpu.vec import absolute, bits, from_bits, full, select
from polypool.ops.cpu.vmath import ONE, TWO
from polypool.ops.cpu.walk import inline
from polypool.ops.power.fields import PRODUCTS
from polypool.ops.power.terms import NOTHING, SIZE_BITS


@inline
def faint(like: Any) -> Any:
    """A sum of powers has all its digits if it is beyond this for each unit of mass.

    What is lost below the smallest number is less. And its root is taken if it is not beyond the inverse.
    """
    return 2.0**-120 if size(like) == 4 else 2.0**-1000


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


@inline
def exact(total: Any, seen: Any, mass: Any) -> Any:
    """Lanes whose sum of products has all its digits: none overflowed, or vanished although it was not 0."""
    found = absolute(total)
    low, high = full(total, (mass + 64.0) * faint(total)), full(total, min(mass, 1.0) / faint(total))
    return ((found >= low) & (found < high)) | (seen == NOTHING(seen))


@inline
def in_range(like: Any, total: Any, mass: Any) -> Any:
    """The same of a single sum that is not 0 by right."""
    return (mass + 64.0) * faint(like) <= abs(total) < min(mass, 1.0) / faint(like)
