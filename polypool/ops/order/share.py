"""What is known of the members that are kept, for their gradients."""

from __future__ import annotations

from typing import Any

from numba import float64, int32, int64

from polypool.ops.cpu.like import size
from polypool.ops.cpu.vec import places, read_i32
from polypool.ops.cpu.walk import get, inline
from polypool.ops.order.around import AFTER
from polypool.ops.order.fields import (
    HIGH_AT,
    HIGH_VALUE,
    LOW_AT,
    LOW_VALUE,
    NUMBER,
    RANK,
    STATISTIC,
    STEP,
    TRIMMED,
)
from polypool.ops.order.lanes import INFINITY


@inline
def between(x: Any, order: Any, first: Any, first_at: Any, last: Any, last_at: Any) -> Any:
    """Which members come after the first split and before the last; of equal members the order decides."""
    after = (x > first) | ((x == first) & (order > first_at))
    return after & ((x < last) | ((x == last) & (order <= last_at)))


@inline
def ends_of(like: Any, mask: Any, job: Any, at: Any) -> Any:
    """The ends of what is kept, by value and place."""
    first_at = get(places(like, int32(0)), job[LOW_AT] + 4 * at, mask)
    first = get(like, job[LOW_VALUE] + at * size(like), mask)
    last, last_at = INFINITY(like), places(like, int32(AFTER))
    if job[HIGH_AT] != 0:
        last_at = get(first_at, job[HIGH_AT] + 4 * at, mask)
        last = get(like, job[HIGH_VALUE] + at * size(like), mask)
    return first, first_at, last, last_at


@inline
def share_of_kept(job: Any, cell: Any) -> Any:
    """What each of them brings to the mean."""
    entry = cell if job[STEP] != 0 else int64(0)
    n, rank = read_i32(job[NUMBER] + 4 * entry), read_i32(job[RANK] + 4 * entry)
    count = float64(n) - 2.0 * rank if job[STATISTIC] == TRIMMED else float64(rank)
    return 1.0 / max(count, 1.0)
