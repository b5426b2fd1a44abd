"""Gradients of order statistics of cells whose numbers follow each other in memory."""

from __future__ import annotations

from typing import Any

from numba import carray, int32, int64

from polypool.ops.cpu.compiler import WIDE
from polypool.ops.cpu.gradient import give, target_of
from polypool.ops.cpu.job import (
    CELLS,
    CHANNELS,
    GRAD,
    GRAD_CELL,
    GRAIN,
    ITEMS,
    KIND,
    LENGTH,
    NEXT,
    OFFSETS,
    SCRATCH,
    SCRATCH_BYTES,
    SIZE,
    WEIGHT,
    WORKER,
)
from polypool.ops.cpu.like import as_like, doubled, lanes, read_like, size, spread, write_like
from polypool.ops.cpu.stretch import STRETCH, ask, located, real, widened
from polypool.ops.cpu.vec import counting, fence, fetch_add, first_lanes, full, places, read_i32, select
from polypool.ops.cpu.walk import get, inline, item, piece, put, span
from polypool.ops.order.around import AFTER
from polypool.ops.order.fields import (
    G_OUT,
    HIGH_AT,
    HIGH_VALUE,
    LOW_AT,
    LOW_VALUE,
    OUT,
    PARTS,
    SHARE,
    STATISTIC,
    STEP,
    TOP,
)
from polypool.ops.order.lanes import INFINITY, NAN
from polypool.ops.order.share import between, share_of_kept

#: Members of a cell up to which it counts as short.
_SHORT = 512


@inline
def _of_quantile(like: Any, job: Any, part: Any, cell: Any, place: Any) -> Any:
    """Gradients by places: a quantile has those of its two neighbours, the other members none."""
    at = part * job[CELLS] * job[CHANNELS] + cell
    row = part * job[CELLS] + cell // job[CHANNELS] if job[STEP] != 0 else part
    share, g = spread(like, job[SHARE] + row * size(like)), spread(like, job[G_OUT] + at * size(like))
    low_at, high_at = spread(place, job[LOW_AT] + 4 * at), spread(place, job[HIGH_AT] + 4 * at)
    zero = full(like, 0.0)
    low = select(place == low_at, g * (full(like, 1.0) - share), zero)
    return low + select(place == high_at, g * share, zero)


@inline
def _of_kept(like: Any, job: Any, cell: Any, place: Any, x: Any) -> Any:
    """Gradients by values and places: what is kept has its share."""
    zero, last, last_at = full(like, 0.0), INFINITY(like), places(like, int32(AFTER))
    first, first_at = spread(like, job[LOW_VALUE] + cell * size(like)), spread(place, job[LOW_AT] + 4 * cell)
    if job[HIGH_AT] != 0:
        last, last_at = (
            spread(like, job[HIGH_VALUE] + cell * size(like)),
            spread(place, job[HIGH_AT] + 4 * cell),
        )
    order = -place if job[STATISTIC] == TOP else place
    share = full(doubled(like), share_of_kept(job, cell // job[CHANNELS]))
    g = as_like(like, share) * spread(like, job[G_OUT] + cell * size(like))
    return select(between(x, order, first, first_at, last, last_at), g, zero)


@inline
def write_piece(like: Any, job: Any, scratch: Any, i: Any) -> None:
    """A cell, or one piece of it."""
    cell, part = item(job, i)
    begin, end = span(job, cell)
    start, stop = piece(job, begin, end, part)
    quantiles, zero, width = job[PARTS] != 0, full(like, 0.0), size(like) if job[KIND] == 0 else 2
    out = read_like(like, job[OUT] + cell * size(like))
    # A NaN has no order: where there is one it is found again. Otherwise quantiles need no values.
    reads = not quantiles or out != out
    while start < stop:
        n = min(stop - start, int64(STRETCH))
        stored, weights = located(like, job, cell, begin, start)
        address = widened(like, job, scratch, stored, n) if reads else stored
        target = target_of(job, cell, begin, start, width)
        for at in range(0, n, lanes(like)):
            mask, _ = real(like, weights, at, n)
            place = counting(like) + places(like, int32(start - begin + at))
            x, g = zero, zero
            if reads:
                ask(like, stored + (n + at) * width)
                x = get(like, address + at * size(like), mask)
            if quantiles:
                for k in range(job[PARTS]):
                    g = g + _of_quantile(like, job, k, cell, place)
            else:
                g = _of_kept(like, job, cell, place, x)
            g = select(mask, select(x == x, g, NAN(x)), zero)
            if at + lanes(like) <= n:
                give(like, None, job, target + at * width, g)
            else:
                give(like, first_lanes(like, int32(n - at)), job, target + at * width, g)
        start += n


@inline
def is_short(like: Any, job: Any) -> Any:
    """Whether cells are so short that one by one they cost more than their memory, and follow each other in it."""
    row = job[LENGTH] * size(like)
    alone = job[OFFSETS] == 0 and job[WEIGHT] == 0 and job[CELLS] == 1 and job[KIND] == 0
    return alone and job[PARTS] != 0 and job[LENGTH] <= _SHORT and job[GRAD_CELL] == row


@inline
def write_short(like: Any, job: Any, scratch: Any, begin: Any, end: Any) -> None:
    """The gradients of quantiles of many short cells: nothing but for a few members."""
    width, zero = size(like), full(like, 0.0)
    start, n = job[GRAD] + begin * job[LENGTH] * width, (end - begin) * job[LENGTH]
    for at in range(0, n - lanes(like) + 1, lanes(like)):
        put(start + at * width, zero, None)
    rest = n - n % lanes(like)
    put(start + rest * width, zero, first_lanes(like, int32(n - rest)))
    for cell in range(begin, end):
        out = read_like(like, job[OUT] + cell * width)
        if out != out:
            write_piece(like, job, scratch, cell)
            continue
        for part in range(job[PARTS]):
            at = part * job[CHANNELS] + cell
            g = read_like(like, job[G_OUT] + at * width)
            share = read_like(like, job[SHARE] + part * width)
            first = start + (cell - begin) * job[LENGTH] * width
            _add(like, first, read_i32(job[LOW_AT] + 4 * at), g * (1.0 - share))
            _add(like, first, read_i32(job[HIGH_AT] + 4 * at), g * share)


@inline
def _add(like: Any, first: Any, place: Any, g: Any) -> None:
    if place >= 0:
        address = first + place * size(like)
        write_like(like, address, read_like(like, address) + g)


def gradients_of_order_in_stretches(pointer: Any) -> None:
    """The kernel."""
    job = carray(pointer, SIZE)
    wide = WIDE(0)
    scratch = job[SCRATCH] + fetch_add(pointer, WORKER, 1) * job[SCRATCH_BYTES]
    while True:
        begin = fetch_add(pointer, NEXT, job[GRAIN])
        if begin >= job[ITEMS]:
            break
        end = min(begin + job[GRAIN], job[ITEMS])
        if is_short(wide, job):
            write_short(wide, job, scratch, begin, end)
        else:
            for i in range(begin, end):
                write_piece(wide, job, scratch, i)
    fence()  # after stores past the cache
