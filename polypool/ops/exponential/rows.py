"""Exponentially weighted averages and log-mean-exps of cells whose rows lie side by side in memory.

One block of rows at a time: the largest member in a first pass, powers in a second one, which finds the block in the
cache. Blocks are joined in float64, brought to the same largest member where it has grown. So nothing overflows, and
the error does not grow with the cell.
"""

from __future__ import annotations

from typing import Any

from numba import carray, int32, int64

from polypool.ops.cpu.compiler import TAIL, WIDE
from polypool.ops.cpu.job import (
    CHANNELS,
    GRAIN,
    ITEMS,
    KIND,
    NEXT,
    SCRATCH,
    SCRATCH_BYTES,
    SIZE,
    STATES,
    WORKER,
)
from polypool.ops.cpu.like import as_double, as_like, doubled, lanes, size, spread
from polypool.ops.cpu.vec import any_lane, fetch_add, first_lanes, full, read_i64, select, write_f64
from polypool.ops.cpu.vmath import ZERO
from polypool.ops.cpu.walk import (
    BLOCK_BYTES,
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
from polypool.ops.exponential.fields import (
    AVERAGE,
    AVERAGE_SLOPE,
    EXPONENT,
    INVERSE,
    LEVEL,
    LOG_MEAN,
    LOG_MEAN_SLOPE,
    NEGATIVE,
    STATE,
)
from polypool.ops.exponential.finish import finish
from polypool.ops.exponential.terms import add, below, further, lowest, moved

#: Scratch memory that a channel needs beside a block: what is known of the block, and in float64 of the cell.
BYTES_OF_CHANNEL = 64


@inline
def largest(like: Any, mask: Any, job: Any, k: Any, rows: Any, off: Any, m: Any, top: Any) -> Any:
    """The largest of m rows and of what is known; the smallest where k is negative."""
    if job[NEGATIVE] != 0:
        negative = k < ZERO(k)
        for i in range(m):
            x = get(like, read_i64(rows + 8 * i) + off, mask)
            top = select(further(x, top, negative), x, top)
    else:
        for i in range(m):
            x = get(like, read_i64(rows + 8 * i) + off, mask)
            top = select(x > top, x, top)
    return top


@inline
def sums(
    like: Any,
    mask: Any,
    level: Any,
    scratch: Any,
    t: Any,
    kind: Any,
    k: Any,
    rows: Any,
    off: Any,
    m: Any,
    top: Any,
) -> Any:
    """The three sums of m rows."""
    s, a, z = full(like, 0.0), full(like, 0.0), full(like, 0.0)
    for i in range(m):
        y = below(get(like, read_i64(rows + 8 * i) + off, mask), top, k)
        s, a, z = add(level, y, spread(like, scratch + SHARE + size(like) * i), s, a, z)
        ahead(like, scratch, t, i, kind)
    return s, a, z


@inline
def measure(like: Any, mask: Any, job: Any, scratch: Any, t: Any, m: Any, first: Any) -> None:
    """The largest member so far and the sums of a block of m rows, for the channels of one vector from t on."""
    level, kind = job[LEVEL], job[KIND]
    rows, off = stage(like, mask, job, scratch, t, m)
    row, known = size(like) * job[CHANNELS], scratch + BLOCK_BYTES + size(like) * t
    k = get(like, job[EXPONENT] + size(like) * t, mask)
    top = lowest(like, k) if first else get(like, known, mask)
    top = largest(like, mask, job, k, rows, off, m, top)
    # Constants make code for each level alone.
    if level == AVERAGE:
        s, a, z = sums(like, mask, int64(AVERAGE), scratch, t, kind, k, rows, off, m, top)
    elif level == AVERAGE_SLOPE:
        s, a, z = sums(like, mask, int64(AVERAGE_SLOPE), scratch, t, kind, k, rows, off, m, top)
    elif level == LOG_MEAN:
        s, a, z = sums(like, mask, int64(LOG_MEAN), scratch, t, kind, k, rows, off, m, top)
    else:
        s, a, z = sums(like, mask, int64(LOG_MEAN_SLOPE), scratch, t, kind, k, rows, off, m, top)
    put(known, top, mask)
    put(known + row, s, mask)
    put(known + 2 * row, a, mask)
    put(known + 3 * row, z, mask)


@inline
def fold(like: Any, job: Any, scratch: Any, state: Any, before: Any) -> None:
    """Adds the sums of a block to those of a cell, in float64, and leaves all of them where the block's were.

    `before` is the mass of what came before in this cell.
    """
    double, row, wide_row = doubled(like), size(like) * job[CHANNELS], 8 * job[CHANNELS]
    for t in range(0, job[CHANNELS], lanes(like)):
        mask = first_lanes(like, int32(job[CHANNELS] - t))
        fresh, known = scratch + BLOCK_BYTES + size(like) * t, state + 8 * t
        top = as_double(get(like, fresh, mask))
        s, a = as_double(get(like, fresh + row, mask)), as_double(get(like, fresh + 2 * row, mask))
        z = as_double(get(like, fresh + 3 * row, mask))
        if before != 0.0:
            old, old_s = get(double, known, mask), get(double, known + wide_row, mask)
            old_a, old_z = get(double, known + 2 * wide_row, mask), get(double, known + 3 * wide_row, mask)
            if any_lane(top != old):
                k = as_double(get(like, job[EXPONENT] + size(like) * t, mask))
                old_s, old_a, old_z = moved(job[LEVEL], old_s, old_a, old_z, old, top, k, before)
            s, a, z = s + old_s, a + old_a, z + old_z
            put(fresh + row, as_like(like, s), mask)
            put(fresh + 2 * row, as_like(like, a), mask)
            put(fresh + 3 * row, as_like(like, z), mask)
        put(known, top, mask)
        put(known + wide_row, s, mask)
        put(known + 2 * wide_row, a, mask)
        put(known + 3 * wide_row, z, mask)


@inline
def finish_row(like: Any, job: Any, scratch: Any, mass: Any, cell: Any) -> None:
    """Writes the results of a cell, all its channels; zeros where it is empty."""
    row, width = size(like) * job[CHANNELS], job[CHANNELS]
    part = full(like, 0.0 if mass == 0.0 else 1.0 / mass)
    for t in range(0, width, lanes(like)):
        mask = first_lanes(like, int32(width - t))
        known = scratch + BLOCK_BYTES + size(like) * t
        top, s = get(like, known, mask), get(like, known + row, mask)
        a, z = get(like, known + 2 * row, mask), get(like, known + 3 * row, mask)
        inverse = get(like, job[INVERSE] + size(like) * t, mask)
        finish(job[LEVEL], job, mask, cell * width + t, top, s, a, z, part, inverse)


@inline
def read_piece(wide: Any, tail: Any, job: Any, scratch: Any, i: Any) -> None:
    """A cell, or one piece of it."""
    cell, part = item(job, i)
    begin, end = span(job, cell)
    _, pieces = pieces_of(job, cell)
    r, stop = piece(job, begin, end, part)
    origin, last = whereabouts(job, cell, begin)
    row = 8 * job[CHANNELS]
    state = scratch + BLOCK_BYTES + 4 * row
    if pieces > 1:
        state = job[STATES] + i * STATE * row
    before = 0.0
    while r < stop:
        r, m, mass = block(wide, job, scratch, origin, begin, r, stop, last, int64(0))
        if m > 0:
            t, edge, first = int64(0), job[CHANNELS], before == 0.0
            while t + lanes(wide) <= edge:
                measure(wide, None, job, scratch, t, m, first)
                t += lanes(wide)
            while t < edge:
                measure(tail, first_lanes(tail, int32(edge - t)), job, scratch, t, m, first)
                t += lanes(tail)
            if r < stop or not first or pieces > 1:
                fold(tail, job, scratch, state, before)
            before += mass
    if pieces > 1:
        write_f64(state + 4 * row, before)
    else:
        finish_row(tail, job, scratch, before, cell)


def exponentials_of_rows(pointer: Any) -> None:
    """The kernel."""
    job = carray(pointer, SIZE)
    wide, tail = WIDE(0), TAIL(0)
    scratch = job[SCRATCH] + fetch_add(pointer, WORKER, 1) * job[SCRATCH_BYTES]
    open_block(wide, scratch)
    while True:
        begin = fetch_add(pointer, NEXT, job[GRAIN])
        if begin >= job[ITEMS]:
            break
        for i in range(begin, min(begin + job[GRAIN], job[ITEMS])):
            read_piece(wide, tail, job, scratch, i)
