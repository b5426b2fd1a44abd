"""Gradients of power means of cells whose rows lie side by side in memory."""

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
    MASS,
    NEXT,
    SCRATCH,
    SCRATCH_BYTES,
    SIZE,
    WEIGHT,
    WORKER,
)
from polypool.ops.cpu.like import as_double, as_like, doubled, lanes, read_like, size, spread
from polypool.ops.cpu.vec import bits, fence, fetch_add, first_lanes, full, read_i64
from polypool.ops.cpu.walk import (
    BLOCK_BYTES,
    SHARE,
    TARGET,
    ahead,
    get,
    inline,
    item,
    open_block,
    piece,
    put,
    span,
    stage,
)
from polypool.ops.power.fields import G_OUT, G_POWER, OUT, PRODUCTS
from polypool.ops.power.products import factors
from polypool.ops.power.slopes import (
    BASES,
    HIGHS,
    LOWS,
    OF_POWER,
    PARTS,
    PREPARED,
    RESTS,
    SLOPES,
    STEEPS,
    UPS,
    by_products,
    by_ratios,
    flip,
    prepare,
)
from polypool.ops.power.terms import least, power

#: Behind what a block keeps: what is prepared for gradients; then what is known of the gradients of p.
READY = BLOCK_BYTES
KNOWN = READY + PREPARED


@inline
def differentiate(like: Any, mask: Any, job: Any, scratch: Any, t: Any, m: Any) -> None:
    """The gradients of a block of m rows, for the channels of one vector from t on."""
    rows, off = stage(like, mask, job, scratch, t, m)
    ready, known = scratch + READY, scratch + KNOWN + 8 * t
    width = size(like) if job[KIND] == 0 else 2
    share, floor, flipped = full(like, 1.0), least(like, job), flip(job, like)
    up, slope = get(like, ready + UPS, mask), get(like, ready + SLOPES, mask)
    if job[PRODUCTS] != 0:
        parts, part = factors(job, like), get(like, ready + PARTS, mask)
        for i in range(m):
            ahead(like, scratch, t, i, job[KIND])
            target = read_i64(scratch + TARGET + 8 * i) + t * width
            if job[WEIGHT] != 0:
                share = spread(like, scratch + SHARE + size(like) * i)
                if read_like(like, scratch + SHARE + size(like) * i) == 0:
                    give(like, mask, job, target, share)
                    continue
            x = get(like, read_i64(rows + 8 * i) + off, mask)
            give(like, mask, job, target, by_products(x, share, floor, parts, up, part, slope, flipped))
        return
    base, rest = get(bits(like), ready + BASES, mask), get(like, ready + RESTS, mask)
    steep = get(like, ready + STEEPS, mask)
    low, high = get(like, ready + LOWS, mask), get(like, ready + HIGHS, mask)
    total = full(like, 0.0)
    for i in range(m):
        ahead(like, scratch, t, i, job[KIND])
        target = read_i64(scratch + TARGET + 8 * i) + t * width
        if job[WEIGHT] != 0:
            share = spread(like, scratch + SHARE + size(like) * i)
            if read_like(like, scratch + SHARE + size(like) * i) == 0:
                give(like, mask, job, target, share)
                continue
        x = get(like, read_i64(rows + 8 * i) + off, mask)
        g, of_power = by_ratios(x, share, floor, up, base, rest, steep, low, high, slope, flipped)
        total = total + of_power
        give(like, mask, job, target, g)
    put(known, get(doubled(like), known, mask) + as_double(total), mask)


@inline
def ready_for(like: Any, mask: Any, job: Any, scratch: Any, cell: Any, t: Any, part: Any) -> None:
    """Prepares the gradients of a cell, for the channels of one short vector from t on."""
    off = (cell * job[CHANNELS] + t) * size(like)
    out, g = get(like, job[OUT] + off, mask), get(like, job[G_OUT] + off, mask)
    prepare(like, mask, scratch, out, g, power(like, mask, job, t), full(like, part))


@inline
def write_piece(wide: Any, tail: Any, job: Any, scratch: Any, i: Any) -> None:
    """A cell, or one piece of it."""
    cell, part_of = item(job, i)
    begin, end = span(job, cell)
    r, stop = piece(job, begin, end, part_of)
    edge = job[CHANNELS]
    mass = float(end - begin)
    if job[WEIGHT] != 0:
        mass = float(read_like(wide, job[MASS] + cell * size(wide)))
    part = 1.0 / mass if mass != 0.0 else 0.0
    for t in range(0, edge, lanes(tail)):
        put(scratch + KNOWN + 8 * t, doubled(tail), first_lanes(tail, int32(edge - t)))
    while r < stop:
        m = block(wide, job, scratch, cell, begin, r, stop, int64(0))
        t = int64(0)
        while t < edge:
            width = lanes(wide) if t + lanes(wide) <= edge else lanes(tail)
            for at in range(0, width, lanes(tail)):
                mask = first_lanes(tail, int32(edge - t - at))
                ready_for(tail, mask, job, scratch + READY + at * size(tail), cell, t + at, part)
            if width == lanes(wide):
                differentiate(wide, None, job, scratch, t, m)
            else:
                differentiate(tail, first_lanes(tail, int32(edge - t)), job, scratch, t, m)
            t += width
        r += m
    if job[G_POWER] != 0:
        for t in range(0, edge, lanes(tail)):
            mask = first_lanes(tail, int32(edge - t))
            ready_for(tail, mask, job, scratch + READY, cell, t, part)
            total = get(doubled(tail), scratch + KNOWN + 8 * t, mask)
            total = total * as_double(get(tail, scratch + READY + OF_POWER, mask))
            put(job[G_POWER] + (i * edge + t) * size(tail), as_like(tail, total), mask)


def gradients_of_rows(pointer: Any) -> None:
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
    fence()
