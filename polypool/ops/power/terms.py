"""The numbers that powers are made of, and their bits."""

from __future__ import annotations

from typing import Any

from polypool.ops.cpu.like import read_like, size, spread
from polypool.ops.cpu.vec import bits, constant, from_bits, select
from polypool.ops.cpu.walk import get, inline
from polypool.ops.power.fields import FLOOR, PERIOD, POWERS, SIGNED, STEP

#: The bits of a number without its sign, the sign, and none.
SIZE_BITS = constant(0x7FFFFFFF, 0x7FFFFFFFFFFFFFFF)
SIGN_BIT = constant(-(2**31), -(2**63))
NOTHING = constant(0, 0)


@inline
def power(like: Any, mask: Any, job: Any, t: Any) -> Any:
    """p of the channels of one vector from t on."""
    if job[STEP] == 0:
        return spread(like, job[POWERS])
    return get(like, job[POWERS] + t * size(like), mask)


@inline
def power_of(like: Any, job: Any, cell: Any) -> Any:
    """p of a contiguous cell."""
    return read_like(like, job[POWERS] + (cell % job[PERIOD] * job[STEP] if job[STEP] != 0 else 0))


@inline
def least(like: Any, job: Any) -> Any:
    """What members that are below count as; NaN where they count as they are."""
    return spread(like, job[FLOOR])


@inline
def clamped(floor: Any, x: Any) -> Any:
    """x, or the floor where it is below; NaN stays NaN."""
    return select(floor > x, floor, x)


@inline
def size_of(x: Any) -> Any:
    """Numbers, given as bits, without their sign."""
    return from_bits(x & SIZE_BITS(x))


@inline
def sign_kept(job: Any, like: Any) -> Any:
    """The bit of the sign where powers keep it; otherwise none."""
    none = NOTHING(bits(like))
    return SIGN_BIT(none) if job[SIGNED] != 0 else none


@inline
def larger(a: Any, b: Any) -> Any:
    """The larger of two sizes, given as bits; NaN is larger than all."""
    return select(a > b, a, b)
