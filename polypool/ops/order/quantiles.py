"""Quantiles of cells and their places, tile by tile."""

from __future__ import annotations

from typing import Any

from numba import carray, int32, int64

from polypool.ops.cpu.compiler import TAIL
from polypool.ops.cpu.job import CELLS, CHANNELS, GRAIN, ITEMS, NEXT, SCRATCH, SCRATCH_BYTES, SIZE, WORKER
from polypool.ops.cpu.like import size
from polypool.ops.cpu.vec import (
    any_lane,
    bits,
    fetch_add,
    first_lanes,
    full,
    load,
    places,
    read_i64,
    select,
    store,
    store_some,
)
from polypool.ops.order.around import neighbours, ties
from polypool.ops.order.fields import (
    AT,
    BELOW,
    GOAL,
    GROUP,
    HIGH_AT,
    LOW,
    LOW_AT,
    NEXT_TIE,
    OUT,
    OVER,
    OVER_AT,
    PARTIAL,
    PARTS,
    PRESENT,
    RANK,
    RANKS,
    SHARE,
    TIE,
    UNDER,
    UNDER_AT,
    USED,
    N,
)
from polypool.ops.order.find import find
from polypool.ops.order.lanes import NAN, apart, paired, value
from polypool.ops.order.split import exact
from polypool.ops.order.tile import lookup
from polypool.ops.order.work import describe, stage


@apart
def untie(like: Any, job: Any, scratch: Any) -> None:
    """Where members equal each other around a split, both neighbours are such ones."""
    none, found = places(like, int32(0)), exact(like, scratch)
    goal = load(none, scratch + GOAL)
    ties(like, job, scratch, goal - load(none, scratch + BELOW))
    tie = value(load(bits(like), scratch + LOW))
    first, second = load(none, scratch + TIE), load(none, scratch + NEXT_TIE)
    # The rank is that of the member after the split only where there is no member after it.
    first = select(goal == load(none, scratch + RANKS), second, first)
    store(scratch + UNDER, select(found, load(like, scratch + UNDER), tie))
    store(scratch + OVER, select(found, load(like, scratch + OVER), tie))
    store(scratch + UNDER_AT, select(found, load(none, scratch + UNDER_AT), first))
    store(scratch + OVER_AT, select(found, load(none, scratch + OVER_AT), second))


@apart
def conclude(like: Any, job: Any, scratch: Any, part: Any) -> None:
    """Writes a quantile and its places from what lies around the split."""
    none, one, zero, whole = places(like, int32(0)), places(like, int32(1)), full(like, 0.0), full(like, 1.0)
    n, present = load(none, scratch + N), load(none, scratch + PRESENT)
    rank, share = load(none, scratch + RANKS), load(like, scratch + PARTIAL)
    low, high = load(like, scratch + UNDER), load(like, scratch + OVER)
    low_at, high_at = load(none, scratch + UNDER_AT), load(none, scratch + OVER_AT)
    after = exact(like, scratch) & (load(none, scratch + BELOW) == rank)
    low, low_at = select(after, high, low), select(after, high_at, low_at)
    # What has no share is not read: 0 times infinity would be NaN.
    result = select(whole - share == zero, high, (whole - share) * low + share * high)
    result = select(share == zero, low, result)
    result = select(present < n, NAN(like), result)
    result = select(n == none, zero, result)
    mask = first_lanes(like, int32(read_i64(scratch + USED)))
    at = part * job[CELLS] * job[CHANNELS] + read_i64(scratch + AT)
    store_some(job[OUT] + at * size(like), result, mask)
    if job[LOW_AT] != 0:
        # NaN are last in the order; ranks beyond the other members have no place of their own.
        nowhere = places(like, int32(-1))
        store_some(job[LOW_AT] + 4 * at, select(rank < present, low_at, nowhere), mask)
        store_some(job[HIGH_AT] + 4 * at, select(rank + one < present, high_at, nowhere), mask)


@apart
def quantile(like: Any, job: Any, scratch: Any, part: Any) -> None:
    """One quantile of a tile."""
    lookup(places(like, int32(0)), job, scratch, job[RANK], part, scratch + RANKS)
    lookup(like, job, scratch, job[SHARE], part, scratch + PARTIAL)
    find(like, job, scratch, int64(0))
    neighbours(like, job, scratch)
    if any_lane(~exact(like, scratch)):
        untie(like, job, scratch)
    conclude(like, job, scratch, part)


def quantiles_of_tiles(pointer: Any) -> None:
    """The kernel."""
    job = carray(pointer, SIZE)
    like = paired(TAIL(0))
    scratch = job[SCRATCH] + fetch_add(pointer, WORKER, 1) * job[SCRATCH_BYTES]
    while True:
        begin = fetch_add(pointer, NEXT, job[GRAIN])
        if begin >= job[ITEMS]:
            break
        for i in range(begin, min(begin + job[GRAIN], job[ITEMS])):
            alone = describe(like, job, pointer, scratch, i)
            for k in range(max(alone, 1)):
                stage(like, job, scratch, i * job[GROUP] + k if alone > 0 else int64(-1))
                for part in range(job[PARTS]):
                    quantile(like, job, scratch, part)
