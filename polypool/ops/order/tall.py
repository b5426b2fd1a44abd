"""Splitting tiles with two pivots at a time.

A pass over numbers that are not in the first-level cache costs little more with a second pivot than with one.
"""

from __future__ import annotations

from typing import Any

from numba import int32, int64

from polypool.ops.cpu.vec import bits, full, load, max_lanes, places, read_i64, select, store, sum_lanes
from polypool.ops.cpu.walk import inline
from polypool.ops.order.ask import ask
from polypool.ops.order.chunks import chunk
from polypool.ops.order.fields import (
    BELOW,
    GOAL,
    HEIGHT,
    HIGH,
    LESS,
    LESS_THAN_OTHER,
    LOW,
    ONES,
    OTHER,
    PIVOT,
    SPREAD,
    TILE_ROW,
    UPTO,
)
from polypool.ops.order.lanes import ONE, apart, value
from polypool.ops.order.split import exact, middle


@apart
def tally(like: Any, scratch: Any, data: Any, m: Any) -> None:
    """Adds what is less than two pivots in m rows."""
    none, zeros = places(like, int32(0)), bits(like)
    one = load(none, scratch + ONES)
    pivot, other = value(load(zeros, scratch + PIVOT)), value(load(zeros, scratch + OTHER))
    less, less_than_other = load(none, scratch + LESS), load(none, scratch + LESS_THAN_OTHER)
    for i in range(m):
        x = load(like, data + i * TILE_ROW)
        less = select(x < pivot, less + one, less)
        less_than_other = select(x < other, less_than_other + one, less_than_other)
    store(scratch + LESS, less)
    store(scratch + LESS_THAN_OTHER, less_than_other)


@apart
def learn(like: Any, scratch: Any, pivot_at: Any, count_at: Any) -> None:
    """Moves the keys to a pivot between them, now that it is known how many members are less."""
    none, zeros = places(like, int32(0)), bits(like)
    low, high = load(zeros, scratch + LOW), load(zeros, scratch + HIGH)
    pivot, count = load(zeros, scratch + pivot_at), load(none, scratch + count_at)
    if read_i64(scratch + SPREAD) != 0:
        count = full(count, sum_lanes(count))
    inside, less = (pivot > low) & (pivot < high), count <= load(none, scratch + GOAL)
    store(scratch + LOW, select(inside & less, pivot, low))
    store(scratch + HIGH, select(inside & ~less, pivot, high))
    store(scratch + BELOW, select(inside & less, count, load(none, scratch + BELOW)))
    store(scratch + UPTO, select(inside & ~less, count, load(none, scratch + UPTO)))


@inline
def unsplit(like: Any, scratch: Any) -> Any:
    """The lanes that are not split yet."""
    low, high = load(bits(like), scratch + LOW), load(bits(like), scratch + HIGH)
    return ~exact(like, scratch) & (low + ONE(low) != high)


@apart
def widest(like: Any, scratch: Any) -> Any:
    """The most members between the keys of a lane; -1 when all lanes are split."""
    none = places(like, int32(0))
    between = load(none, scratch + UPTO) - load(none, scratch + BELOW)
    return int64(max_lanes(select(unsplit(like, scratch), between, places(like, int32(-1)))))


@apart
def count_pivots(like: Any, job: Any, scratch: Any) -> None:
    """One pass over a tile with two pivots."""
    store(scratch + LESS, places(like, int32(0)))
    store(scratch + LESS_THAN_OTHER, places(like, int32(0)))
    r = int64(0)
    while r < read_i64(scratch + HEIGHT):
        data, m = chunk(job, scratch, r)
        tally(like, scratch, data, m)
        r += m


@apart
def approach(like: Any, job: Any, scratch: Any, enough: Any) -> None:
    """Brings the keys closer until no more than `enough` members lie between those of a lane; -1 asks for all."""
    while widest(like, scratch) > enough:
        low, high = load(bits(like), scratch + LOW), load(bits(like), scratch + HIGH)
        half = middle(low, high)
        # Three eighths and five eighths of the way: about equal parts.
        store(scratch + PIVOT, middle(middle(low, half), half))
        store(scratch + OTHER, middle(half, middle(half, high)))
        ask(job, scratch)
        count_pivots(like, job, scratch)
        learn(like, scratch, int64(PIVOT), int64(LESS))
        learn(like, scratch, int64(OTHER), int64(LESS_THAN_OTHER))
