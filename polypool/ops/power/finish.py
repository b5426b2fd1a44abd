"""From what is known of a cell to its power mean, and from what is known of its pieces to what is known of all."""

from __future__ import annotations

from typing import Any

from numba import carray, int32

from polypool.ops.cpu.compiler import TAIL
from polypool.ops.cpu.job import GRAIN, ITEMS, MASS, NEXT, SIZE, STATES, WIDTH
from polypool.ops.cpu.like import as_double, as_like, doubled, lanes, size, write_like
from polypool.ops.cpu.vec import fetch_add, first_lanes, full, read_f64, select
from polypool.ops.cpu.vmath import ZERO
from polypool.ops.cpu.walk import get, inline, pieces_of, put
from polypool.ops.power.fields import OUT, STATE
from polypool.ops.power.ratios import grounded, shrunk
from polypool.ops.power.roots import rooted
from polypool.ops.power.terms import power, power_of


@inline
def finish(like: Any, job: Any, state: Any, mass: Any, cell: Any) -> None:
    """Writes the power mean of a cell from what is known of it; zeros where it is empty."""
    width = job[WIDTH]
    if job[MASS] != 0:
        write_like(like, job[MASS] + cell * size(like), mass)
    for t in range(0, width, lanes(like)):
        mask = first_lanes(like, int32(width - t))
        out = doubled(like)
        if mass != 0.0:
            mean = get(out, state + 8 * t, mask) * full(out, 1.0 / mass)
            p = power(like, mask, job, t) if width > 1 else full(like, power_of(like, job, cell))
            out = rooted(like, job, mean, p) * get(out, state + 8 * (width + t), mask)
        put(job[OUT] + (cell * width + t) * size(like), as_like(like, out), mask)


@inline
def join(like: Any, job: Any, first: Any, pieces: Any, cell: Any) -> Any:
    """Joins what the pieces of a cell left, in their order, into the first one; returns the mass of all."""
    width = job[WIDTH]
    state, each = job[STATES] + first * STATE * 8 * width, STATE * 8 * width
    mass = 0.0
    for i in range(pieces):
        mass += read_f64(state + i * each + 16 * width)
    for t in range(0, width, lanes(like)):
        mask = first_lanes(like, int32(width - t))
        p = as_double(power(like, mask, job, t) if width > 1 else full(like, power_of(like, job, cell)))
        known, row = state + 8 * t, 8 * width
        zero = doubled(like)
        top, total = zero, zero
        for i in range(pieces):
            if read_f64(state + i * each + 16 * width) != 0.0:
                its = grounded(get(zero, known + i * each, mask), get(zero, known + i * each + row, mask))
                top = select(its > top, its, top)
        for i in range(pieces):
            if read_f64(state + i * each + 16 * width) != 0.0:
                own, its = get(zero, known + i * each, mask), get(zero, known + i * each + row, mask)
                total = total + select(own == ZERO(own), own, own * shrunk(its, top, p))
        put(known, total, mask)
        put(known + row, top, mask)
    return mass


def joined_powers(pointer: Any) -> None:
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
                mass = join(tail, job, first, pieces, cell)
                finish(tail, job, job[STATES] + first * STATE * 8 * job[WIDTH], mass, cell)
