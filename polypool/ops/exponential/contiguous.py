"""Exponentially weighted averages and log-mean-exps of cells whose numbers follow each other in memory.

Cells are cut into stretches. Of a batch of stretches the largest numbers are found first and powers are added up next,
while the numbers are in the cache: so no stretch waits for the lanes of another to be joined.
"""

from __future__ import annotations

from typing import Any

from numba import carray, int32, int64

from polypool.ops.cpu.compiler import TAIL, WIDE
from polypool.ops.cpu.job import GRAIN, ITEMS, KIND, NEXT, SCRATCH, SCRATCH_BYTES, SIZE, WEIGHT, WORKER
from polypool.ops.cpu.like import lanes, size
from polypool.ops.cpu.stretch import STRETCH
from polypool.ops.cpu.vec import fetch_add, read_i64, write_i32, write_i64
from polypool.ops.cpu.walk import inline, item, piece, pieces_of, span
from polypool.ops.exponential.across import find_across, measure_across
from polypool.ops.exponential.along import find, measure
from polypool.ops.exponential.batch import ADDRESS, BATCH, COUNT, SHORT, enlist, finish_batch, fold, leave
from polypool.ops.exponential.fields import AVERAGE, AVERAGE_SLOPE, LEVEL, LOG_MEAN, LOG_MEAN_SLOPE


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
            elif level == LOG_MEAN:
                measure_batch(wide, tail, int64(LOG_MEAN), scratch, count, longest, across, ahead)
            else:
                measure_batch(wide, tail, int64(LOG_MEAN_SLOPE), scratch, count, longest, across, ahead)
            if long:
                first = cell
                for at in range(count):
                    mass = fold(tail, job[LEVEL], scratch, at, mass)
                count = int64(0)
                if start == stop:
                    count = leave(tail, job, scratch, i - 1, pieces, mass)
            if count > 0:
                finish_batch(tail, job, scratch, count, first)
