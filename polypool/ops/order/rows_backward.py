"""Gradients of order statistics of cells whose rows lie side by side in memory."""

from __future__ import annotations

from typing import Any

from numba import carray, int32, int64

from polypool.ops.cpu.compiler import TAIL, WIDE
from polypool.ops.cpu.gradient import block, give
from polypool.ops.cpu.job import (
    CELLS,
    CHANNELS,
    GRAIN,
    ITEMS,
    KIND,
    NEXT,
    SCRATCH,
    SCRATCH_BYTES,
    SIZE,
    WEIGHT,
    WORKER,
)
from polypool.ops.cpu.like import as_like, doubled, lanes, size, spread
from polypool.ops.cpu.vec import (
    any_lane,
    fence,
    fetch_add,
    first_lanes,
    full,
    places,
    read_i32,
    read_i64,
    select,
)
from polypool.ops.cpu.walk import (
    PLACE,
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
from polypool.ops.cpu.walk import SHARE as SHARE_OF_ROW
from polypool.ops.order.fields import G_OUT, HIGH_AT, LOW_AT, OUT, PARTS, SHARE, STATISTIC, STEP, TOP
from polypool.ops.order.lanes import NAN
from polypool.ops.order.share import between, ends_of, share_of_kept


@inline
def chosen(like: Any, mask: Any, job: Any, part: Any, cell: Any, at: Any) -> Any:
    """The places of both neighbours of a quantile, and their gradients, for the channels of one vector."""
    low_at = get(places(like, int32(0)), job[LOW_AT] + 4 * at, mask)
    high_at = get(low_at, job[HIGH_AT] + 4 * at, mask)
    entry = part * job[CELLS] + cell if job[STEP] != 0 else part
    share = spread(like, job[SHARE] + entry * size(like))
    g = get(like, job[G_OUT] + at * size(like), mask)
    return low_at, high_at, g * (full(like, 1.0) - share), g * share


@inline
def real(like: Any, job: Any, scratch: Any, i: Any, g: Any) -> Any:
    """The gradient of row i of a block, 0 where it is padding."""
    if job[WEIGHT] == 0:
        return g
    zero = full(like, 0.0)
    return select(spread(like, scratch + SHARE_OF_ROW + size(like) * i) == zero, zero, g)


@inline
def of_quantiles(like: Any, mask: Any, job: Any, scratch: Any, cell: Any, t: Any, m: Any) -> None:
    """The gradients of a block of m rows, for the channels of one vector from t on: those of chosen places."""
    at, width = cell * job[CHANNELS] + t, size(like) if job[KIND] == 0 else 2
    low_at, high_at, g_low, g_high = chosen(like, mask, job, int64(0), cell, at)
    zero, out = full(like, 0.0), get(like, job[OUT] + at * size(like), mask)
    # A NaN has no order: where there is one it is found again. Otherwise the values are not read.
    lost = any_lane(out != out)
    rows, column = scratch, int64(0)
    if lost:
        rows, column = stage(like, mask, job, scratch, t, m)
    for i in range(m):
        place = places(like, read_i32(scratch + PLACE + 4 * i))
        g = select(place == low_at, g_low, zero) + select(place == high_at, g_high, zero)
        for part in range(1, job[PARTS]):
            a, b, g_a, g_b = chosen(like, mask, job, part, cell, at + part * job[CELLS] * job[CHANNELS])
            g = g + select(place == a, g_a, zero) + select(place == b, g_b, zero)
        if lost:
            x = get(like, read_i64(rows + 8 * i) + column, mask)
            g = select(x == x, g, NAN(g))
        g = real(like, job, scratch, i, g)
        give(like, mask, job, read_i64(scratch + TARGET + 8 * i) + t * width, g)


@inline
def of_kept(like: Any, mask: Any, job: Any, scratch: Any, cell: Any, t: Any, m: Any) -> None:
    """The same for what is kept."""
    at, width = cell * job[CHANNELS] + t, size(like) if job[KIND] == 0 else 2
    first, first_at, last, last_at = ends_of(like, mask, job, at)
    share = as_like(like, full(doubled(like), share_of_kept(job, cell))) * get(
        like, job[G_OUT] + at * size(like), mask
    )
    step = int64(-1) if job[STATISTIC] == TOP else int64(1)
    rows, column = stage(like, mask, job, scratch, t, m)
    zero = full(like, 0.0)
    for i in range(m):
        ahead(like, scratch, t, i, job[KIND])
        x = get(like, read_i64(rows + 8 * i) + column, mask)
        order = places(like, int32(step * int64(read_i32(scratch + PLACE + 4 * i))))
        g = select(between(x, order, first, first_at, last, last_at), share, zero)
        g = real(like, job, scratch, i, select(x == x, g, NAN(g)))
        give(like, mask, job, read_i64(scratch + TARGET + 8 * i) + t * width, g)


@inline
def of_block(like: Any, mask: Any, job: Any, quantiles: Any, scratch: Any, cell: Any, t: Any, m: Any) -> None:
    """Either of them."""
    if quantiles:
        of_quantiles(like, mask, job, scratch, cell, t, m)
    else:
        of_kept(like, mask, job, scratch, cell, t, m)


@inline
def write_piece(wide: Any, tail: Any, quantiles: Any, job: Any, scratch: Any, i: Any) -> None:
    """A cell, or one piece of it."""
    cell, part = item(job, i)
    begin, end = span(job, cell)
    r, stop = piece(job, begin, end, part)
    while r < stop:
        m = block(wide, job, scratch, cell, begin, r, stop, int64(0))
        t, edge = int64(0), job[CHANNELS]
        while t + lanes(wide) <= edge:
            of_block(wide, None, job, quantiles, scratch, cell, t, m)
            t += lanes(wide)
        while t < edge:
            mask = first_lanes(tail, int32(edge - t))
            of_block(tail, mask, job, quantiles, scratch, cell, t, m)
            t += lanes(tail)
        r += m


def gradients_of_order_in_rows(pointer: Any) -> None:
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
            write_piece(wide, tail, job[PARTS] != 0, job, scratch, i)
    fence()  # after stores past the cache
