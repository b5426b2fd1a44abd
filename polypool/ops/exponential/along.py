"""One stretch after the other: its numbers in the lanes of long vectors, what is left in those of a short one."""

from __future__ import annotations

from typing import Any

from numba import int64

from polypool.ops.cpu.like import lanes, read_like, size, write_like
from polypool.ops.cpu.stretch import ask, real
from polypool.ops.cpu.vec import add_lanes, full, lane, max_lanes, min_lanes, read_i32, read_i64, select
from polypool.ops.cpu.vmath import ONE, ZERO
from polypool.ops.cpu.walk import get, inline
from polypool.ops.exponential.batch import ADDRESS, COUNT, EXPONENTS, TOPS, WEIGHTS, A, S, Z
from polypool.ops.exponential.terms import add, below, lowest


@inline
def largest(like: Any, negative: Any, address: Any, weights: Any, begin: Any, end: Any, known: Any) -> Any:
    """The largest of some numbers and of what is known; the smallest where k is negative.

    Without any weights, not even the address 0, all lanes of all vectors are members.
    """
    top = full(like, known)
    for i in range(begin, end, lanes(like)):
        if weights is None:
            x = get(like, address + i * size(like), None)
        else:
            mask, _ = real(like, weights, i, end)
            x = select(mask, get(like, address + i * size(like), mask), top)
        if negative:
            top = select(x < top, x, top)
        else:
            top = select(x > top, x, top)
    return min_lanes(top) if negative else max_lanes(top)


@inline
def sums(
    like: Any, level: Any, address: Any, weights: Any, begin: Any, end: Any, top: Any, k: Any, ahead: Any
) -> Any:
    """The three sums of some numbers."""
    s, a, z = full(like, 0.0), full(like, 0.0), full(like, 0.0)
    tops, ks = full(like, top), full(like, k)
    for i in range(begin, end, lanes(like)):
        if weights is None:
            ask(like, address + ahead + i * size(like))
            x, share = get(like, address + i * size(like), None), ONE(s)
        else:
            mask, share = real(like, weights, i, end)
            x = select(mask, get(like, address + i * size(like), mask), tops)
            share = select(mask, share, ZERO(s))
        s, a, z = add(level, below(x, tops, ks), share, s, a, z)
    return add_lanes(s), add_lanes(a), add_lanes(z)


@inline
def whole_of(wide: Any, weights: Any, n: Any) -> Any:
    """How many numbers of a stretch fill whole vectors, all of them members."""
    return n // lanes(wide) * lanes(wide) if weights == 0 else int64(0)


@inline
def find(wide: Any, tail: Any, scratch: Any, at: Any) -> None:
    """The largest number of a stretch."""
    address, n = read_i64(scratch + ADDRESS + 8 * at), int64(read_i32(scratch + COUNT + 4 * at))
    weights = read_i64(scratch + WEIGHTS + 8 * at)
    k = read_like(tail, scratch + EXPONENTS + size(tail) * at)
    top, negative = lane(lowest(tail, full(tail, k)), int64(0)), k < 0
    whole = whole_of(wide, weights, n)
    if whole > 0:
        top = largest(wide, negative, address, None, int64(0), whole, top)
    if whole < n:
        top = largest(tail, negative, address, weights, whole, n, top)
    write_like(tail, scratch + TOPS + size(tail) * at, top)


@inline
def measure(wide: Any, tail: Any, level: Any, scratch: Any, at: Any, ahead: Any) -> None:
    """The three sums of a stretch."""
    address, n = read_i64(scratch + ADDRESS + 8 * at), int64(read_i32(scratch + COUNT + 4 * at))
    weights, width = read_i64(scratch + WEIGHTS + 8 * at), size(tail)
    k, top = read_like(tail, scratch + EXPONENTS + width * at), read_like(tail, scratch + TOPS + width * at)
    whole = whole_of(wide, weights, n)
    s, a, z = sums(tail, level, address, weights, whole, n, top, k, ahead)
    if whole > 0:
        more_s, more_a, more_z = sums(wide, level, address, None, int64(0), whole, top, k, ahead)
        s, a, z = s + more_s, a + more_a, z + more_z
    write_like(tail, scratch + S + width * at, s)
    write_like(tail, scratch + A + width * at, a)
    write_like(tail, scratch + Z + width * at, z)
