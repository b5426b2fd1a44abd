"""Gradients of moments and extremes of cells whose numbers follow each other in memory."""

from __future__ import annotations

from typing import Any

from numba import carray, int32, int64

from polypool.ops.cpu.compiler import WIDE
from polypool.ops.cpu.gradient import give, target_of
from polypool.ops.cpu.job import (
    CELLS,
    CHANNELS,
    GRAIN,
    HEADS,
    ITEMS,
    KIND,
    NEXT,
    SCRATCH,
    SCRATCH_BYTES,
    SIZE,
    WORKER,
)
from polypool.ops.cpu.like import lanes, size, spread
from polypool.ops.cpu.stretch import STRETCH, ask, located, real, widened
from polypool.ops.cpu.vec import fence, fetch_add, first_lanes, full, read_i32, select
from polypool.ops.cpu.walk import get, inline, item, piece, span
from polypool.ops.moments.fields import (
    ARGMAX,
    ARGMIN,
    CUBIC,
    EVEN,
    G_M2,
    G_M3,
    G_M4,
    G_MAX,
    G_MEAN,
    G_MIN,
    G_SUM,
    LEVEL,
    LINEAR,
    M2,
    M3,
    MEAN,
)
from polypool.ops.moments.polynomial import mass_of, slope


@inline
def number(like: Any, address: Any, cell: Any) -> Any:
    """A result of a cell, or its gradient, in all lanes; 0 where there is none."""
    return full(like, 0.0) if address == 0 else spread(like, address + cell * size(like))


@inline
def coefficients(like: Any, level: Any, job: Any, cell: Any, mass: Any) -> Any:
    """The polynomial of a cell."""
    part = full(like, 1.0 / mass)
    a = number(like, job[G_SUM], cell) + number(like, job[G_MEAN], cell) * part
    b, c, e = full(like, 0.0), full(like, 0.0), full(like, 0.0)
    if level >= LINEAR:
        b = number(like, job[G_M2], cell) * part * full(like, 2.0)
    if level >= CUBIC:
        g3, g4 = number(like, job[G_M3], cell) * part, number(like, job[G_M4], cell) * part
        a = a - g3 * number(like, job[M2], cell) * full(like, 3.0)
        a = a - g4 * number(like, job[M3], cell) * full(like, 4.0)
        c, e = g3 * full(like, 3.0), g4 * full(like, 4.0)
    return a, b, c, e


@inline
def slopes(like: Any, mask: Any, level: Any, address: Any, mean: Any, a: Any, b: Any, c: Any, e: Any) -> Any:
    """The polynomial at a vector of numbers."""
    if level >= LINEAR:
        return slope(level, get(like, address, mask) - mean, a, b, c, e)
    return a


@inline
def write_piece(like: Any, level: Any, job: Any, scratch: Any, i: Any) -> None:
    """A cell, or one piece of it."""
    cell, part = item(job, i)
    begin, end = span(job, cell)
    start, stop = piece(job, begin, end, part)
    batch = cell // job[CHANNELS] if job[CELLS] > 1 else int64(0)
    head = (cell - batch * job[CHANNELS]) * job[HEADS] // job[CHANNELS]
    mass = mass_of(like, job, batch * job[HEADS] + head, end - begin)
    a, b, c, e = coefficients(like, level, job, cell, mass)
    mean = number(like, job[MEAN], cell)
    width = size(like) if job[KIND] == 0 else 2
    top_at = int64(-1) if job[G_MAX] == 0 else int64(read_i32(job[ARGMAX] + 4 * cell))
    low_at = int64(-1) if job[G_MIN] == 0 else int64(read_i32(job[ARGMIN] + 4 * cell))
    while start < stop:
        n = min(stop - start, int64(STRETCH))
        stored, weights = located(like, job, cell, begin, start)
        address = stored
        if level >= LINEAR:
            address = widened(like, job, scratch, stored, n)
        target = target_of(job, cell, begin, start, width)
        whole = n - n % lanes(like) if weights == 0 else int64(0)
        for at in range(0, whole, lanes(like)):
            if level >= LINEAR:
                ask(like, stored + (n + at) * width)
            g = slopes(like, None, level, address + at * size(like), mean, a, b, c, e)
            give(like, None, job, target + at * width, g)
        for at in range(whole, n, lanes(like)):
            mask, share = real(like, weights, at, n)
            inside, _ = real(like, int64(0), at, n)
            g = slopes(like, mask, level, address + at * size(like), mean, a, b, c, e)
            give(like, inside, job, target + at * width, select(mask, g * share, full(like, 0.0)))
        # What was largest or smallest has a gradient more.
        one = first_lanes(like, int32(1))
        for chosen in range(2):
            at = top_at if chosen == 0 else low_at
            at -= start - begin
            if at >= 0 and at < n:
                g = slopes(like, one, level, address + at * size(like), mean, a, b, c, e)
                if weights != 0:
                    g = g * spread(like, weights + at * size(like))
                if top_at - (start - begin) == at:
                    g = g + number(like, job[G_MAX], cell)
                if low_at - (start - begin) == at:
                    g = g + number(like, job[G_MIN], cell)
                give(like, one, job, target + at * width, g)
        start += n


def gradients_of_stretches(pointer: Any) -> None:
    """The kernel. A level that is a constant makes code for it alone."""
    job = carray(pointer, SIZE)
    wide = WIDE(0)
    scratch = job[SCRATCH] + fetch_add(pointer, WORKER, 1) * job[SCRATCH_BYTES]
    if job[LEVEL] < LINEAR:
        work(wide, int64(EVEN), job, pointer, scratch)
    elif job[LEVEL] == LINEAR:
        work(wide, int64(LINEAR), job, pointer, scratch)
    else:
        work(wide, int64(CUBIC), job, pointer, scratch)
    fence()  # after stores past the cache


@inline
def work(like: Any, level: Any, job: Any, pointer: Any, scratch: Any) -> None:
    """Takes items until there are none."""
    while True:
        begin = fetch_add(pointer, NEXT, job[GRAIN])
        if begin >= job[ITEMS]:
            break
        for i in range(begin, min(begin + job[GRAIN], job[ITEMS])):
            write_piece(like, level, job, scratch, i)
