"""Finding the number that parts the smallest members of a cell from the others.

A split after the s smallest members is a key between two: s members or fewer are less than the lower one, more than s
are less than the upper. Halving the distance of the keys for all lanes at once, each time counting what is less than
the key in the middle, ends after at most as many passes as a key has bits, and mostly far earlier, at a key that
exactly s members are less than. Where there is none, members are equal: the keys meet at their number.
"""

from __future__ import annotations

from typing import Any

from numba import int32

from polypool.ops.cpu.vec import (
    any_lane,
    bits,
    full,
    load,
    max_lanes,
    min_lanes,
    places,
    read_i64,
    select,
    store,
    sum_lanes,
)
from polypool.ops.cpu.walk import inline
from polypool.ops.order.ask import ask
from polypool.ops.order.fields import (
    BELOW,
    GOAL,
    HIGH,
    LARGEST,
    LOW,
    ONES,
    PRESENT,
    SLACK,
    SMALLEST,
    SPREAD,
    TILE_ROW,
    UPTO,
)
from polypool.ops.order.lanes import INFINITY, ONE, apart, key, value


@apart
def clear(like: Any, scratch: Any) -> None:
    """Nothing has been surveyed yet."""
    store(scratch + SMALLEST, INFINITY(like))
    store(scratch + LARGEST, -INFINITY(like))
    store(scratch + PRESENT, places(like, int32(0)))


@apart
def survey(like: Any, scratch: Any, data: Any, m: Any) -> None:
    """Adds m rows to the extremes and to the count of numbers that are not NaN."""
    low, high = load(like, scratch + SMALLEST), load(like, scratch + LARGEST)
    present = load(places(like, int32(0)), scratch + PRESENT)
    one = load(present, scratch + ONES)
    for i in range(m):
        x = load(like, data + i * TILE_ROW)
        low, high = select(x < low, x, low), select(x > high, x, high)
        present = select(x == x, present + one, present)
    store(scratch + SMALLEST, low)
    store(scratch + LARGEST, high)
    store(scratch + PRESENT, present)


@apart
def together(like: Any, scratch: Any) -> None:
    """What was surveyed of all parts, in every lane, where lanes are parts of one cell."""
    if read_i64(scratch + SPREAD) != 0:
        store(scratch + SMALLEST, full(like, min_lanes(load(like, scratch + SMALLEST))))
        store(scratch + LARGEST, full(like, max_lanes(load(like, scratch + LARGEST))))
        present = load(places(like, int32(0)), scratch + PRESENT)
        store(scratch + PRESENT, full(present, sum_lanes(present)))


@apart
def surround(like: Any, scratch: Any) -> None:
    """Keys around all numbers that were surveyed."""
    none, low = places(like, int32(0)), key(load(like, scratch + SMALLEST))
    high = key(load(like, scratch + LARGEST))
    store(scratch + LOW, low)
    store(scratch + HIGH, high + ONE(high))
    store(scratch + BELOW, none)
    store(scratch + UPTO, load(none, scratch + PRESENT))


@inline
def exact(like: Any, scratch: Any) -> Any:
    """In which lanes as many members as are sought are less than the lower key, or one less where that will do."""
    none = places(like, int32(0))
    below, goal = load(none, scratch + BELOW), load(none, scratch + GOAL)
    return (below == goal) | (below + load(none, scratch + SLACK) == goal)


@inline
def middle(low: Any, high: Any) -> Any:
    """Halfway between two keys, rounded down; their sum would not fit."""
    return (low & high) + ((low ^ high) >> ONE(low))


@apart
def narrow(like: Any, job: Any, scratch: Any, data: Any, m: Any) -> None:
    """Brings the two keys together over m staged rows."""
    none, zeros = places(like, int32(0)), bits(like)
    one = load(none, scratch + ONES)
    low, high = load(zeros, scratch + LOW), load(zeros, scratch + HIGH)
    below, upto = load(none, scratch + BELOW), load(none, scratch + UPTO)
    goal = load(none, scratch + GOAL)
    nearly = goal - load(none, scratch + SLACK)
    parts = read_i64(scratch + SPREAD) != 0
    while any_lane((below != goal) & (below != nearly) & (low + ONE(low) != high)):
        ask(job, scratch)
        between = middle(low, high)
        pivot, count, odd = value(between), none, none
        for i in range(0, m - 1, 2):
            count = select(load(like, data + i * TILE_ROW) < pivot, count + one, count)
            odd = select(load(like, data + (i + 1) * TILE_ROW) < pivot, odd + one, odd)
        if m % 2 != 0:
            count = select(load(like, data + (m - 1) * TILE_ROW) < pivot, count + one, count)
        count = count + odd
        if parts:
            count = full(count, sum_lanes(count))
        less = count <= goal
        low, high = select(less, between, low), select(less, high, between)
        below, upto = select(less, count, below), select(less, upto, count)
    store(scratch + LOW, low)
    store(scratch + HIGH, high)
    store(scratch + BELOW, below)
    store(scratch + UPTO, upto)
