"""Densities and gradients of the members of cells whose rows lie side by side in memory."""

from __future__ import annotations

from typing import Any

from numba import carray, int32, int64

from polypool.ops.cpu.compiler import TAIL, WIDE
from polypool.ops.cpu.gradient import block, give
from polypool.ops.cpu.job import (
    CHANNELS,
    GRAIN,
    ITEMS,
    KIND,
    NEXT,
    SCRATCH,
    SCRATCH_BYTES,
    SIZE,
    WORKER,
)
from polypool.ops.cpu.like import lanes, size, spread
from polypool.ops.cpu.vec import fence, fetch_add, first_lanes, read_i64
from polypool.ops.cpu.vmath import ONE, ZERO
from polypool.ops.cpu.walk import SHARE, TARGET, ahead, get, inline, item, open_block, piece, span, stage
from polypool.ops.exponential.fields import (
    DENSITY,
    EXPONENT,
    G_DENSITY,
    G_OUT,
    LEVEL,
    MEAN_EXPONENT,
    OF_AVERAGE,
    OF_DENSITY,
    OF_LOG_MEAN,
    SHARE_OF_ONE,
    TOP,
)
from polypool.ops.exponential.shares import factors, share_of


@inline
def known(like: Any, mask: Any, job: Any, field: Any, at: Any) -> Any:
    """One vector of what is kept of a cell, from number `at` on; 1 where nothing is kept."""
    return ONE(like) if job[field] == 0 else get(like, job[field] + at * size(like), mask)


@inline
def spread_out(like: Any, mask: Any, level: Any, job: Any, scratch: Any, cell: Any, t: Any, m: Any) -> None:
    """Writes what a block of m rows has of its cell, for the channels of one vector from t on."""
    rows, off = stage(like, mask, job, scratch, t, m)
    at = cell * job[CHANNELS] + t
    k, top = get(like, job[EXPONENT] + t * size(like), mask), known(like, mask, job, TOP, at)
    one, g = known(like, mask, job, SHARE_OF_ONE, at), known(like, mask, job, G_OUT, at)
    mean = ZERO(g)
    if level == OF_AVERAGE:
        mean = known(like, mask, job, MEAN_EXPONENT, at)
    a, b = factors(level, one, g, mean, k)
    width = size(like) if job[KIND] == 0 else 2
    for i in range(m):
        ahead(like, scratch, t, i, job[KIND])
        address = read_i64(rows + 8 * i) + off
        x, h = get(like, address, mask), ZERO(g)
        if level == OF_DENSITY:
            h = get(like, address + job[G_DENSITY], mask)
        share = spread(like, scratch + SHARE + size(like) * i)
        v = share_of(level, x, h, share, top, k, a, b)
        give(like, mask, job, read_i64(scratch + TARGET + 8 * i) + t * width, v)


@inline
def write_block(like: Any, mask: Any, job: Any, scratch: Any, cell: Any, t: Any, m: Any) -> None:
    """Constants make code for each level alone."""
    level = job[LEVEL]
    if level == DENSITY:
        spread_out(like, mask, int64(DENSITY), job, scratch, cell, t, m)
    elif level == OF_LOG_MEAN:
        spread_out(like, mask, int64(OF_LOG_MEAN), job, scratch, cell, t, m)
    elif level == OF_AVERAGE:
        spread_out(like, mask, int64(OF_AVERAGE), job, scratch, cell, t, m)
    else:
        spread_out(like, mask, int64(OF_DENSITY), job, scratch, cell, t, m)


@inline
def write_piece(wide: Any, tail: Any, job: Any, scratch: Any, i: Any) -> None:
    """A cell, or one piece of it."""
    cell, part = item(job, i)
    begin, end = span(job, cell)
    r, stop = piece(job, begin, end, part)
    while r < stop:
        m = block(wide, job, scratch, cell, begin, r, stop, int64(0))
        t, edge = int64(0), job[CHANNELS]
        while t + lanes(wide) <= edge:
            write_block(wide, None, job, scratch, cell, t, m)
            t += lanes(wide)
        while t < edge:
            write_block(tail, first_lanes(tail, int32(edge - t)), job, scratch, cell, t, m)
            t += lanes(tail)
        r += m


def shares_of_rows(pointer: Any) -> None:
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
            write_piece(wide, tail, job, scratch, i)
    fence()  # after stores past the cache
