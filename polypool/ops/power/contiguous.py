"""Power means of cells whose numbers follow each other in memory: one channel of one image.

As for rows: sums of powers first, and where float32 could not hold them the largest member, then powers of ratios to
it. What is done once for a cell, logarithms and roots, is done for a handful of cells at once, one in each lane. The
powers of short cells, which would not fill vectors, are written down before they are added up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, int32, int64

from polypool.ops.cpu.compiler import TAIL, WIDE
from polypool.ops.cpu.job import (
    CELL,
    FIRST,
    GRAIN,
    ITEMS,
    LENGTH,
    NEXT,
    OFFSETS,
    PIECES,
    SCRATCH,
    SCRATCH_BYTES,
    SHORT,
    SIZE,
    STATES,
    VALUES,
    WEIGHT,
    WORKER,
)
from polypool.ops.cpu.like import as_double, as_like, doubled, lanes, read_like, size, write_like
from polypool.ops.cpu.stretch import STRETCH, STRETCH_BYTES, located, widened
from polypool.ops.cpu.vec import (
    any_lane,
    bits,
    fetch_add,
    first_lanes,
    from_bits,
    read_f64,
    read_i64,
    select,
    write_f64,
    write_i64,
)
from polypool.ops.cpu.vmath import ONE, ZERO
from polypool.ops.cpu.walk import get, inline, item, piece, pieces_of, put, span
from polypool.ops.power.bounds import ROOM, WIDE_ROOM, held_number
from polypool.ops.power.fields import OUT, PLAIN, PRODUCTS, STATE, STEP
from polypool.ops.power.ratios import (
    LIMITS,
    PREPARED,
    TOPS,
    grounded,
    prepare,
    shrunk,
)
from polypool.ops.power.roots import rooted
from polypool.ops.power.sums import find_top, sum_of, sum_powers, sum_products
from polypool.ops.power.terms import larger, power_of

#: Behind a stretch: what is prepared for powers; of each cell of a handful the sum, its top and the mass, its p, the
#: largest of a stretch, whether the top is 1 so far, and whether it did not suit this stretch; and powers.
READY = STRETCH_BYTES
SUMS, OWN_TOPS, MASSES, EXPONENTS, LARGEST, TOP_IS_1, LEFT, TARGET = (
    READY + PREPARED + i * 128 for i in range(8)
)
#: Cells of a handful are short, so that all of them stay in the cache.
NUMBERS = 4096
HANDFUL_BYTES = TARGET + 8 * NUMBERS + 512


@inline
def settle(like: Any, scratch: Any) -> None:
    """Makes the cells of a handful that are left ready for powers, and brings what is known of them to the new tops."""
    total = doubled(like)
    chosen = get(total, scratch + LEFT, None) != ZERO(total)
    total = get(total, scratch + SUMS, None)
    old = grounded(total, get(total, scratch + OWN_TOPS, None))
    top = from_bits(larger(bits(get(like, scratch + LARGEST, None)), bits(as_like(like, old))))
    p = get(like, scratch + EXPONENTS, None)
    if any_lane(chosen & (total != ZERO(total))):
        put(scratch + SUMS, total * shrunk(old, as_double(top), as_double(p)), chosen)
    put(scratch + OWN_TOPS, as_double(top), chosen)
    prepare(like, chosen, scratch + READY, top, p, ROOM)


@inline
def finish(like: Any, job: Any, scratch: Any, first: Any, count: Any) -> None:
    """Writes the power means of a handful of cells, or what is known of a piece."""
    mass = get(doubled(like), scratch + MASSES, None)
    mean = get(mass, scratch + SUMS, None) / select(mass == ZERO(mass), ONE(mass), mass)
    out = rooted(like, job, mean, get(like, scratch + EXPONENTS, None)) * get(mass, scratch + OWN_TOPS, None)
    out = select(mass == ZERO(mass), mass, out)
    put(job[OUT] + first * size(like), as_like(like, out), first_lanes(like, int32(count)))


@inline
def stretch_of(like: Any, job: Any, i: Any, number: Any) -> Any:
    """Where a stretch of an item is, where its weights are, and how many numbers it has."""
    cell, part = item(job, i)
    begin, end = span(job, cell)
    start, stop = piece(job, begin, end, part)
    start += number * STRETCH
    stored, weights = located(like, job, cell, begin, start)
    return stored, weights, min(stop - start, int64(STRETCH))


@inline
def add_to(scratch: Any, k: Any, total: Any, mass: Any) -> None:
    """Adds to what is known of a cell of a handful."""
    write_f64(scratch + SUMS + 8 * k, read_f64(scratch + SUMS + 8 * k) + total)
    write_f64(scratch + MASSES + 8 * k, read_f64(scratch + MASSES + 8 * k) + mass)


@inline
def read_stretch(wide: Any, like: Any, job: Any, scratch: Any, i: Any, k: Any, number: Any) -> Any:
    """Reads a stretch of an item, the first time: returns whether its powers are left, and whether it goes on."""
    stored, weights, n = stretch_of(like, job, i, number)
    write_f64(scratch + LEFT + 8 * k, 0.0)
    if n <= 0:
        return False, False
    address = widened(like, job, scratch, stored, n)
    total, mass, exact = 0.0, 0.0, False
    if read_i64(scratch + TOP_IS_1 + 8 * k) != 0:
        target, ready = scratch + TARGET, scratch + READY + k * size(like)
        if job[PRODUCTS] != 0:
            total, mass, some = sum_products(wide, like, job, address, weights, n, target)
            exact = held_number(like, total, some, mass, True)
        else:
            total, mass, largest = sum_powers(wide, like, job, ready, address, weights, n, target)
            fits = largest <= read_like(bits(like), ready + LIMITS)
            exact = fits and held_number(like, total, largest != 0, mass, False)
    if exact:
        add_to(scratch, k, total, mass)
    else:
        top = find_top(like, job, address, weights, n)
        write_like(bits(like), scratch + LARGEST + k * size(like), top)
        write_i64(scratch + TOP_IS_1 + 8 * k, 0)
        write_f64(scratch + LEFT + 8 * k, 1.0)
    return not exact, n == STRETCH


@inline
def read_flat(wide: Any, like: Any, job: Any, scratch: Any, first: Any, count: Any) -> Any:
    """Reads short cells that follow each other as one stretch; says whether a top of 1 suits all of them."""
    n, none, target = job[LENGTH], int64(0), scratch + TARGET
    address = job[VALUES] + first * job[CELL]
    if job[PRODUCTS] != 0:
        sum_products(wide, like, job, address, none, n * count, target)
    else:
        _, _, largest = sum_powers(wide, like, job, scratch + READY, address, none, n * count, target)
        if largest > read_like(bits(like), scratch + READY + LIMITS):
            return False
    for k in range(count):
        found = sum_of(like, target + k * job[CELL], n)
        if not held_number(like, found, True, float(n), job[PRODUCTS] != 0) and (
            found != 0.0 or find_top(like, job, address + k * job[CELL], none, n) != 0
        ):
            return False
        write_f64(scratch + SUMS + 8 * k, found)
        write_f64(scratch + MASSES + 8 * k, float(n))
    return True


@inline
def read_handful(wide: Any, like: Any, job: Any, scratch: Any, first: Any, count: Any) -> None:
    """Cells, or a piece of one."""
    zero = doubled(like)
    put(scratch + OWN_TOPS, ONE(zero), None)
    for k in range(count):
        cell, _ = item(job, first + k)
        write_like(like, scratch + EXPONENTS + k * size(like), power_of(like, job, cell))
        write_i64(scratch + TOP_IS_1 + 8 * k, job[PLAIN])
    if job[PRODUCTS] == 0 and job[PLAIN] != 0:
        p = get(like, scratch + EXPONENTS, None)
        prepare(like, None, scratch + READY, ONE(p), p, WIDE_ROOM)
    if (
        job[PLAIN] != 0
        and flat(like, job, int64(STRETCH))
        and read_flat(wide, like, job, scratch, first, count)
    ):
        return
    put(scratch + SUMS, zero, None)
    put(scratch + MASSES, zero, None)
    number, going = int64(0), True
    while going:
        going, left = False, False
        for k in range(count):
            missing, more = read_stretch(wide, like, job, scratch, first + k, k, number)
            left, going = left or missing, going or more
        if left:
            settle(like, scratch)
            for k in range(count):
                if read_f64(scratch + LEFT + 8 * k) != 0.0:
                    stored, weights, n = stretch_of(like, job, first + k, number)
                    address = widened(like, job, scratch, stored, n)
                    ready = scratch + READY + k * size(like)
                    target = scratch + TARGET
                    total, mass, _ = sum_powers(wide, like, job, ready, address, weights, n, target)
                    if read_like(like, ready + TOPS) != read_like(like, ready + TOPS):
                        total = np.nan
                    add_to(scratch, k, total, mass)
        number += 1


@inline
def flat(like: Any, job: Any, longest: Any) -> Any:
    """Whether cells are short and follow each other without gaps, unweighted and with one p."""
    short = job[LENGTH] <= longest and job[CELL] == job[LENGTH] * size(like)
    return job[SHORT] != 0 and job[WEIGHT] == 0 and short and job[STEP] == 0


@inline
def handful(like: Any, job: Any, first: Any, end: Any, numbers: Any) -> Any:
    """How many of the next items are read together: one where cells are cut into pieces, or there are many numbers."""
    if job[FIRST] != 0 or job[PIECES] > 1:
        return int64(1)
    most = min(lanes(like), end - first)
    if job[OFFSETS] == 0:
        return min(most, max(numbers // max(job[LENGTH], 1), 1))
    count, members = int64(0), int64(0)
    while count < most and members < numbers:
        begin, stop = span(job, first + count)
        count, members = count + 1, members + stop - begin
    return count


def powers_of_stretches(pointer: Any) -> None:
    """The kernel."""
    job = carray(pointer, SIZE)
    wide, like = WIDE(0), TAIL(0)
    scratch = job[SCRATCH] + fetch_add(pointer, WORKER, 1) * job[SCRATCH_BYTES]
    while True:
        first = fetch_add(pointer, NEXT, job[GRAIN])
        if first >= job[ITEMS]:
            break
        end = min(first + job[GRAIN], job[ITEMS])
        while first < end:
            count = handful(like, job, first, end, int64(NUMBERS))
            read_handful(wide, like, job, scratch, first, count)
            cell, _ = item(job, first)
            _, pieces = pieces_of(job, cell)
            if pieces > 1:
                state = job[STATES] + first * STATE * 8
                write_f64(state, read_f64(scratch + SUMS))
                write_f64(state + 8, read_f64(scratch + OWN_TOPS))
                write_f64(state + 16, read_f64(scratch + MASSES))
            else:
                finish(like, job, scratch, cell, count)
            first += count
