"""Exponentially weighted averages and log-mean-exps of cells whose numbers follow each other in memory.

Cells are cut into stretches. Of a batch of stretches the largest numbers are found first and powers are added up next,
while the numbers are in the cache: so no stretch waits for the lanes of another to be joined. The stretches of a cell
are joined in float64, and the results of as many cells as a short vector has lanes are finished together.
"""

from __future__ import annotations

from typing import Any

from numba import carray, float64, int32, int64

from polypool.ops.cpu.compiler import TAIL, WIDE
from polypool.ops.cpu.job import GRAIN, ITEMS, KIND, NEXT, SCRATCH, SCRATCH_BYTES, SIZE, STATES, WEIGHT, WORKER
from polypool.ops.cpu.like import doubled, lanes, read_like, size, write_like
from polypool.ops.cpu.stretch import STRETCH, ask, located, real, widened
from polypool.ops.cpu.vec import (
    add_lanes,
    fetch_add,
    first_lanes,
    full,
    lane,
    max_lanes,
    min_lanes,
    places,
    prefetch,
    read_f64,
    read_i32,
    read_i64,
    select,
    sum_lanes,
    turn,
    write_f64,
    write_i32,
    write_i64,
)
from polypool.ops.cpu.vmath import ONE, ZERO
from polypool.ops.cpu.walk import get, inline, item, piece, pieces_of, put, span
from polypool.ops.exponential.fields import (
    AVERAGE,
    AVERAGE_SLOPE,
    EXPONENT,
    INVERSE,
    LEVEL,
    LOG_MEAN,
    NEGATIVE,
    STATE,
)
from polypool.ops.exponential.finish import finish
from polypool.ops.exponential.terms import add, below, channel_of, further, lowest, moved

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
def largest(like: Any, negative: Any, address: Any, weights: Any, begin: Any, end: Any, known: Any) -> Any:
    """The largest of some numbers and of what is known; the smallest where k is negative.

    Without any weights, not even the address 0, all lanes of all vectors are members.
    """
    top = full(like, known)
    for i in range(begin, end, lanes(like)):
        if weights is None:
            x = get(like, address + i * size(like), None)
        else:
            mask, _ = real(like, weights, i, end)
            x = select(mask, get(like, address + i * size(like), mask), top)
        if negative:
            top = select(x < top, x, top)
        else:
            top = select(x > top, x, top)
    return min_lanes(top) if negative else max_lanes(top)


@inline
def sums(
    like: Any, level: Any, address: Any, weights: Any, begin: Any, end: Any, top: Any, k: Any, ahead: Any
) -> Any:
    """The three sums of some numbers."""
    s, a, z = full(like, 0.0), full(like, 0.0), full(like, 0.0)
    tops, ks = full(like, top), full(like, k)
    for i in range(begin, end, lanes(like)):
        if weights is None:
            ask(like, address + ahead + i * size(like))
            x, share = get(like, address + i * size(like), None), ONE(s)
        else:
            mask, share = real(like, weights, i, end)
            x = select(mask, get(like, address + i * size(like), mask), tops)
            share = select(mask, share, ZERO(s))
        s, a, z = add(level, below(x, tops, ks), share, s, a, z)
    return add_lanes(s), add_lanes(a), add_lanes(z)


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
def whole_of(wide: Any, weights: Any, n: Any) -> Any:
    """How many numbers of a stretch fill whole vectors, all of them members."""
    return n // lanes(wide) * lanes(wide) if weights == 0 else int64(0)


@inline
def find(wide: Any, tail: Any, scratch: Any, at: Any) -> None:
    """The largest number of a stretch."""
    address, n = read_i64(scratch + ADDRESS + 8 * at), int64(read_i32(scratch + COUNT + 4 * at))
    weights = read_i64(scratch + WEIGHTS + 8 * at)
    k = read_like(tail, scratch + EXPONENTS + size(tail) * at)
    top, negative = lane(lowest(tail, full(tail, k)), int64(0)), k < 0
    whole = whole_of(wide, weights, n)
    if whole > 0:
        top = largest(wide, negative, address, None, int64(0), whole, top)
    if whole < n:
        top = largest(tail, negative, address, weights, whole, n, top)
    write_like(tail, scratch + TOPS + size(tail) * at, top)


@inline
def measure(wide: Any, tail: Any, level: Any, scratch: Any, at: Any, ahead: Any) -> None:
    """The three sums of a stretch."""
    address, n = read_i64(scratch + ADDRESS + 8 * at), int64(read_i32(scratch + COUNT + 4 * at))
    weights, width = read_i64(scratch + WEIGHTS + 8 * at), size(tail)
    k, top = read_like(tail, scratch + EXPONENTS + width * at), read_like(tail, scratch + TOPS + width * at)
    whole = whole_of(wide, weights, n)
    s, a, z = sums(tail, level, address, weights, whole, n, top, k, ahead)
    if whole > 0:
        more_s, more_a, more_z = sums(wide, level, address, None, int64(0), whole, top, k, ahead)
        s, a, z = s + more_s, a + more_a, z + more_z
    write_like(tail, scratch + S + width * at, s)
    write_like(tail, scratch + A + width * at, a)
    write_like(tail, scratch + Z + width * at, z)


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
            old_s, old_a = full(double, read_f64(scratch + KNOWN + 8)), full(double, read_f64(scratch + KNOWN + 16))
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
def find_across(like: Any, job: Any, scratch: Any, longest: Any) -> None:
    """The largest numbers of short stretches, one in each lane."""
    counts = get(places(like, int32(0)), scratch + COUNT, None)
    k = get(like, scratch + EXPONENTS, None)
    top, negative = lowest(like, k), k < ZERO(k)
    for j in range(0, longest, lanes(like)):
        turn(like, scratch + ADDRESS, scratch + COUNT, int32(j), scratch + TURNED + 64 * j)
    for j in range(longest):
        x = get(like, scratch + TURNED + 64 * j, None)
        more = further(x, top, negative) if job[NEGATIVE] != 0 else x > top
        top = select((counts > places(like, int32(j))) & more, x, top)
    put(scratch + TOPS, top, None)


@inline
def measure_across(like: Any, level: Any, scratch: Any, longest: Any, ahead: Any) -> None:
    """The three sums of short stretches, one in each lane."""
    counts = get(places(like, int32(0)), scratch + COUNT, None)
    k, top = get(like, scratch + EXPONENTS, None), get(like, scratch + TOPS, None)
    s, a, z = full(like, 0.0), full(like, 0.0), full(like, 0.0)
    following = read_i64(scratch + ADDRESS) + ahead
    for j in range(longest):
        prefetch(following + 64 * j)
        mask = counts > places(like, int32(j))
        x = select(mask, get(like, scratch + TURNED + 64 * j, None), top)
        s, a, z = add(level, below(x, top, k), select(mask, ONE(s), ZERO(s)), s, a, z)
    put(scratch + S, s, None)
    put(scratch + A, a, None)
    put(scratch + Z, z, None)


@inline
def find_batch(wide: Any, tail: Any, job: Any, scratch: Any, count: Any, longest: Any) -> Any:
    """The largest numbers of the stretches of a batch; returns whether they stand side by side."""
    across = job[WEIGHT] == 0 and longest <= SHORT
    if across:
        for at in range(count, lanes(tail)):  # lanes without a stretch
            write_i64(scratch + ADDRESS + 8 * at, read_i64(scratch + ADDRESS))
            write_i32(scratch + COUNT + 4 * at, int32(0))
        find_across(tail, job, scratch, longest)
    else:
        for at in range(count):
            find(wide, tail, scratch, at)
    return across


@inline
def measure_batch(
    wide: Any, tail: Any, level: Any, scratch: Any, count: Any, longest: Any, across: Any, ahead: Any
) -> None:
    """The three sums of the stretches of a batch."""
    if across:
        measure_across(tail, level, scratch, longest, ahead)
    else:
        for at in range(count):
            measure(wide, tail, level, scratch, at, ahead)


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


def exponentials_of_stretches(pointer: Any) -> None:
    """The kernel."""
    job = carray(pointer, SIZE)
    wide, tail = WIDE(0), TAIL(0)
    scratch = job[SCRATCH] + fetch_add(pointer, WORKER, 1) * job[SCRATCH_BYTES]
    width = size(tail) if job[KIND] == 0 else 2
    while True:
        i = fetch_add(pointer, NEXT, job[GRAIN])
        if i >= job[ITEMS]:
            break
        end = min(i + job[GRAIN], job[ITEMS])
        # What is left of an item of many stretches: its batches have nothing else.
        start, stop, begin, cell, pieces, mass = int64(0), int64(0), int64(0), int64(0), int64(1), 0.0
        while i < end or start < stop:
            count, used, longest, first = int64(0), int64(0), int64(0), cell
            while start == stop and i < end and count < lanes(tail):
                cell, part = item(job, i)
                begin, last = span(job, cell)
                _, pieces = pieces_of(job, cell)
                a, b = piece(job, begin, last, part)
                long = b - a > STRETCH or pieces > 1
                if count > 0 and (long or used + b - a > BATCH):
                    break
                i += 1
                if long:
                    start, stop, mass = a, b, 0.0
                    break
                first = cell if count == 0 else first
                enlist(tail, wide, job, scratch, count, used, cell, begin, a, b - a)
                count, used, longest = count + 1, used + b - a, max(longest, b - a)
            long = start < stop
            while start < stop and used < BATCH:
                n = min(stop - start, int64(STRETCH))
                enlist(tail, wide, job, scratch, count, used, cell, begin, start, n)
                count, used, longest, start = count + 1, used + n, int64(STRETCH), start + n
            level, ahead = job[LEVEL], used * width
            across = find_batch(wide, tail, job, scratch, count, longest)
            # Constants make code for each level alone.
            if level == AVERAGE:
                measure_batch(wide, tail, int64(AVERAGE), scratch, count, longest, across, ahead)
            elif level == AVERAGE_SLOPE:
                measure_batch(wide, tail, int64(AVERAGE_SLOPE), scratch, count, longest, across, ahead)
            else:
                measure_batch(wide, tail, int64(LOG_MEAN), scratch, count, longest, across, ahead)
            if long:
                first = cell
                for at in range(count):
                    mass = fold(tail, job[LEVEL], scratch, at, mass)
                count = int64(0)
                if start == stop:
                    count = leave(tail, job, scratch, i - 1, pieces, mass)
            if count > 0:
                finish_batch(tail, job, scratch, count, first)
