"""Which split is sought."""

from __future__ import annotations

from typing import Any

from numba import int32

from polypool.ops.cpu.vec import full, load, places, select, store
from polypool.ops.order.fields import (
    GOAL,
    PARTIAL,
    PARTS,
    PRESENT,
    RANKS,
    SLACK,
    SPLIT,
    STATISTIC,
    TRIMMED,
    N,
)
from polypool.ops.order.lanes import apart, larger, smaller


@apart
def aim(like: Any, job: Any, scratch: Any, end: Any) -> None:
    """How many members belong before the split that is sought: the first one, or where there are two the last."""
    none, one = places(like, int32(0)), places(like, int32(1))
    n, present = load(none, scratch + N), load(none, scratch + PRESENT)
    rank = load(none, scratch + RANKS)
    if job[PARTS] != 0:
        split = rank + one
    elif job[STATISTIC] == TRIMMED:
        split = rank if end == 0 else n - rank
    else:
        split = larger(present - rank, none)
    goal = larger(smaller(split, present - one), none)
    store(scratch + SPLIT, split)
    store(scratch + GOAL, goal)
    slack = none
    if job[PARTS] != 0:
        # A quantile that is a member may be the last one before the split or the first one after it.
        whole = load(like, scratch + PARTIAL) == full(like, 0.0)
        slack = select(whole & (goal == split), one, none)
    store(scratch + SLACK, slack)
