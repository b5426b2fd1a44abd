"""What lies around a split: the members on both sides of it, and which of equal members belong before it."""

from __future__ import annotations

from typing import Any

from numba import int32, int64

from polypool.ops.cpu.like import lanes
from polypool.ops.cpu.vec import (
    bits,
    full,
    load,
    max_lanes,
    min_lanes,
    places,
    read_i32,
    read_i64,
    select,
    store,
    write_i32,
)
from polypool.ops.order.chunks import chunk
from polypool.ops.order.fields import (
    HEIGHT,
    LOW,
    NEXT_TIE,
    ONES,
    OVER,
    OVER_AT,
    SEEN,
    SHIFT,
    SPREAD,
    TIE,
    TILE_ROW,
    UNDER,
    UNDER_AT,
)
from polypool.ops.order.lanes import INFINITY, NAN, apart, value

#: Places before and after all others.
BEFORE, AFTER = -1, 0x7FFFFFFF


@apart
def look_around(like: Any, scratch: Any, data: Any, r: Any, m: Any) -> None:
    """Looks for both neighbours of the lower key in m rows, from row r of the tile on."""
    none = places(like, int32(0))
    pivot = value(load(bits(like), scratch + LOW))
    under, under_at = load(like, scratch + UNDER), load(none, scratch + UNDER_AT)
    over, over_at = load(like, scratch + OVER), load(none, scratch + OVER_AT)
    for i in range(m):
        x, place = load(like, data + i * TILE_ROW), places(like, int32(r + i))
        # A NaN stands for nothing found yet: no number is less than it, nor more.
        more, less = (x < pivot) & ~(x < under), (x >= pivot) & ~(x >= over)
        under, under_at = select(more, x, under), select(more, place, under_at)
        over, over_at = select(less, x, over), select(less, place, over_at)
    store(scratch + UNDER, under)
    store(scratch + UNDER_AT, under_at)
    store(scratch + OVER, over)
    store(scratch + OVER_AT, over_at)


@apart
def neighbours(like: Any, job: Any, scratch: Any) -> None:
    """The last of the largest members below the lower key, and the first of the smallest ones that are not."""
    store(scratch + UNDER, NAN(like))
    store(scratch + OVER, NAN(like))
    r = int64(0)
    while r < read_i64(scratch + HEIGHT):
        data, m = chunk(job, scratch, r)
        look_around(like, scratch, data, r, m)
        r += m
    settle(like, scratch)


@apart
def settle(like: Any, scratch: Any) -> None:
    """Makes places in the cell of places in lanes, and one neighbour of those of its parts."""
    none = places(like, int32(0))
    shift, before, after = (
        load(none, scratch + SHIFT),
        places(like, int32(BEFORE)),
        places(like, int32(AFTER)),
    )
    under, over = load(like, scratch + UNDER), load(like, scratch + OVER)
    under_at = select(under == under, load(none, scratch + UNDER_AT) + shift, before)
    over_at = select(over == over, load(none, scratch + OVER_AT) + shift, after)
    if read_i64(scratch + SPREAD) != 0:
        under = select(under == under, under, -INFINITY(like))
        best = full(like, max_lanes(under))
        under_at = full(none, max_lanes(select(under == best, under_at, before)))
        under = best
        over = select(over == over, over, INFINITY(like))
        best = full(like, min_lanes(over))
        over_at = full(none, min_lanes(select(over == best, over_at, after)))
        over = best
    store(scratch + UNDER, under)
    store(scratch + UNDER_AT, under_at)
    store(scratch + OVER, over)
    store(scratch + OVER_AT, over_at)


@apart
def count_ties(like: Any, scratch: Any, data: Any, r: Any, m: Any, which: Any) -> None:
    """Looks among m rows, from row r of the tile on, for two of the members that equal the lower key."""
    none = places(like, int32(0))
    sought, one = value(load(bits(like), scratch + LOW)), load(none, scratch + ONES)
    seen, shift = load(none, scratch + SEEN), load(none, scratch + SHIFT)
    first, second = load(none, scratch + TIE), load(none, scratch + NEXT_TIE)
    for i in range(m):
        equal = load(like, data + i * TILE_ROW) == sought
        place = places(like, int32(r + i)) + shift
        second = select(equal & (seen == which), place, second)
        seen = select(equal, seen + one, seen)
        first = select(equal & (seen == which), place, first)
    store(scratch + SEEN, seen)
    store(scratch + TIE, first)
    store(scratch + NEXT_TIE, second)


@apart
def begin_ties(like: Any, scratch: Any) -> None:
    """How many equal members come before each lane: none, or those of the parts before it, which have been seen."""
    total = int32(0)
    for lane in range(lanes(like)):
        own = read_i32(scratch + SEEN + 4 * lane)
        write_i32(scratch + SEEN + 4 * lane, total)
        total = int32(total + own)
    store(scratch + TIE, places(like, int32(BEFORE)))
    store(scratch + NEXT_TIE, places(like, int32(BEFORE)))


@apart
def ties(like: Any, job: Any, scratch: Any, which: Any) -> None:
    """The places of two members that equal the lower key: of number `which`, counted from 1, and of the next."""
    none, parts = places(like, int32(0)), read_i64(scratch + SPREAD) != 0
    store(scratch + SEEN, none)
    for _ in range(2 if parts else 1):
        begin_ties(like, scratch)
        r = int64(0)
        while r < read_i64(scratch + HEIGHT):
            data, m = chunk(job, scratch, r)
            count_ties(like, scratch, data, r, m, which)
            r += m
    if parts:
        store(scratch + TIE, full(none, max_lanes(load(none, scratch + TIE))))
        store(scratch + NEXT_TIE, full(none, max_lanes(load(none, scratch + NEXT_TIE))))
