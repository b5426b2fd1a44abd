"""From what is known of a cell to its results, and from what is known of its pieces to what is known of all."""

from __future__ import annotations

from typing import Any

from numba import carray, int32

from polypool.ops.cpu.compiler import TAIL
from polypool.ops.cpu.job import GRAIN, ITEMS, MASS, NEXT, SETS, SIZE, STATES, WIDTH
from polypool.ops.cpu.like import as_like, doubled, lanes, size, write_like
from polypool.ops.cpu.vec import fetch_add, first_lanes, full, places, read_f64, select
from polypool.ops.cpu.walk import get, inline, pieces_of, put
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
)
from polypool.ops.moments.fold import join_m2, join_m3, join_m4


@inline
def finish(like: Any, job: Any, state: Any, mass: Any, members: Any, cell: Any, head: Any) -> None:
    """Writes the results of a cell, for the channels of a head, from what is known of it; zeros where it is empty."""
    if job[MASS] != 0:
        write_like(like, job[MASS] + (cell * job[SETS] + head) * size(like), mass)
    row = 8 * job[WIDTH]
    width = job[WIDTH] // job[SETS]
    over = 1.0 if mass == 0.0 else mass
    for t in range(head * width, (head + 1) * width, lanes(like)):
        mask = first_lanes(like, int32((head + 1) * width - t))
        at = cell * job[WIDTH] + t
        known = state + 8 * t
        give(like, mask, job[SUM], at, known, 1.0, members, 0.0)
        if job[MEAN] != 0:
            give_mean(like, mask, job, at, known, row, over, members)
        give(like, mask, job[M2], at, known + row, over, members, 0.0)
        give(like, mask, job[M3], at, known + 2 * row, over, members, 0.0)
        give(like, mask, job[M4], at, known + 3 * row, over, members, 0.0)
        give(like, mask, job[MAX], at, known + 4 * row, 1.0, members, 0.0)
        give(like, mask, job[MIN], at, known + 5 * row, 1.0, members, 0.0)
        give(places(like, int32(0)), mask, job[ARGMAX], at, known + 6 * row, 1.0, members, -1.0)
        give(places(like, int32(0)), mask, job[ARGMIN], at, known + 7 * row, 1.0, members, -1.0)


@inline
def give(like: Any, mask: Any, result: Any, at: Any, known: Any, over: Any, members: Any, empty: Any) -> None:
    """Writes one vector of a result that is wanted, divided by a number."""
    if result != 0:
        double = full(doubled(like), empty)
        if members != 0.0:
            double = get(double, known, mask) / full(double, over)
        put(result + at * size(like), as_like(like, double), mask)


@inline
def give_mean(like: Any, mask: Any, job: Any, at: Any, known: Any, row: Any, over: Any, members: Any) -> None:
    """Writes one vector of means: exactly what all members equal, where they do and extremes tell."""
    mean = doubled(like)
    if members != 0.0:
        mean = get(mean, known, mask) / full(mean, over)
        if job[LEVEL] >= EXTREMES:
            top, low = get(mean, known + 4 * row, mask), get(mean, known + 5 * row, mask)
            mean = select(top == low, top, mean)
    put(job[MEAN] + at * size(like), as_like(like, mean), mask)


@inline
def join(like: Any, job: Any, first: Any, pieces: Any, head: Any, t: Any, mask: Any) -> Any:
    """Joins what the pieces of a cell left, in their order, into the first one; returns their mass and members."""
    level, row = job[LEVEL], 8 * job[WIDTH]
    state = job[STATES] + first * STATE * row
    zero = doubled(like)
    total, m2, m3, m4 = zero, zero, zero, zero
    top, low, top_at, low_at = zero, zero, zero, zero
    mass, members = 0.0, 0.0
    for _ in range(pieces):
        own, count = read_f64(state + 8 * row + 8 * head), read_f64(state + 9 * row + 8 * head)
        if count != 0.0:
            known = state + 8 * t
            b = get(zero, known, mask)
            b2, b3, b4 = zero, zero, zero
            if level >= SPREAD:
                b2 = get(zero, known + row, mask)
            if level >= SHAPE:
                b3, b4 = get(zero, known + 2 * row, mask), get(zero, known + 3 * row, mask)
            x, x_at = get(zero, known + 4 * row, mask), get(zero, known + 6 * row, mask)
            y, y_at = get(zero, known + 5 * row, mask), get(zero, known + 7 * row, mask)
            if members == 0.0:
                total, m2, m3, m4 = b, b2, b3, b4
                top, low, top_at, low_at = x, y, x_at, y_at
            else:
                gap = b / full(b, own) - total / full(b, mass)
                gap = select((top == low) & (x == top) & (y == top), zero, gap)
                m4 = join_m4(m4, b4, m2, b2, m3, b3, gap, mass, own)
                m3 = join_m3(m3, b3, m2, b2, gap, mass, own)
                m2 = join_m2(m2, b2, gap, mass, own)
                total = total + b
                more = (x > top) | ((x != x) & (top == top))
                less = (y < low) | ((y != y) & (low == low))
                top, top_at = select(more, x, top), select(more, x_at, top_at)
                low, low_at = select(less, y, low), select(less, y_at, low_at)
            mass += own
            members += count
        state += (STATE) * row
    known = job[STATES] + first * STATE * row + 8 * t
    put(known, total, mask)
    put(known + row, m2, mask)
    put(known + 2 * row, m3, mask)
    put(known + 3 * row, m4, mask)
    put(known + 4 * row, top, mask)
    put(known + 5 * row, low, mask)
    put(known + 6 * row, top_at, mask)
    put(known + 7 * row, low_at, mask)
    return mass, members


def joined_moments(pointer: Any) -> None:
    """The kernel that follows when cells were read in pieces."""
    job = carray(pointer, SIZE)
    tail = TAIL(0)
    width = job[WIDTH] // job[SETS]
    while True:
        begin = fetch_add(pointer, NEXT, job[GRAIN])
        if begin >= job[ITEMS]:
            break
        for cell in range(begin, min(begin + job[GRAIN], job[ITEMS])):
            first, pieces = pieces_of(job, cell)
            if pieces > 1:
                for head in range(job[SETS]):
                    mass, members = 0.0, 0.0
                    for t in range(head * width, (head + 1) * width, lanes(tail)):
                        mask = first_lanes(tail, int32((head + 1) * width - t))
                        mass, members = join(tail, job, first, pieces, head, t, mask)
                    finish(tail, job, job[STATES] + first * STATE * 8 * job[WIDTH], mass, members, cell, head)
