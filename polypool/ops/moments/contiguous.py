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
    CELL,
    CHANNELS,
    GRAIN,
    HEADS,
    ITEMS,
    LENGTH,
    NEXT,
    SCRATCH,
    SCRATCH_BYTES,
    SHORT,
    SIZE,
    STATES,
    VALUES,
    WEIGHT,
    WORKER,
)
from polypool.ops.cpu.like import lanes, read_like, size, write_like
from polypool.ops.cpu.stretch import STRETCH, ask, located, real, widened
from polypool.ops.cpu.vec import (
    add_lanes,
    any_lane,
    count_lanes,
    fetch_add,
    first_lane,
    first_lanes,
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
def sums(like: Any, extremes: Any, address: Any, weights: Any, n: Any, next_one: Any) -> Any:
    """First pass: the total, the mass, the real ones, the largest and the smallest of n numbers.

    Asks for the memory at `next_one` ahead of time unless that is None.
    """
    total, mass = full(like, 0.0), full(like, 0.0)
    top, low = full(like, -np.inf), full(like, np.inf)
    whole = n // lanes(like) * lanes(like) if weights == 0 else int64(0)
    for i in range(0, whole, lanes(like)):
        if next_one is not None:
            ask(like, next_one + i * size(like))
        x = get(like, address + i * size(like), None)
        total = total + x
        if extremes:
            top, low = select(x > top, x, top), select(x < low, x, low)
    if weights == 0:
        if whole < n:
            mask = first_lanes(like, int32(n - whole))
            x = get(like, address + whole * size(like), mask)
            total = total + x
            if extremes:
                top, low = select(mask & (x > top), x, top), select(mask & (x < low), x, low)
        return float64(add_lanes(total)), float64(n), n, top, low
    count = int64(0)
    for i in range(0, n, lanes(like)):
        mask, share = real(like, weights, i, n)
        x = get(like, address + i * size(like), mask)
        total = total + x * share
        mass = mass + select(mask, share, full(like, 0.0))
        count += int64(count_lanes(mask))
        if extremes:
            top, low = select(mask & (x > top), x, top), select(mask & (x < low), x, low)
    return float64(add_lanes(total)), sum_lanes(mass), count, top, low


@inline
def weigh(like: Any, weights: Any, n: Any) -> Any:
    """The sum of n weights."""
    mass = full(like, 0.0)
    for i in range(0, n, lanes(like)):
        mask, share = real(like, weights, i, n)
        mass = mass + select(mask, share, full(like, 0.0))
    return sum_lanes(mass)


@inline
def weighted(like: Any, address: Any, weights: Any, n: Any, next_one: Any) -> Any:
    """The sum of n numbers times their weights; asks for the memory at `next_one` ahead of time."""
    total, nothing = full(like, 0.0), full(like, 0.0)
    whole = n - n % lanes(like)
    for i in range(0, whole, lanes(like)):
        ask(like, next_one + i * size(like))
        share = get(like, weights + i * size(like), None)
        total = total + get(like, address + i * size(like), share != nothing) * share
    if whole < n:
        mask, share = real(like, weights, whole, n)
        total = total + get(like, address + whole * size(like), mask) * share
    return float64(add_lanes(total))


@inline
def deviations(
    like: Any, level: Any, address: Any, weights: Any, n: Any, mean: Any, mass: Any, next_one: Any
) -> Any:
    """Second pass: summed powers of deviations from the mean, in float64."""
    centre = full(like, mean)
    m2, m3, m4, left = full(like, 0.0), full(like, 0.0), full(like, 0.0), full(like, 0.0)
    whole = n // lanes(like) * lanes(like) if weights == 0 else int64(0)
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
    a2 = float64(add_lanes(m2))
    a3, a4 = 0.0, 0.0
    if level >= SHAPE:
        # The mean was rounded: moments about it become moments about the exact one.
        shift = float64(add_lanes(left)) / mass
        a3, a4 = float64(add_lanes(m3)), float64(add_lanes(m4))
        a4 += shift * (-4.0 * a3 + shift * (6.0 * a2 - 3.0 * mass * shift * shift))
        a3 += shift * (-3.0 * a2 + 2.0 * mass * shift * shift)
        a2 = max(a2 - mass * shift * shift, 0.0)
    return a2, a3, a4


@inline
def where(like: Any, address: Any, weights: Any, n: Any, value: Any, nan: Any) -> Any:
    """The place of the first of n numbers that equals a value, or is NaN; n if none."""
    sought = full(like, value)
    whole = n // lanes(like) * lanes(like) if weights == 0 else int64(0)
    for i in range(0, whole, lanes(like)):
        x = get(like, address + i * size(like), None)
        found = x != x if nan else x == sought
        if any_lane(found):
            return i + int64(first_lane(found))
    for i in range(whole, n, lanes(like)):
        mask, _ = real(like, weights, i, n)
        x = get(like, address + i * size(like), mask)
        found = mask & (x != x if nan else x == sought)
        if any_lane(found):
            return i + int64(first_lane(found))
    return n


@inline
def uniform(like: Any, address: Any, weights: Any, n: Any, mean: Any, m2: Any, mass: Any) -> Any:
    """What all of n numbers equal, and whether they do. It is looked at only where their variance is rounding."""
    if not m2 <= mass * (mean * mean) * 1e-12:
        return mean, False
    for i in range(0, n, lanes(like)):
        mask, _ = real(like, weights, i, n)
        if any_lane(mask):
            value = read_like(like, address + (i + int64(first_lane(mask))) * size(like))
            common = full(like, value)
            for k in range(i, n, lanes(like)):
                mask, _ = real(like, weights, k, n)
                if any_lane(mask & (get(like, address + k * size(like), mask) != common)):
                    return mean, False
            return float64(value), True
    return mean, False


@inline
def read_piece(like: Any, level: Any, extremes: Any, job: Any, scratch: Any, i: Any) -> None:
    """A cell, or one piece of it."""
    cell, part = item(job, i)
    begin, end = span(job, cell)
    _, pieces = pieces_of(job, cell)
    start, stop = piece(job, begin, end, part)
    total, mass, m2, m3, m4 = 0.0, 0.0, 0.0, 0.0, 0.0
    top, low, top_at, low_at = 0.0, 0.0, int64(-1), int64(-1)
    mean, alike, seen = 0.0, level >= SPREAD, int64(0)
    while start < stop:
        n = min(stop - start, int64(STRETCH))
        stored, weights = located(like, job, cell, begin, start)
        address = widened(like, job, scratch, stored, n)
        following = None if level >= SPREAD else stored + n * size(like)
        if level < SPREAD and not extremes and weights != 0:
            b, own = weighted(like, address, weights, n, following), weigh(like, weights, n)
            count, tops, lows = int64(own != 0.0), full(like, 0.0), full(like, 0.0)
        else:
            b, own, count, tops, lows = sums(like, extremes, address, weights, n, following)
        if count > 0:
            b2, b3, b4, here = 0.0, 0.0, 0.0, b / own
            if level >= SPREAD:
                b2, b3, b4 = deviations(
                    like, level, address, weights, n, b / own, own, stored + n * size(like)
                )
                here, flat = uniform(like, address, weights, n, b / own, b2, own)
                b2, b3, b4 = (0.0, 0.0, 0.0) if flat else (b2, b3, b4)
                alike = alike and flat and (seen == 0 or here == mean)
            nan = extremes and b != b and where(like, address, weights, n, 0.0, True) < n
            if extremes and job[MAX] != 0:
                x = np.nan if nan else float64(max_lanes(tops))
                if seen == 0 or x > top or (x != x and top == top):
                    place = where(like, address, weights, n, x, nan)
                    # Zeros of either sign are equal, and the first one is the winner.
                    top, top_at = (
                        float64(read_like(like, address + place * size(like))),
                        start - begin + place,
                    )
            if extremes and job[MIN] != 0:
                y = np.nan if nan else float64(min_lanes(lows))
                if seen == 0 or y < low or (y != y and low == low):
                    place = where(like, address, weights, n, y, nan)
                    low, low_at = (
                        float64(read_like(like, address + place * size(like))),
                        start - begin + place,
                    )
            if seen > 0 and level >= SPREAD:
                gap = 0.0 if alike else b / own - total / mass
                if level >= SHAPE:
                    b4 = join_m4(m4, b4, m2, b2, m3, b3, gap, mass, own)
                    b3 = join_m3(m3, b3, m2, b2, gap, mass, own)
                b2 = join_m2(m2, b2, gap, mass, own)
            total, mass, m2, m3, m4 = total + b, mass + own, b2, b3, b4
            mean = here if alike else total / (mass if mass != 0.0 else 1.0)
            seen += count
        start += n
    if pieces > 1:
        # What is not wanted says whether all members are equal, which the pieces of a cell ask each other.
        common = mean if alike else np.nan
        top = top if extremes and job[MAX] != 0 else common
        low = low if extremes and job[MIN] != 0 else common
        state = job[STATES] + i * STATE * 8
        places = (float64(top_at), float64(low_at))
        for at, number in enumerate((total, m2, m3, m4, top, low, *places, mass, float64(seen))):
            write_f64(state + 8 * at, number)
        return
    finish(like, level, extremes, job, cell, mass, total, mean, m2, m3, m4, top, low, top_at, low_at)


@inline
def read_short(like: Any, level: Any, extremes: Any, job: Any, first: Any, stop: Any) -> None:
    """Cells of one short length that follow each other, such as the channels of small feature maps.

    There are hundreds of thousands of them, and what is the same for all is asked for once.
    """
    address, step, n = job[VALUES] + first * job[CELL], job[CELL], job[LENGTH]
    for cell in range(first, stop):
        total, mass, _, tops, lows = sums(like, extremes, address, int64(0), n, None)
        mean, m2, m3, m4 = total / mass, 0.0, 0.0, 0.0
        if level >= SPREAD:
            m2, m3, m4 = deviations(like, level, address, int64(0), n, mean, mass, address + step)
            mean, flat = uniform(like, address, int64(0), n, mean, m2, mass)
            m2, m3, m4 = (0.0, 0.0, 0.0) if flat else (m2, m3, m4)
        top, low, top_at, low_at = 0.0, 0.0, int64(0), int64(0)
        nan = extremes and total != total and where(like, address, int64(0), n, 0.0, True) < n
        if extremes and job[MAX] != 0:
            top_at = where(like, address, int64(0), n, max_lanes(tops), nan)
            top = float64(read_like(like, address + top_at * size(like)))
        if extremes and job[MIN] != 0:
            low_at = where(like, address, int64(0), n, min_lanes(lows), nan)
            low = float64(read_like(like, address + low_at * size(like)))
        finish(like, level, extremes, job, cell, mass, total, mean, m2, m3, m4, top, low, top_at, low_at)
        address += step


@inline
def read_short_weighted(like: Any, job: Any, first: Any, stop: Any) -> None:
    """Sums of the same with weights, which the channels of a head share: those are added up once for all of them."""
    n, channels, heads = job[LENGTH], job[CHANNELS], job[HEADS]
    batch, known, mass = first // channels, int64(-1), 0.0
    channel = first - batch * channels
    for cell in range(first, stop):
        head = batch * heads + (channel * heads // channels if heads > 1 else int64(0))
        weights = job[WEIGHT] + head * n * size(like)
        if head != known:
            known, mass = head, weigh(like, weights, n)
        address = job[VALUES] + cell * job[CELL]
        total = weighted(like, address, weights, n, address + job[CELL])
        give(like, job[SUM], cell, total)
        give(like, job[MEAN], cell, total / (1.0 if mass == 0.0 else mass))
        channel += 1
        if channel == channels:
            batch, channel = batch + 1, int64(0)


@inline
def finish(
    like: Any,
    level: Any,
    extremes: Any,
    job: Any,
    cell: Any,
    mass: Any,
    total: Any,
    mean: Any,
    m2: Any,
    m3: Any,
    m4: Any,
    top: Any,
    low: Any,
    top_at: Any,
    low_at: Any,
) -> None:
    """Writes the results of a cell that are wanted."""
    over = 1.0 if mass == 0.0 else mass
    give(like, job[SUM], cell, total)
    give(like, job[MEAN], cell, mean)
    if level >= SPREAD:
        give(like, job[M2], cell, m2 / over)
    if level >= SHAPE:
        give(like, job[M3], cell, m3 / over)
        give(like, job[M4], cell, m4 / over)
    if extremes and job[MAX] != 0:
        give(like, job[MAX], cell, top)
        write_i32(job[ARGMAX] + 4 * cell, int32(top_at))
    if extremes and job[MIN] != 0:
        give(like, job[MIN], cell, low)
        write_i32(job[ARGMIN] + 4 * cell, int32(low_at))


@inline
def give(like: Any, result: Any, cell: Any, number: Any) -> None:
    """Writes one result that is wanted."""
    if result != 0:
        write_like(like, result + cell * size(like), number)


@inline
def work(like: Any, level: Any, extremes: Any, job: Any, pointer: Any, scratch: Any) -> None:
    """Takes items until there are none."""
    while True:
        begin = fetch_add(pointer, NEXT, job[GRAIN])
        if begin >= job[ITEMS]:
            break
        end = min(begin + job[GRAIN], job[ITEMS])
        short = job[SHORT] != 0 and job[LENGTH] <= STRETCH
        if short and job[WEIGHT] == 0:
            read_short(like, level, extremes, job, begin, end)
        elif short and level < SPREAD and not extremes:
            read_short_weighted(like, job, begin, end)
        else:
            for i in range(begin, end):
                read_piece(like, level, extremes, job, scratch, i)


def moments_of_stretches(pointer: Any) -> None:
    """The kernel. A level that is a constant makes code for it alone."""
    job = carray(pointer, SIZE)
    wide = WIDE(0)
    scratch = job[SCRATCH] + fetch_add(pointer, WORKER, 1) * job[SCRATCH_BYTES]
    extremes = job[MAX] != 0 or job[MIN] != 0
    if job[LEVEL] >= SHAPE:
        work(wide, int64(SHAPE), True, job, pointer, scratch)
    elif job[LEVEL] == SPREAD and extremes:
        work(wide, int64(SPREAD), True, job, pointer, scratch)
    elif job[LEVEL] == SPREAD:
        work(wide, int64(SPREAD), False, job, pointer, scratch)
    elif extremes:
        work(wide, int64(SUMS), True, job, pointer, scratch)
    else:
        work(wide, int64(SUMS), False, job, pointer, scratch)
