"""Short stretches side by side, one in each lane of a short vector.

They are turned in the cache. Then nothing has to be joined at their ends, and no lane is idle in between: feature maps
of 7 x 7 take half the time.
"""

from __future__ import annotations

from typing import Any

from numba import int32

from polypool.ops.cpu.like import lanes
from polypool.ops.cpu.vec import full, places, prefetch, read_i64, select, turn
from polypool.ops.cpu.vmath import ONE, ZERO
from polypool.ops.cpu.walk import get, inline, put
from polypool.ops.exponential.batch import ADDRESS, COUNT, EXPONENTS, TOPS, TURNED, A, S, Z
from polypool.ops.exponential.fields import NEGATIVE
from polypool.ops.exponential.terms import add, below, further, lowest


@inline
def find_across(like: Any, job: Any, scratch: Any, longest: Any) -> None:
    """The largest numbers of short stretches, one in each lane."""
    counts = get(places(like, int32(0)), scratch + COUNT, None)
    k = get(like, scratch + EXPONENTS, None)
    top, negative = lowest(like, k), k < ZERO(k)
    for j in range(0, longest, lanes(like)):
        turn(like, scratch + ADDRESS, scratch + COUNT, int32(j), scratch + TURNED + 64 * j)
    for j in range(longest):
        x = get(like, scratch + TURNED + 64 * j, None)
        more = further(x, top, negative) if job[NEGATIVE] != 0 else x > top
        top = select((counts > places(like, int32(j))) & more, x, top)
    put(scratch + TOPS, top, None)


@inline
def measure_across(like: Any, level: Any, scratch: Any, longest: Any, ahead: Any) -> None:
    """The three sums of short stretches, one in each lane."""
    counts = get(places(like, int32(0)), scratch + COUNT, None)
    k, top = get(like, scratch + EXPONENTS, None), get(like, scratch + TOPS, None)
    s, a, z = full(like, 0.0), full(like, 0.0), full(like, 0.0)
    following = read_i64(scratch + ADDRESS) + ahead
    for j in range(longest):
        prefetch(following + 64 * j)
        mask = counts > places(like, int32(j))
        x = select(mask, get(like, scratch + TURNED + 64 * j, None), top)
        s, a, z = add(level, below(x, top, k), select(mask, ONE(s), ZERO(s)), s, a, z)
    put(scratch + S, s, None)
    put(scratch + A, a, None)
    put(scratch + Z, z, None)
