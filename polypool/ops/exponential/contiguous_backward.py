"""Densities and gradients of the members of cells whose numbers follow each other in memory."""

from __future__ import annotations

from typing import Any

from numba import carray, int64

from polypool.ops.cpu.compiler import TAIL, WIDE
from polypool.ops.cpu.gradient import give, target_of
from polypool.ops.cpu.job import GRAIN, ITEMS, KIND, NEXT, SCRATCH, SCRATCH_BYTES, SIZE, WORKER
from polypool.ops.cpu.like import lanes, size, spread
from polypool.ops.cpu.stretch import STRETCH, ask, located, real, widened
from polypool.ops.cpu.vec import fence, fetch_add
from polypool.ops.cpu.vmath import ONE, ZERO
from polypool.ops.cpu.walk import get, inline, item, piece, span
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
from polypool.ops.exponential.terms import channel_of

#: How far ahead memory is asked for, in bytes: some small cells.
AHEAD = 2048


@inline
def known(like: Any, job: Any, field: Any, cell: Any) -> Any:
    """What is kept of a cell, in all lanes; 1 where nothing is kept."""
    return ONE(like) if job[field] == 0 else spread(like, job[field] + cell * size(like))


@inline
def spread_out(
    like: Any,
    level: Any,
    job: Any,
    cell: Any,
    address: Any,
    stored: Any,
    weights: Any,
    target: Any,
    begin: Any,
    end: Any,
    n: Any,
) -> None:
    """Writes what some of the n numbers of a stretch have of their cell.

    Without any weights, not even the address 0, all lanes of all vectors are members.
    """
    k = spread(like, job[EXPONENT] + channel_of(job, cell) * size(like))
    top, one = known(like, job, TOP, cell), known(like, job, SHARE_OF_ONE, cell)
    g, mean = known(like, job, G_OUT, cell), ZERO(k)
    if level == OF_AVERAGE:
        mean = known(like, job, MEAN_EXPONENT, cell)
    a, b = factors(level, one, g, mean, k)
    width = size(like) if job[KIND] == 0 else 2
    for i in range(begin, end, lanes(like)):
        h = ZERO(g)
        if weights is None:
            ask(like, stored + (n + i) * width)
            x = get(like, address + i * size(like), None)
            if level == OF_DENSITY:
                h = get(like, address + job[G_DENSITY] + i * size(like), None)
            give(like, None, job, target + i * width, share_of(level, x, h, ONE(g), top, k, a, b))
        else:
            # Cells may be so short that nothing but this vector is in them: what the next ones need is asked for here.
            ask(like, stored + i * width + AHEAD)
            ask(like, target + i * width + AHEAD)
            _, share = real(like, weights, i, end)
            inside, _ = real(like, int64(0), i, end)
            x = get(like, address + i * size(like), inside)
            if level == OF_DENSITY:
                h = get(like, address + job[G_DENSITY] + i * size(like), inside)
            give(like, inside, job, target + i * width, share_of(level, x, h, share, top, k, a, b))


@inline
def write_stretch(
    wide: Any,
    tail: Any,
    level: Any,
    job: Any,
    cell: Any,
    address: Any,
    stored: Any,
    weights: Any,
    target: Any,
    n: Any,
) -> None:
    """Writes what the numbers of a stretch have of their cell."""
    whole = n // lanes(wide) * lanes(wide) if weights == 0 else int64(0)
    if whole > 0:
        spread_out(wide, level, job, cell, address, stored, None, target, int64(0), whole, n)
    if whole < n:
        spread_out(tail, level, job, cell, address, stored, weights, target, whole, n, n)


@inline
def write_piece(wide: Any, tail: Any, job: Any, scratch: Any, i: Any) -> None:
    """A cell, or one piece of it."""
    level = job[LEVEL]
    cell, part = item(job, i)
    begin, end = span(job, cell)
    start, stop = piece(job, begin, end, part)
    width = size(wide) if job[KIND] == 0 else 2
    while start < stop:
        n = min(stop - start, int64(STRETCH))
        stored, weights = located(wide, job, cell, begin, start)
        target = target_of(job, cell, begin, start, width)
        address = widened(wide, job, scratch, stored, n)
        # Constants make code for each level alone.
        if level == DENSITY:
            write_stretch(wide, tail, int64(DENSITY), job, cell, address, stored, weights, target, n)
        elif level == OF_LOG_MEAN:
            write_stretch(wide, tail, int64(OF_LOG_MEAN), job, cell, address, stored, weights, target, n)
        elif level == OF_AVERAGE:
            write_stretch(wide, tail, int64(OF_AVERAGE), job, cell, address, stored, weights, target, n)
        else:
            write_stretch(wide, tail, int64(OF_DENSITY), job, cell, address, stored, weights, target, n)
        start += n


def shares_of_stretches(pointer: Any) -> None:
    """The kernel."""
    job = carray(pointer, SIZE)
    wide, tail = WIDE(0), TAIL(0)
    scratch = job[SCRATCH] + fetch_add(pointer, WORKER, 1) * job[SCRATCH_BYTES]
    while True:
        begin = fetch_add(pointer, NEXT, job[GRAIN])
        if begin >= job[ITEMS]:
            break
        for i in range(begin, min(begin + job[GRAIN], job[ITEMS])):
            write_piece(wide, tail, job, scratch, i)
    fence()  # after stores past the cache
