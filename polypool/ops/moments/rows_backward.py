"""Gradients of moments and extremes of cells whose rows lie side by side in memory."""

from __future__ import annotations

from typing import Any

from numba import carray, int32, int64

from polypool.ops.cpu.compiler import TAIL, WIDE
from polypool.ops.cpu.gradient import block, give
from polypool.ops.cpu.job import (
    CHANNELS,
    GRAIN,
    HEADS,
    ITEMS,
    KIND,
    NEXT,
    SCRATCH,
    SCRATCH_BYTES,
    SIZE,
    WEIGHT,
    WORKER,
)
from polypool.ops.cpu.like import lanes, size, spread
from polypool.ops.cpu.vec import fence, fetch_add, first_lanes, full, places, read_i32, read_i64, select
from polypool.ops.cpu.walk import (
    PLACE,
    SHARE,
    TARGET,
    ahead,
    get,
    inline,
    item,
    open_block,
    piece,
    span,
    stage,
)
from polypool.ops.moments.fields import (
    ARGMAX,
    ARGMIN,
    CHOSEN,
    CUBIC,
    EVEN,
    G_MAX,
    G_MIN,
    LEVEL,
    LINEAR,
    MEAN,
)
from polypool.ops.moments.polynomial import coefficients, mass_of, slope, wanted


@inline
def differentiate(
    like: Any, mask: Any, level: Any, job: Any, scratch: Any, cell: Any, t: Any, m: Any, mass: Any
) -> None:
    """The gradients of a block of m rows, for the channels of one vector from t on."""
    at = cell * job[CHANNELS] + t
    off = at * size(like)
    a, b, c, e = coefficients(like, mask, level, job, off, mass)
    zero = full(like, 0.0)
    rows, column, mean = scratch, int64(0), zero
    if level >= LINEAR:
        rows, column = stage(like, mask, job, scratch, t, m)
        mean = get(like, job[MEAN] + off, mask)
    top_at, low_at = places(like, int32(-1)), places(like, int32(-1))
    if level >= CHOSEN:
        if job[ARGMAX] != 0:
            top_at = get(top_at, job[ARGMAX] + 4 * at, mask)
        if job[ARGMIN] != 0:
            low_at = get(low_at, job[ARGMIN] + 4 * at, mask)
    g_top, g_low = wanted(like, mask, job[G_MAX], off), wanted(like, mask, job[G_MIN], off)
    width = size(like) if job[KIND] == 0 else 2
    for i in range(m):
        g = a
        if level >= LINEAR:
            ahead(like, scratch, t, i, job[KIND])
            g = slope(level, get(like, read_i64(rows + 8 * i) + column, mask) - mean, a, b, c, e)
        if job[WEIGHT] != 0:
            share = spread(like, scratch + SHARE + size(like) * i)
            g = select(share == zero, zero, g * share)
        if level >= CHOSEN:
            place = places(like, read_i32(scratch + PLACE + 4 * i))
            g = g + select(place == top_at, g_top, zero) + select(place == low_at, g_low, zero)
        give(like, mask, job, read_i64(scratch + TARGET + 8 * i) + t * width, g)


@inline
def write_piece(wide: Any, tail: Any, level: Any, job: Any, scratch: Any, i: Any) -> None:
    """A cell, or one piece of it."""
    cell, part = item(job, i)
    begin, end = span(job, cell)
    start, stop = piece(job, begin, end, part)
    width = job[CHANNELS] // job[HEADS]
    for head in range(job[HEADS]):
        mass = mass_of(wide, job, cell * job[HEADS] + head, end - begin)
        r = start
        while r < stop:
            m = block(wide, job, scratch, cell, begin, r, stop, head)
            t, edge = head * width, (head + 1) * width
            while t + lanes(wide) <= edge:
                differentiate(wide, None, level, job, scratch, cell, t, m, mass)
                t += lanes(wide)
            while t < edge:
                mask = first_lanes(tail, int32(edge - t))
                differentiate(tail, mask, level, job, scratch, cell, t, m, mass)
                t += lanes(tail)
            r += m


@inline
def work(wide: Any, tail: Any, level: Any, job: Any, pointer: Any, scratch: Any) -> None:
    """Takes items until there are none."""
    while True:
        begin = fetch_add(pointer, NEXT, job[GRAIN])
        if begin >= job[ITEMS]:
            break
        for i in range(begin, min(begin + job[GRAIN], job[ITEMS])):
            write_piece(wide, tail, level, job, scratch, i)


def gradients_of_rows(pointer: Any) -> None:
    """The kernel. A level that is a constant makes code for it alone."""
    job = carray(pointer, SIZE)
    wide, tail = WIDE(0), TAIL(0)
    scratch = job[SCRATCH] + fetch_add(pointer, WORKER, 1) * job[SCRATCH_BYTES]
    open_block(wide, scratch)
    if job[LEVEL] == EVEN:
        work(wide, tail, int64(EVEN), job, pointer, scratch)
    elif job[LEVEL] == CHOSEN:
        work(wide, tail, int64(CHOSEN), job, pointer, scratch)
    elif job[LEVEL] == LINEAR:
        work(wide, tail, int64(LINEAR), job, pointer, scratch)
    else:
        work(wide, tail, int64(CUBIC), job, pointer, scratch)
    fence()  # after stores past the cache
