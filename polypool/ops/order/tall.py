"""Splitting tiles with two keys at a time.

A pass over numbers that are not in the first-level cache costs little more with a second key than with one.
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
    LOW,
    ONES,
    OUTER,
    SPREAD,
    TILE_ROW,
    UPTO,
)
from polypool.ops.order.lanes import ONE, apart, value
from polypool.ops.order.split import exact, middle


@inline
def try_keys(scratch: Any, pair: Any, low: Any, high: Any, none: Any) -> None:
    """Two keys to try next."""
    store(scratch + pair, low)
    store(scratch + pair + 128, high)
    store(scratch + pair + 256, none)
    store(scratch + pair + 384, none)


@apart
def tally(like: Any, scratch: Any, data: Any, m: Any, pair: Any) -> None:
    """Adds what is less than two keys in m rows."""
    none, zeros = places(like, int32(0)), bits(like)
    one, known = load(none, scratch + ONES), scratch + pair
    low, high = value(load(zeros, known)), value(load(zeros, known + 128))
    below, upto = load(none, known + 256), load(none, known + 384)
    for i in range(m):
        x = load(like, data + i * TILE_ROW)
        below = select(x < low, below + one, below)
        upto = select(x < high, upto + one, upto)
    store(known + 256, below)
    store(known + 384, upto)


@apart
def learn(like: Any, scratch: Any, pair: Any) -> None:
    """Moves the keys to those two if they lie between them, now that it is known how many members are less."""
    none, zeros = places(like, int32(0)), bits(like)
    low, high = load(zeros, scratch + LOW), load(zeros, scratch + HIGH)
    below, upto = load(none, scratch + BELOW), load(none, scratch + UPTO)
    for which in range(2):
        known = scratch + pair + 128 * which
        tried, count = load(zeros, known), load(none, known + 256)
        if read_i64(scratch + SPREAD) != 0:
            count = full(count, sum_lanes(count))
        inside, less = (tried > low) & (tried < high), count <= load(none, scratch + GOAL)
        low, below = select(inside & less, tried, low), select(inside & less, count, below)
        high, upto = select(inside & ~less, tried, high), select(inside & ~less, count, upto)
    store(scratch + LOW, low)
    store(scratch + HIGH, high)
    store(scratch + BELOW, below)
    store(scratch + UPTO, upto)


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
def approach(like: Any, job: Any, scratch: Any, enough: Any) -> None:
    """Brings the keys closer until no more than `enough` members lie between those of a lane; -1 asks for all."""
    while widest(like, scratch) > enough:
        ask(job, scratch)
        low, high = load(bits(like), scratch + LOW), load(bits(like), scratch + HIGH)
        half = middle(low, high)
        # Three eighths and five eighths of the way: about equal parts.
        left, right = middle(middle(low, half), half), middle(half, middle(half, high))
        try_keys(scratch, int64(OUTER), left, right, places(like, int32(0)))
        r = int64(0)
        while r < read_i64(scratch + HEIGHT):
            data, m = chunk(job, scratch, r)
            tally(like, scratch, data, m, int64(OUTER))
            r += m
        learn(like, scratch, int64(OUTER))
