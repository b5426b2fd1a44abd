"""Splitting tiles that do not fit into scratch memory and are read again for each pass.

A sample of their rows tells where to look. One pass counts what is less than keys to both sides of it and collects what
lies between them, which is split in scratch memory. Only where the sample was misleading there are more passes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import float64, int32, int64

from polypool.ops.cpu.compiler import TAIL
from polypool.ops.cpu.like import as_double, as_like, lanes, read_like, size, write_like
from polypool.ops.cpu.vec import any_lane, bits, load, places, read_i64, select, store, write_i64
from polypool.ops.cpu.walk import inline
from polypool.ops.order.aim import aim
from polypool.ops.order.call import address_of, feed, job_of
from polypool.ops.order.chunks import chunk
from polypool.ops.order.fields import (
    BELOW,
    CURSOR,
    END,
    GOAL,
    HEIGHT,
    HIGH,
    INNER,
    LOW,
    ORIGIN,
    OUTER,
    PRESENT,
    ROOM,
    SLACK,
    SPREAD,
    STAGED_ROWS,
    TILE_ROW,
    UPTO,
)
from polypool.ops.order.lanes import INFINITY, ONE, apart, key, larger, lowest, paired, smaller, value, word
from polypool.ops.order.split import clear, exact, narrow, surround, survey, together
from polypool.ops.order.tall import approach, learn, tally, try_keys, unsplit

#: How many standard deviations of a rank in a sample lie between a split and the keys around it.
_SURE = 4.5
#: One row in so many is in the sample, but not fewer than these.
_SAMPLED, _LEAST = 64, 1024


@apart
def sample(like: Any, run_of_cells: Any, job: Any, scratch: Any) -> None:
    """Chooses keys to both sides of a split from rows that lie far from each other."""
    none, data = places(like, int32(0)), scratch + STAGED_ROWS
    goal, present = load(none, scratch + GOAL), load(none, scratch + PRESENT)
    # Contiguous numbers come in runs, and neighbours may be alike: a run counts as one row.
    run = int64(1) if read_i64(scratch + ORIGIN) != 0 else run_of_cells
    height, room = read_i64(scratch + HEIGHT), job[ROOM]
    # So many that what lies between the keys will fit into scratch memory.
    needed = int64((2.0 * _SURE * float64(height) / float64(room)) ** 2 / 4.0)
    runs = min(max(needed, height // _SAMPLED, int64(_LEAST)), room) // run
    step = height // runs
    for i in range(runs):
        feed(job, scratch, i * step, run, data + i * run * TILE_ROW)
    clear(like, scratch)
    survey(like, scratch, data, runs * run)
    together(like, scratch)
    drawn = load(none, scratch + PRESENT)
    numbers = float64(runs * run) * (float64(lanes(like)) if read_i64(scratch + SPREAD) != 0 else 1.0)
    margin = places(like, int32(_SURE / 2 * math.sqrt(numbers * float64(run)) + 1.0))
    share = as_double(drawn) / as_double(larger(present, places(like, int32(1))))
    expected = as_like(none, as_double(goal) * share)
    last = drawn - places(like, int32(1))
    store(scratch + SLACK, none)
    first = key(-INFINITY(like))
    for side in range(2):
        sought = expected - margin if side == 0 else expected + margin
        store(scratch + GOAL, larger(smaller(sought, last), none))
        surround(like, scratch)
        narrow(like, job, scratch, data, runs * run)
        low, high = load(first, scratch + LOW), load(first, scratch + HIGH)
        if side == 0:
            first = select(sought < none, first, low)
        else:
            high = select(sought > last, key(INFINITY(like)), select(exact(like, scratch), low, high))
            try_keys(scratch, int64(OUTER), first, high, none)
            # Many members may be equal at either end; they are counted, and only what lies within is collected.
            try_keys(scratch, int64(INNER), first + ONE(first), high - ONE(high), none)


@inline
def begin_collecting(like: Any, scratch: Any) -> None:
    """Nothing has been collected yet."""
    for lane in range(lanes(like)):
        write_i64(scratch + CURSOR + 8 * lane, scratch + STAGED_ROWS + lane * size(like))


@apart
def collect(like: Any, job: Any, scratch: Any, data: Any, m: Any, wanted: Any) -> None:
    """Adds what lies between the keys of some lanes, of m rows, to what was collected as long as there is room."""
    low, high = value(load(bits(like), scratch + LOW)), value(load(bits(like), scratch + HIGH))
    full_from = scratch + STAGED_ROWS + job[ROOM] * TILE_ROW
    for i in range(m):
        x = load(like, data + i * TILE_ROW)
        # The key above infinity is that of a NaN: nothing is at or above it.
        inside = word(wanted & (x >= low) & ~(x >= high))
        while inside != 0:
            lane = lowest(inside)
            to = read_i64(scratch + CURSOR + 8 * lane)
            if to < full_from:
                write_like(like, to, read_like(like, data + i * TILE_ROW + lane * size(like)))
            write_i64(scratch + CURSOR + 8 * lane, to + TILE_ROW)
            inside &= inside - 1


@apart
def collected(like: Any, scratch: Any) -> Any:
    """How many rows it takes, when what was collected of lanes that are split already is forgotten."""
    left, end, first = word(unsplit(like, scratch)), int64(0), scratch + STAGED_ROWS
    for lane in range(lanes(like)):
        if (left >> lane) % 2 == 0:
            write_i64(scratch + CURSOR + 8 * lane, first + lane * size(like))
        end = max(end, read_i64(scratch + CURSOR + 8 * lane) - lane * size(like))
    return (end - first) // TILE_ROW


@apart
def split_collected(like: Any, job: Any, scratch: Any) -> None:
    """Splits what was collected of the lanes that are not split yet."""
    none, rows, first = places(like, int32(0)), collected(like, scratch), scratch + STAGED_ROWS
    for lane in range(lanes(like)):
        at = read_i64(scratch + CURSOR + 8 * lane)
        while at < first + rows * TILE_ROW:
            write_like(like, at, np.nan)
            at += TILE_ROW
    goal, below = load(none, scratch + GOAL), load(none, scratch + BELOW)
    low, upto = load(bits(like), scratch + LOW), load(none, scratch + UPTO)
    # Lanes that are split already have nothing there, and keep what they have.
    left = unsplit(like, scratch)
    store(scratch + GOAL, goal - below)
    store(scratch + UPTO, upto - below)
    store(scratch + BELOW, none)
    narrow(like, job, scratch, first, rows)
    store(scratch + GOAL, goal)
    store(scratch + LOW, select(left, load(bits(like), scratch + LOW), low))
    store(scratch + UPTO, select(left, load(none, scratch + UPTO) + below, upto))
    store(scratch + BELOW, select(left, load(none, scratch + BELOW) + below, below))


@apart
def read_once(like: Any, job: Any, scratch: Any) -> None:
    """Reads a tile, surveys it, counts what is less than the keys and collects what lies between the inner ones."""
    low, high = load(bits(like), scratch + INNER), load(bits(like), scratch + INNER + 128)
    store(scratch + LOW, low)
    store(scratch + HIGH, high)
    clear(like, scratch)
    begin_collecting(like, scratch)
    r = int64(0)
    while r < read_i64(scratch + HEIGHT):
        data, m = chunk(job, scratch, r)
        survey(like, scratch, data, m)
        tally(like, scratch, data, m, int64(OUTER))
        tally(like, scratch, data, m, int64(INNER))
        collect(like, job, scratch, data, m, low < high)
        r += m
    together(like, scratch)


@apart
def read_again(like: Any, job: Any, scratch: Any) -> None:
    """Reads a tile until what lies between the keys fits into scratch memory, and once more to collect that."""
    approach(like, job, scratch, job[ROOM])
    begin_collecting(like, scratch)
    r, left = int64(0), unsplit(like, scratch)
    while r < read_i64(scratch + HEIGHT):
        data, m = chunk(job, scratch, r)
        collect(like, job, scratch, data, m, left)
        r += m


def split_long_tiles(pointer: Any) -> None:
    """Splits a tile that does not fit into scratch memory, as its owner has written down."""
    scratch = address_of(pointer)
    job, tail = job_of(scratch), TAIL(0)
    like, end = paired(tail), read_i64(scratch + END)
    aim(like, job, scratch, end)
    sample(like, lanes(tail), job, scratch)
    read_once(like, job, scratch)
    aim(like, job, scratch, end)
    surround(like, scratch)
    learn(like, scratch, int64(OUTER))
    learn(like, scratch, int64(INNER))
    low, high = load(bits(like), scratch + LOW), load(bits(like), scratch + HIGH)
    first, last = load(low, scratch + INNER), load(low, scratch + INNER + 128)
    outside = unsplit(like, scratch) & ((low < first) | (high > last))
    if any_lane(outside) or collected(like, scratch) > job[ROOM]:
        read_again(like, job, scratch)
    if any_lane(unsplit(like, scratch)):
        split_collected(like, job, scratch)
