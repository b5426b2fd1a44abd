"""From what is known of a cell to its results, and from what is known of its pieces to what is known of all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, int32

from polypool.ops.cpu.compiler import TAIL
from polypool.ops.cpu.job import GRAIN, ITEMS, NEXT, SIZE, STATES, WIDTH
from polypool.ops.cpu.like import as_double, as_like, doubled, lanes, size, spread
from polypool.ops.cpu.vec import absolute, constant, fetch_add, first_lanes, full, read_f64, select
from polypool.ops.cpu.vmath import HALF, INFINITY, ONE, ZERO, log2_of_sum
from polypool.ops.cpu.walk import get, inline, pieces_of, put
from polypool.ops.exponential.fields import (
    EXPONENT,
    INVERSE,
    LEVEL,
    LOG_MEAN,
    MEAN_EXPONENT,
    OUT,
    SHARE_OF_ONE,
    SLOPE,
    STATE,
    TOP,
)
from polypool.ops.exponential.terms import channel_of, further, lowest, moved

LN2 = constant(np.log(2.0), np.log(2.0))


@inline
def finish(
    level: Any, job: Any, mask: Any, at: Any, top: Any, s: Any, a: Any, z: Any, part: Any, inverse: Any
) -> None:
    """Writes the results of the cells and channels of one vector, from number `at` on.

    `part` is one over the mass, and 0 where a cell is empty, whose results are 0; `inverse` is 1 / k2.
    """
    zero = ZERO(top)
    empty = part == zero
    one = select(empty, zero, ONE(top) / s)
    mean = a * one
    if level >= LOG_MEAN:
        # Near 1 the logarithm of the mean would cancel, that of one and what the mean is more does not; where one
        # member outweighs many it is the other way round.
        ratio, more = s * part, z * part
        near = ratio >= HALF(top)
        x = select(near, more + ONE(top), ratio)
        step = log2_of_sum(x, select(near, more - (x - ONE(top)), zero))
        slope = (step - mean) * LN2(top)
        # An infinite largest member is a constant.
        one = select(absolute(top) == INFINITY(top), zero, one)
    else:
        step = mean
        slope = (z * one - mean * mean) * inverse * inverse
    give(job, OUT, at, mask, select(empty, zero, top + step * inverse))
    give(job, TOP, at, mask, select(empty, zero, top))
    give(job, SHARE_OF_ONE, at, mask, one)
    give(job, MEAN_EXPONENT, at, mask, mean)
    give(job, SLOPE, at, mask, select(empty, zero, slope))


@inline
def give(job: Any, field: Any, at: Any, mask: Any, v: Any) -> None:
    """Writes one vector of a result that is wanted."""
    if job[field] != 0:
        put(job[field] + at * size(v), v, mask)


@inline
def of_channels(like: Any, mask: Any, job: Any, field: Any, cell: Any, t: Any) -> Any:
    """The numbers of the channels of one vector from t on, or of the channel of a contiguous cell."""
    if job[WIDTH] == 1:
        return spread(like, job[field] + channel_of(job, cell) * size(like))
    return get(like, job[field] + t * size(like), mask)


@inline
def join(like: Any, job: Any, state: Any, pieces: Any, cell: Any, t: Any, mask: Any) -> None:
    """Joins what the pieces of a cell left, in their order, for the channels of one vector."""
    level, row, double = job[LEVEL], 8 * job[WIDTH], doubled(like)
    k = of_channels(like, mask, job, EXPONENT, cell, t)
    top, negative, mass = lowest(like, k), k < ZERO(k), 0.0
    for i in range(pieces):
        piece = state + i * STATE * row
        own = read_f64(piece + 4 * row)
        if own != 0.0:
            x = as_like(like, get(double, piece + 8 * t, mask))
            top = select(further(x, top, negative), x, top)
            mass += own
    wide_k, wide_top = as_double(k), as_double(top)
    s, a, z = double, double, double
    for i in range(pieces):
        piece = state + i * STATE * row
        known, own = piece + 8 * t, read_f64(piece + 4 * row)
        if own != 0.0:
            old, old_s = get(double, known, mask), get(double, known + row, mask)
            old_a, old_z = get(double, known + 2 * row, mask), get(double, known + 3 * row, mask)
            old_s, old_a, old_z = moved(level, old_s, old_a, old_z, old, wide_top, wide_k, own)
            s, a, z = s + old_s, a + old_a, z + old_z
    part = full(like, 0.0 if mass == 0.0 else 1.0 / mass)
    finish(
        level,
        job,
        mask,
        cell * job[WIDTH] + t,
        top,
        as_like(like, s),
        as_like(like, a),
        as_like(like, z),
        part,
        of_channels(like, mask, job, INVERSE, cell, t),
    )


def joined_exponentials(pointer: Any) -> None:
    """The kernel that follows when cells were read in pieces."""
    job = carray(pointer, SIZE)
    tail = TAIL(0)
    while True:
        begin = fetch_add(pointer, NEXT, job[GRAIN])
        if begin >= job[ITEMS]:
            break
        for cell in range(begin, min(begin + job[GRAIN], job[ITEMS])):
            first, pieces = pieces_of(job, cell)
            if pieces > 1:
                state = job[STATES] + first * STATE * 8 * job[WIDTH]
                for t in range(0, job[WIDTH], lanes(tail)):
                    mask = first_lanes(tail, int32(job[WIDTH] - t))
                    join(tail, job, state, pieces, cell, t, mask)
