"""Moments and extremes of cells whose rows lie side by side in memory.

One block of rows at a time: sums and extremes in a first pass, deviations from the block's own mean in a second one,
which finds the block in the cache. Blocks are joined in float64. So a large mean costs no precision, and the error does
not grow with the cell. Mere sums of float64 go on from block to block, in the order of the rows, as torch's own do: a
network trained in float64 with other sums is the same network with these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, float64, int32, int64

from polypool.ops.cpu.compiler import TAIL, WIDE
from polypool.ops.cpu.job import (
    CHANNELS,
    GRAIN,
    HEADS,
    ITEMS,
    KIND,
    NEXT,
    ROWS,
    SCRATCH,
    SCRATCH_BYTES,
    SIZE,
    STATES,
    WORKER,
)
from polypool.ops.cpu.like import as_double, as_like, doubled, lanes, size, spread
from polypool.ops.cpu.vec import (
    any_lane,
    fetch_add,
    first_lanes,
    full,
    places,
    read_i32,
    read_i64,
    select,
    write_f64,
)
from polypool.ops.cpu.walk import (
    BLOCK_BYTES,
    PLACE,
    SHARE,
    ahead,
    block,
    get,
    inline,
    item,
    open_block,
    piece,
    pieces_of,
    put,
    span,
    stage,
    whereabouts,
)
from polypool.ops.moments.fields import EXTREMES, LEVEL, SHAPE, SPREAD, STATE, SUMS
from polypool.ops.moments.finish import finish
from polypool.ops.moments.fold import join_m2, join_m3, join_m4


@inline
def measure(
    like: Any,
    mask: Any,
    level: Any,
    job: Any,
    scratch: Any,
    state: Any,
    t: Any,
    m: Any,
    mass: Any,
    before: Any,
    seen: Any,
) -> None:
    """Adds a block of m rows to what is known of a cell, for the channels of one vector from t on.

    `before` is the mass of what came before in this cell, `seen` the number of members.
    """
    rows, off = stage(like, mask, job, scratch, t, m)
    zero = full(like, 0.0)
    total, m2, m3, m4, left = zero, zero, zero, zero, zero
    top, low = full(like, -np.inf), full(like, np.inf)
    # The first member wins where all are -inf, which is larger than nothing.
    top_at, low_at = places(like, read_i32(scratch + PLACE)), places(like, read_i32(scratch + PLACE))
    row = 8 * job[CHANNELS]
    known = state + 8 * t
    in_order = level == SUMS and size(like) == 8
    if in_order and seen != 0.0:
        total = get(like, known, mask)
    if level >= EXTREMES and seen != 0.0:
        double = doubled(like)
        top = as_like(like, get(double, known + 4 * row, mask))
        low = as_like(like, get(double, known + 5 * row, mask))
        top_at = as_like(top_at, get(double, known + 6 * row, mask))
        low_at = as_like(low_at, get(double, known + 7 * row, mask))
    top_before, low_before, top_at_before, low_at_before = top, low, top_at, low_at
    for i in range(m):
        x = get(like, read_i64(rows + 8 * i) + off, mask)
        total = total + x * spread(like, scratch + SHARE + size(like) * i)
        if level >= EXTREMES:
            place = places(like, read_i32(scratch + PLACE + 4 * i))
            more, less = x > top, x < low
            top, low = select(more, x, top), select(less, x, low)
            top_at, low_at = select(more, place, top_at), select(less, place, low_at)
        if level < SPREAD and (level >= EXTREMES or job[ROWS] != 0):
            # Rows in order need no help with sums: the processor sees the pattern.
            ahead(like, scratch, t, i, job[KIND])
    if level >= EXTREMES and any_lane(total != total):
        # A NaN wins, and the first of them; comparisons have passed over it.
        top, low, top_at, low_at = top_before, low_before, top_at_before, low_at_before
        for i in range(m):
            x = get(like, read_i64(rows + 8 * i) + off, mask)
            place = places(like, read_i32(scratch + PLACE + 4 * i))
            more = (x > top) | ((x != x) & (top == top))
            less = (x < low) | ((x != x) & (low == low))
            top, low = select(more, x, top), select(less, x, low)
            top_at, low_at = select(more, place, top_at), select(less, place, low_at)
    if level >= SPREAD:
        # Where all members are equal, the rounding of their mean must not look like a variance.
        mean = select(top == low, top, total / full(like, mass))
        for i in range(m):
            d = get(like, read_i64(rows + 8 * i) + off, mask) - mean
            share = spread(like, scratch + SHARE + size(like) * i)
            wd = d * share
            square = wd * d
            m2 = m2 + square
            if level >= SHAPE:
                left = left + wd
                m3 = m3 + square * d
                m4 = m4 + (square * d) * d
            ahead(like, scratch, t, i, job[KIND])
    wide_total = as_double(total)
    wide_m2, wide_m3, wide_m4 = as_double(m2), as_double(m3), as_double(m4)
    if level >= SHAPE:
        # The mean was rounded: moments about it become moments about the exact one.
        shift = as_double(left) * full(wide_total, 1.0 / mass)
        square = shift * shift
        wide_m4 = (
            wide_m4
            - shift * wide_m3 * full(square, 4.0)
            + square * wide_m2 * full(square, 6.0)
            - square * square * full(square, 3.0 * mass)
        )
        wide_m3 = wide_m3 - shift * wide_m2 * full(square, 3.0) + square * shift * full(square, 2.0 * mass)
        wide_m2 = wide_m2 - square * full(square, mass)
        nothing = doubled(like)
        wide_m2 = select(wide_m2 < nothing, nothing, wide_m2)
    if seen != 0.0 and not in_order:
        a = get(wide_total, known, mask)
        if level >= SPREAD:
            gap = wide_total / full(a, mass) - a / full(a, before)
            gap = select(as_double(top) == as_double(low), doubled(like), gap)
            a2 = get(a, known + row, mask)
            if level >= SHAPE:
                a3, a4 = get(a, known + 2 * row, mask), get(a, known + 3 * row, mask)
                wide_m4 = join_m4(a4, wide_m4, a2, wide_m2, a3, wide_m3, gap, before, mass)
                wide_m3 = join_m3(a3, wide_m3, a2, wide_m2, gap, before, mass)
            wide_m2 = join_m2(a2, wide_m2, gap, before, mass)
        wide_total = a + wide_total
    put(known, wide_total, mask)
    if level >= EXTREMES:
        put(known + 4 * row, as_double(top), mask)
        put(known + 5 * row, as_double(low), mask)
        put(known + 6 * row, as_double(top_at), mask)
        put(known + 7 * row, as_double(low_at), mask)
    if level >= SPREAD:
        put(known + row, wide_m2, mask)
    if level >= SHAPE:
        put(known + 2 * row, wide_m3, mask)
        put(known + 3 * row, wide_m4, mask)


@inline
def read_piece(wide: Any, tail: Any, level: Any, job: Any, scratch: Any, i: Any) -> None:
    """A cell, or one piece of it."""
    cell, part = item(job, i)
    begin, end = span(job, cell)
    _, pieces = pieces_of(job, cell)
    start, stop = piece(job, begin, end, part)
    origin, last = whereabouts(job, cell, begin)
    row, width = 8 * job[CHANNELS], job[CHANNELS] // job[HEADS]
    state = scratch + BLOCK_BYTES
    if pieces > 1:
        state = job[STATES] + i * STATE * row
    for head in range(job[HEADS]):
        r, before, seen = start, 0.0, 0.0
        while r < stop:
            r, m, mass = block(wide, job, scratch, origin, begin, r, stop, last, head)
            if m > 0:
                t, edge = head * width, (head + 1) * width
                while t + lanes(wide) <= edge:
                    measure(wide, None, level, job, scratch, state, t, m, mass, before, seen)
                    t += lanes(wide)
                while t < edge:
                    mask = first_lanes(tail, int32(edge - t))
                    measure(tail, mask, level, job, scratch, state, t, m, mass, before, seen)
                    t += lanes(tail)
                before += mass
                seen += float64(m)
        if pieces > 1:
            write_f64(state + 8 * row + 8 * head, before)
            write_f64(state + 9 * row + 8 * head, seen)
        else:
            finish(tail, job, state, before, seen, cell, head)


@inline
def work(wide: Any, tail: Any, level: Any, job: Any, pointer: Any, scratch: Any) -> None:
    """Takes items until there are none."""
    while True:
        begin = fetch_add(pointer, NEXT, job[GRAIN])
        if begin >= job[ITEMS]:
            break
        for i in range(begin, min(begin + job[GRAIN], job[ITEMS])):
            read_piece(wide, tail, level, job, scratch, i)


def moments_of_rows(pointer: Any) -> None:
    """The kernel. A level that is a constant makes code for it alone."""
    job = carray(pointer, SIZE)
    wide, tail = WIDE(0), TAIL(0)
    scratch = job[SCRATCH] + fetch_add(pointer, WORKER, 1) * job[SCRATCH_BYTES]
    open_block(wide, scratch)
    if job[LEVEL] == SUMS:
        work(wide, tail, int64(SUMS), job, pointer, scratch)
    elif job[LEVEL] == EXTREMES:
        work(wide, tail, int64(EXTREMES), job, pointer, scratch)
    elif job[LEVEL] == SPREAD:
        work(wide, tail, int64(SPREAD), job, pointer, scratch)
    else:
        work(wide, tail, int64(SHAPE), job, pointer, scratch)
