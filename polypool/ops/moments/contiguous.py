"""Moments and extremes of cells whose numbers follow each other in memory: one channel of one image.

As for rows: a first pass over a stretch of numbers, a second one over what is then in the cache, stretches joined in
float64. Lanes are parts of one cell here and are added up at the end of a stretch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, float64, int32, int64

from polypool.ops.cpu.compiler import WIDE
from polypool.ops.cpu.job import (
    GRAIN,
    ITEMS,
    NEXT,
    SCRATCH,
    SCRATCH_BYTES,
    SIZE,
    STATES,
    WORKER,
)
from polypool.ops.cpu.like import lanes, size, write_like
from polypool.ops.cpu.stretch import STRETCH, ask, located, real, widened
from polypool.ops.cpu.vec import (
    any_lane,
    fetch_add,
    first_lane,
    full,
    max_lanes,
    min_lanes,
    select,
    sum_lanes,
    write_f64,
    write_i32,
)
from polypool.ops.cpu.walk import get, inline, item, piece, pieces_of, span
from polypool.ops.moments.fields import (
    ARGMAX,
    ARGMIN,
    EXTREMES,
    LEVEL,
    M2,
    M3,
    M4,
    MAX,
    MEAN,
    MIN,
    SHAPE,
    SPREAD,
    STATE,
    SUM,
    SUMS,
)
from polypool.ops.moments.fold import join_m2, join_m3, join_m4


@inline
def sums(like: Any, level: Any, address: Any, weights: Any, n: Any) -> Any:
    """First pass: the total, the mass, the largest and the smallest of n numbers."""
    total, mass = full(like, 0.0), full(like, 0.0)
    top, low = full(like, -np.inf), full(like, np.inf)
    whole = n - n % lanes(like) if weights == 0 else int64(0)
    for i in range(0, whole, lanes(like)):
        x = get(like, address + i * size(like), None)
        total = total + x
        if level >= EXTREMES:
            top, low = select(x > top, x, top), select(x < low, x, low)
    for i in range(whole, n, lanes(like)):
        mask, share = real(like, weights, i, n)
        x = get(like, address + i * size(like), mask)
        total = total + x * share
        mass = mass + share
        if level >= EXTREMES:
            top, low = select(mask & (x > top), x, top), select(mask & (x < low), x, low)
    all_mass = float64(n) if weights == 0 else sum_lanes(mass)
    return sum_lanes(total), all_mass, top, low


@inline
def deviations(
    like: Any, level: Any, address: Any, weights: Any, n: Any, mean: Any, mass: Any, next_one: Any
) -> Any:
    """Second pass: summed powers of deviations from the mean, in float64."""
    centre = full(like, mean)
    m2, m3, m4, left = full(like, 0.0), full(like, 0.0), full(like, 0.0), full(like, 0.0)
    whole = n - n % lanes(like) if weights == 0 else int64(0)
    for i in range(0, whole, lanes(like)):
        ask(like, next_one + i * size(like))
        d = get(like, address + i * size(like), None) - centre
        square = d * d
        m2 = m2 + square
        if level >= SHAPE:
            left, m3, m4 = left + d, m3 + square * d, m4 + square * square
    for i in range(whole, n, lanes(like)):
        ask(like, next_one + i * size(like))
        mask, share = real(like, weights, i, n)
        d = select(mask, get(like, address + i * size(like), mask) - centre, full(like, 0.0))
        square = d * d * share
        m2 = m2 + square
        if level >= SHAPE:
            left, m3, m4 = left + d * share, m3 + square * d, m4 + square * (d * d)
    a2 = sum_lanes(m2)
    a3, a4 = 0.0, 0.0
    if level >= SHAPE:
        # The mean was rounded: moments about it become moments about the exact one.
        shift = sum_lanes(left) / mass
        a3, a4 = sum_lanes(m3), sum_lanes(m4)
        a4 += shift * (-4.0 * a3 + shift * (6.0 * a2 - 3.0 * mass * shift * shift))
        a3 += shift * (-3.0 * a2 + 2.0 * mass * shift * shift)
        a2 = max(a2 - mass * shift * shift, 0.0)
    return a2, a3, a4


@inline
def where(like: Any, address: Any, weights: Any, n: Any, value: Any) -> Any:
    """The place of the first of n numbers that equals a value (of the first NaN where the value is one); n if none."""
    sought = full(like, value)
    for i in range(0, n, lanes(like)):
        mask, _ = real(like, weights, i, n)
        x = get(like, address + i * size(like), mask)
        found = mask & ((x == sought) | ((x != x) & (sought != sought)))
        if any_lane(found):
            return i + int64(first_lane(found))
    return n


@inline
def read_piece(like: Any, level: Any, job: Any, scratch: Any, i: Any) -> None:
    """A cell, or one piece of it."""
    cell, part = item(job, i)
    begin, end = span(job, cell)
    _, pieces = pieces_of(job, cell)
    start, stop = piece(job, begin, end, part)
    total, mass, m2, m3, m4 = 0.0, 0.0, 0.0, 0.0, 0.0
    top, low, top_at, low_at = 0.0, 0.0, int64(-1), int64(-1)
    while start < stop:
        n = min(stop - start, int64(STRETCH))
        stored, weights = located(like, job, cell, begin, start)
        address = widened(like, job, scratch, stored, n)
        b, own, tops, lows = sums(like, level, address, weights, n)
        if own != 0.0:
            b2, b3, b4 = 0.0, 0.0, 0.0
            if level >= SPREAD:
                b2, b3, b4 = deviations(
                    like, level, address, weights, n, b / own, own, stored + n * size(like)
                )
            if level >= EXTREMES:
                x, y = float64(max_lanes(tops)), float64(min_lanes(lows))
                if b != b and where(like, address, weights, n, np.nan) < n:
                    x, y = np.nan, np.nan
                if mass == 0.0 or x > top or (x != x and top == top):
                    top, top_at = x, start - begin + where(like, address, weights, n, x)
                if mass == 0.0 or y < low or (y != y and low == low):
                    low, low_at = y, start - begin + where(like, address, weights, n, y)
            if mass != 0.0:
                if level >= SHAPE:
                    b4 = join_m4(m4, b4, m2, b2, m3, b3, total, b, mass, own)
                    b3 = join_m3(m3, b3, m2, b2, total, b, mass, own)
                if level >= SPREAD:
                    b2 = join_m2(m2, b2, total, b, mass, own)
            total, mass, m2, m3, m4 = total + b, mass + own, b2, b3, b4
        start += n
    if pieces > 1:
        state = job[STATES] + i * STATE * 8
        for at, number in enumerate((total, m2, m3, m4, top, low, float64(top_at), float64(low_at), mass)):
            write_f64(state + 8 * at, number)
        return
    part_of = 0.0 if mass == 0.0 else 1.0 / mass
    give(like, job[SUM], cell, total)
    give(like, job[MEAN], cell, total * part_of)
    if level >= SPREAD:
        give(like, job[M2], cell, m2 * part_of)
    if level >= SHAPE:
        give(like, job[M3], cell, m3 * part_of)
        give(like, job[M4], cell, m4 * part_of)
    if level >= EXTREMES:
        give(like, job[MAX], cell, top)
        give(like, job[MIN], cell, low)
        if job[ARGMAX] != 0:
            write_i32(job[ARGMAX] + 4 * cell, int32(top_at))
        if job[ARGMIN] != 0:
            write_i32(job[ARGMIN] + 4 * cell, int32(low_at))


@inline
def give(like: Any, result: Any, cell: Any, number: Any) -> None:
    """Writes one result that is wanted."""
    if result != 0:
        write_like(like, result + cell * size(like), number)


@inline
def work(like: Any, level: Any, job: Any, pointer: Any, scratch: Any) -> None:
    """Takes items until there are none."""
    while True:
        begin = fetch_add(pointer, NEXT, job[GRAIN])
        if begin >= job[ITEMS]:
            break
        for i in range(begin, min(begin + job[GRAIN], job[ITEMS])):
            read_piece(like, level, job, scratch, i)


def moments_of_stretches(pointer: Any) -> None:
    """The kernel. A level that is a constant makes code for it alone."""
    job = carray(pointer, SIZE)
    wide = WIDE(0)
    scratch = job[SCRATCH] + fetch_add(pointer, WORKER, 1) * job[SCRATCH_BYTES]
    if job[LEVEL] == SUMS:
        work(wide, int64(SUMS), job, pointer, scratch)
    elif job[LEVEL] == EXTREMES:
        work(wide, int64(EXTREMES), job, pointer, scratch)
    elif job[LEVEL] == SPREAD:
        work(wide, int64(SPREAD), job, pointer, scratch)
    else:
        work(wide, int64(SHAPE), job, pointer, scratch)
