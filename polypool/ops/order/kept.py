"""The members between two splits, which stand in (value, place) order, and their sum."""

from __future__ import annotations

from typing import Any

from numba import carray, int32, int64

from polypool.ops.cpu.compiler import TAIL
from polypool.ops.cpu.job import GRAIN, ITEMS, NEXT, SCRATCH, SCRATCH_BYTES, SIZE, WORKER
from polypool.ops.cpu.like import as_double, as_like, doubled, size
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
    sum_lanes,
)
from polypool.ops.order.around import AFTER, BEFORE, ties
from polypool.ops.order.chunks import chunk
from polypool.ops.order.fields import (
    AT,
    BELOW,
    CHUNK,
    FIRST_AT,
    FIRST_VALUE,
    GOAL,
    GROUP,
    HEIGHT,
    HIGH_AT,
    HIGH_VALUE,
    LAST_AT,
    LAST_VALUE,
    LOW,
    LOW_AT,
    LOW_VALUE,
    OUT,
    PRESENT,
    RANK,
    RANKS,
    SHIFT,
    SPLIT,
    SPREAD,
    STATISTIC,
    TIE,
    TILE_ROW,
    TOP,
    TOTAL,
    TRIMMED,
    UPTO,
    USED,
    N,
)
from polypool.ops.order.find import find
from polypool.ops.order.lanes import INFINITY, NAN, apart, paired, value
from polypool.ops.order.share import between
from polypool.ops.order.split import exact
from polypool.ops.order.tile import lookup
from polypool.ops.order.work import describe, stage

#: Less than any place, and than any place with the sign turned.
_FIRST = -0x80000000


@apart
def add_kept(like: Any, job: Any, scratch: Any, data: Any, r: Any, m: Any) -> None:
    """Adds what is kept of m rows, from row r of the tile on, in float64 over runs of rows."""
    none, zero = places(like, int32(0)), full(like, 0.0)
    first, first_at = load(like, scratch + FIRST_VALUE), load(none, scratch + FIRST_AT)
    last, last_at = load(like, scratch + LAST_VALUE), load(none, scratch + LAST_AT)
    # Of equal members the first ones are kept for the mean of the largest: there the order of places is turned.
    step = int64(-1) if job[STATISTIC] == TOP else int64(1)
    shift = load(none, scratch + SHIFT) * places(like, int32(step))
    total = load(doubled(like), scratch + TOTAL)
    for start in range(0, m, CHUNK):
        part = zero
        for i in range(start, min(start + CHUNK, m)):
            x = load(like, data + i * TILE_ROW)
            order = places(like, int32(step * (r + i))) + shift
            part = part + select(between(x, order, first, first_at, last, last_at), x, zero)
        total = total + as_double(part)
    store(scratch + TOTAL, total)


@apart
def end_of_kept(like: Any, job: Any, scratch: Any, end: Any) -> None:
    """Finds one end of what is kept, as a value and where among equal ones the end is."""
    find(like, job, scratch, end)
    none = places(like, int32(0))
    below, upto = load(none, scratch + BELOW), load(none, scratch + UPTO)
    goal, found = load(none, scratch + GOAL), exact(like, scratch)
    limit = places(like, int32(_FIRST)) if end == 0 else places(like, int32(BEFORE))
    if any_lane(~found):
        if job[STATISTIC] == TOP:
            ties(like, job, scratch, upto - goal)
            tie = ~load(none, scratch + TIE)
        else:
            ties(like, job, scratch, goal - below)
            tie = load(none, scratch + TIE)
        limit = select(found, limit, tie)
    # Where NaN, the last in the order, are cut off there is nothing more to cut.
    past = load(none, scratch + SPLIT) >= load(none, scratch + PRESENT)
    number = select(past, INFINITY(like), value(load(bits(like), scratch + LOW)))
    limit = select(past, places(like, int32(AFTER)), limit)
    if end == 0:
        store(scratch + FIRST_VALUE, number)
        store(scratch + FIRST_AT, limit)
    else:
        store(scratch + LAST_VALUE, number)
        store(scratch + LAST_AT, limit)


@apart
def mean_of_kept(like: Any, job: Any, scratch: Any) -> None:
    """The mean of what is kept of a staged tile."""
    none, one = places(like, int32(0)), places(like, int32(1))
    lookup(none, job, scratch, job[RANK], int64(0), scratch + RANKS)
    store(scratch + LAST_VALUE, INFINITY(like))
    store(scratch + LAST_AT, places(like, int32(AFTER)))
    for end in range(2 if job[STATISTIC] == TRIMMED else 1):
        end_of_kept(like, job, scratch, int64(end))
    rank, n = load(none, scratch + RANKS), load(none, scratch + N)
    count = n - rank - rank if job[STATISTIC] == TRIMMED else rank
    sums, r = doubled(like), int64(0)
    store(scratch + TOTAL, sums)
    while r < read_i64(scratch + HEIGHT):
        data, m = chunk(job, scratch, r)
        add_kept(like, job, scratch, data, r, m)
        r += m
    sums = load(sums, scratch + TOTAL)
    if read_i64(scratch + SPREAD) != 0:
        sums = full(sums, sum_lanes(sums))
    result = as_like(like, sums / as_double(select(count > none, count, one)))
    result = select(load(none, scratch + PRESENT) < n, NAN(like), result)
    mask, at = first_lanes(like, int32(read_i64(scratch + USED))), read_i64(scratch + AT)
    store_some(job[OUT] + at * size(like), result, mask)
    if job[LOW_AT] != 0:
        store_some(job[LOW_VALUE] + at * size(like), load(like, scratch + FIRST_VALUE), mask)
        store_some(job[LOW_AT] + 4 * at, load(none, scratch + FIRST_AT), mask)
    if job[HIGH_AT] != 0:
        store_some(job[HIGH_VALUE] + at * size(like), load(like, scratch + LAST_VALUE), mask)
        store_some(job[HIGH_AT] + 4 * at, load(none, scratch + LAST_AT), mask)


def means_of_kept(pointer: Any) -> None:
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
                mean_of_kept(like, job, scratch)
