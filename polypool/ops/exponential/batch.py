"""What is known of a batch of stretches while it is worked on, and how it becomes what is known of cells.

The stretches of a cell are joined in float64; the results of as many cells as a short vector has lanes are finished
together.
"""

from __future__ import annotations

from typing import Any

from numba import float64, int32, int64

from polypool.ops.cpu.job import STATES
from polypool.ops.cpu.like import doubled, lanes, read_like, size, write_like
from polypool.ops.cpu.stretch import STRETCH, located, real, widened
from polypool.ops.cpu.vec import (
    first_lanes,
    full,
    lane,
    read_f64,
    select,
    sum_lanes,
    write_f64,
    write_i32,
    write_i64,
)
from polypool.ops.cpu.vmath import ZERO
from polypool.ops.cpu.walk import get, inline
from polypool.ops.exponential.fields import EXPONENT, INVERSE, LEVEL, STATE
from polypool.ops.exponential.finish import finish
from polypool.ops.exponential.terms import channel_of, further, moved

#: Numbers in a batch of stretches: few enough to stay in the first-level cache. In half precision they are copied.
BATCH = 4 * STRETCH
#: What is known of the stretches of a batch, at most 16: where they are, where their weights are, how many numbers they
#: have (int32), their masses; and in the precision of the kernel k, top, the three sums, one over the mass, and 1 / k.
ADDRESS, WEIGHTS, COUNT, MASS = (4 * BATCH + 128 * i for i in range(4))
EXPONENTS, TOPS, S, A, Z, PARTS, INVERSES = (4 * BATCH + 512 + 64 * i for i in range(7))
#: What is known of a cell of many stretches.
KNOWN = INVERSES + 64
#: Cells of at most so many numbers are read side by side, one in each lane, and where they stand so.
SHORT = 64
TURNED = KNOWN + 64
#: Scratch memory of a thread.
BYTES = TURNED + 64 * SHORT


@inline
def mass_of(like: Any, weights: Any, n: Any) -> Any:
    """The sum of n weights."""
    if weights == 0:
        return float64(n)
    mass = full(like, 0.0)
    for i in range(0, n, lanes(like)):
        mask, share = real(like, weights, i, n)
        mass = mass + select(mask, share, ZERO(mass))
    return sum_lanes(mass)


@inline
def enlist(
    like: Any,
    wide: Any,
    job: Any,
    scratch: Any,
    at: Any,
    used: Any,
    cell: Any,
    begin: Any,
    start: Any,
    n: Any,
) -> None:
    """Writes down one stretch of a cell."""
    stored, weights = located(like, job, cell, begin, start)
    channel = channel_of(job, cell) * size(like)
    write_i64(scratch + ADDRESS + 8 * at, widened(wide, job, scratch + 4 * used, stored, n))
    write_i64(scratch + WEIGHTS + 8 * at, weights)
    write_i32(scratch + COUNT + 4 * at, int32(n))
    write_f64(scratch + MASS + 8 * at, mass_of(like, weights, n))
    write_like(like, scratch + EXPONENTS + size(like) * at, read_like(like, job[EXPONENT] + channel))
    write_like(like, scratch + INVERSES + size(like) * at, read_like(like, job[INVERSE] + channel))


@inline
def fold(like: Any, level: Any, scratch: Any, at: Any, mass: Any) -> Any:
    """Adds what is known of a stretch to what is known of its cell, in float64; returns the mass of both."""
    own = read_f64(scratch + MASS + 8 * at)
    if own != 0.0:
        width, double = size(like), doubled(like)
        k = full(double, read_like(like, scratch + EXPONENTS + width * at))
        top = full(double, read_like(like, scratch + TOPS + width * at))
        s, a = read_like(like, scratch + S + width * at), read_like(like, scratch + A + width * at)
        z = read_like(like, scratch + Z + width * at)
        wide_s, wide_a, wide_z = full(double, s), full(double, a), full(double, z)
        if mass != 0.0:
            old = full(double, read_f64(scratch + KNOWN))
            old_s, old_a = (
                full(double, read_f64(scratch + KNOWN + 8)),
                full(double, read_f64(scratch + KNOWN + 16)),
            )
            old_z = full(double, read_f64(scratch + KNOWN + 24))
            more = select(further(top, old, k < ZERO(k)), top, old)
            old_s, old_a, old_z = moved(level, old_s, old_a, old_z, old, more, k, mass)
            wide_s, wide_a, wide_z = moved(level, wide_s, wide_a, wide_z, top, more, k, own)
            wide_s, wide_a, wide_z, top = wide_s + old_s, wide_a + old_a, wide_z + old_z, more
        write_f64(scratch + KNOWN, lane(top, int64(0)))
        write_f64(scratch + KNOWN + 8, lane(wide_s, int64(0)))
        write_f64(scratch + KNOWN + 16, lane(wide_a, int64(0)))
        write_f64(scratch + KNOWN + 24, lane(wide_z, int64(0)))
    return mass + own


@inline
def leave(like: Any, job: Any, scratch: Any, i: Any, pieces: Any, mass: Any) -> Any:
    """Leaves what is known of an item where it is joined to others; of a whole cell, to be finished; returns if so."""
    if pieces > 1:
        target = job[STATES] + i * STATE * 8
        for at in range(4):
            write_f64(target + 8 * at, read_f64(scratch + KNOWN + 8 * at))
        write_f64(target + 32, mass)
        return int64(0)
    write_like(like, scratch + TOPS, read_f64(scratch + KNOWN))
    write_like(like, scratch + S, read_f64(scratch + KNOWN + 8))
    write_like(like, scratch + A, read_f64(scratch + KNOWN + 16))
    write_like(like, scratch + Z, read_f64(scratch + KNOWN + 24))
    write_f64(scratch + MASS, mass)
    return int64(1)


@inline
def finish_batch(like: Any, job: Any, scratch: Any, count: Any, cell: Any) -> None:
    """Writes the results of cells that follow each other, from `cell` on."""
    for at in range(count):
        mass = read_f64(scratch + MASS + 8 * at)
        write_like(like, scratch + PARTS + size(like) * at, 0.0 if mass == 0.0 else 1.0 / mass)
    finish(
        job[LEVEL],
        job,
        first_lanes(like, int32(count)),
        cell,
        get(like, scratch + TOPS, None),
        get(like, scratch + S, None),
        get(like, scratch + A, None),
        get(like, scratch + Z, None),
        get(like, scratch + PARTS, None),
        get(like, scratch + INVERSES, None),
    )
