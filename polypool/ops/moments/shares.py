"""Gradients of sums, means and variances with respect to the weights of the members.

With `d = x - mean`, summed over the channels of a head: `g_sum x + g_mean d / W + g_m2 (d^2 - m2) / W`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, int32

from polypool.ops.cpu.compiler import TAIL, WIDE
from polypool.ops.cpu.gradient import block
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
    WORKER,
)
from polypool.ops.cpu.like import lanes, read_like, size, write_like
from polypool.ops.cpu.vec import (
    absolute,
    fetch_add,
    first_lanes,
    full,
    read_f64,
    read_i64,
    select,
    sum_lanes,
    write_f64,
)
from polypool.ops.cpu.walk import (
    BLOCK_BYTES,
    SHARE,
    ahead,
    get,
    inline,
    item,
    open_block,
    piece,
    span,
    stage,
)
from polypool.ops.moments.fields import G_M2, G_MEAN, G_SUM, GRAD_WEIGHT, M2, MEAN
from polypool.ops.moments.polynomial import mass_of, wanted


@inline
def add(like: Any, mask: Any, job: Any, scratch: Any, cell: Any, t: Any, m: Any, mass: Any) -> None:
    """Adds what the channels of one vector bring to the weights of a block of m rows."""
    rows, column = stage(like, mask, job, scratch, t, m)
    off = (cell * job[CHANNELS] + t) * size(like)
    part = full(like, 1.0 / mass)
    g_sum, g_m2 = wanted(like, mask, job[G_SUM], off), wanted(like, mask, job[G_M2], off) * part
    mean = wanted(like, mask, job[MEAN], off)
    slope = g_sum + wanted(like, mask, job[G_MEAN], off) * part
    rest = g_sum * mean - g_m2 * wanted(like, mask, job[M2], off)
    zero = full(like, 0.0)
    for i in range(m):
        ahead(like, scratch, t, i, job[KIND])
        x = get(like, read_i64(rows + 8 * i) + column, mask)
        if read_like(like, scratch + SHARE + size(like) * i) == 0:
            # What has weight 0 is not read; its weight has a gradient where it is finite.
            x = select(absolute(x) < full(like, np.inf), x, zero)
        d = x - mean
        brought = rest + d * (slope + d * g_m2)
        if mask is not None:
            brought = select(mask, brought, zero)
        known = scratch + BLOCK_BYTES + 8 * i
        write_f64(known, read_f64(known) + sum_lanes(brought))


@inline
def write_piece(wide: Any, tail: Any, job: Any, scratch: Any, i: Any) -> None:
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
            for row in range(m):
                write_f64(scratch + BLOCK_BYTES + 8 * row, 0.0)
            t, edge = head * width, (head + 1) * width
            while t + lanes(wide) <= edge:
                add(wide, None, job, scratch, cell, t, m, mass)
                t += lanes(wide)
            while t < edge:
                add(tail, first_lanes(tail, int32(edge - t)), job, scratch, cell, t, m, mass)
                t += lanes(tail)
            for row in range(m):
                at = (r + row) * job[HEADS] + head
                write_like(
                    wide, job[GRAD_WEIGHT] + at * size(wide), read_f64(scratch + BLOCK_BYTES + 8 * row)
                )
            r += m


def gradients_of_shares(pointer: Any) -> None:
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
