"""Gradients of power means of cells whose numbers follow each other in memory."""

from __future__ import annotations

from typing import Any

from numba import carray, float64, int32, int64

from polypool.ops.cpu.compiler import TAIL, WIDE
from polypool.ops.cpu.gradient import give, target_of
from polypool.ops.cpu.job import (
    CELLS,
    CHANNELS,
    GRAIN,
    ITEMS,
    KIND,
    MASS,
    NEXT,
    SCRATCH,
    SCRATCH_BYTES,
    SIZE,
    WEIGHT,
    WORKER,
)
from polypool.ops.cpu.like import lanes, read_like, size, spread, write_like
from polypool.ops.cpu.stretch import STRETCH, STRETCH_BYTES, ask, located, real, widened
from polypool.ops.cpu.vec import add_lanes, bits, fence, fetch_add, first_lanes, full, select
from polypool.ops.cpu.vmath import ZERO
from polypool.ops.cpu.walk import get, inline, item, piece, span
from polypool.ops.power.contiguous import NUMBERS, handful
from polypool.ops.power.fields import G_OUT, G_POWER, OUT, PRODUCTS
from polypool.ops.power.products import factors
from polypool.ops.power.slopes import (
    BASES,
    HIGHS,
    LOWS,
    OF_POWER,
    PARTS,
    PREPARED,
    RESTS,
    SLOPES,
    STEEPS,
    UPS,
    by_products,
    by_ratios,
    flip,
    prepare,
)
from polypool.ops.power.terms import least, power_of

#: Behind a stretch: what is prepared for the gradients of a handful of cells; and of each its p and 1 / W.
READY = STRETCH_BYTES
EXPONENTS = READY + PREPARED
WEIGHTS = EXPONENTS + 256
HANDFUL_BYTES = WEIGHTS + 256
#: How many numbers ahead memory is asked for.
AHEAD = 1024


@inline
def write_whole(
    like: Any, job: Any, ready: Any, address: Any, begin: Any, end: Any, target: Any, width: Any
) -> Any:
    """Writes the gradients of whole vectors of numbers; returns what they add to that of p."""
    floor, flipped = least(like, job), flip(job, like)
    up, slope = spread(like, ready + UPS), spread(like, ready + SLOPES)
    if job[PRODUCTS] != 0:
        parts, part = factors(job, like), spread(like, ready + PARTS)
        for i in range(begin, end, lanes(like)):
            ask(like, address + (i + AHEAD) * width)
            x = get(like, address + i * size(like), None)
            g = by_products(x, None, floor, parts, up, part, slope, flipped)
            give(like, None, job, target + i * width, g)
        return 0.0
    base, rest = spread(bits(like), ready + BASES), spread(like, ready + RESTS)
    steep, low, high = spread(like, ready + STEEPS), spread(like, ready + LOWS), spread(like, ready + HIGHS)
    total = full(like, 0.0)
    for i in range(begin, end, lanes(like)):
        ask(like, address + (i + AHEAD) * width)
        x = get(like, address + i * size(like), None)
        g, of_power = by_ratios(x, None, floor, up, base, rest, steep, low, high, slope, flipped)
        total = total + of_power
        give(like, None, job, target + i * width, g)
    return float64(add_lanes(total))


@inline
def write_rest(
    like: Any, job: Any, ready: Any, address: Any, weights: Any, begin: Any, end: Any, target: Any, width: Any
) -> Any:
    """The same of numbers that do not fill a vector, or have weights."""
    floor, flipped = least(like, job), flip(job, like)
    up, slope = spread(like, ready + UPS), spread(like, ready + SLOPES)
    if job[PRODUCTS] != 0:
        parts, part = factors(job, like), spread(like, ready + PARTS)
        for i in range(begin, end, lanes(like)):
            counts, share = real(like, weights, i, end)
            mask = first_lanes(like, int32(end - i))
            x = get(like, address + i * size(like), mask)
            g = by_products(x, share, floor, parts, up, part, slope, flipped)
            give(like, mask, job, target + i * width, select(counts, g, ZERO(g)))
        return 0.0
    base, rest = spread(bits(like), ready + BASES), spread(like, ready + RESTS)
    steep, low, high = spread(like, ready + STEEPS), spread(like, ready + LOWS), spread(like, ready + HIGHS)
    total = full(like, 0.0)
    for i in range(begin, end, lanes(like)):
        counts, share = real(like, weights, i, end)
        mask = first_lanes(like, int32(end - i))
        x = get(like, address + i * size(like), mask)
        g, of_power = by_ratios(x, share, floor, up, base, rest, steep, low, high, slope, flipped)
        total = total + select(counts, of_power, ZERO(total))
        give(like, mask, job, target + i * width, select(counts, g, ZERO(g)))
    return float64(add_lanes(total))


@inline
def write_item(wide: Any, like: Any, job: Any, scratch: Any, i: Any, k: Any) -> None:
    """Writes the gradients of a cell, or of a piece of it."""
    cell, part_of = item(job, i)
    begin, end = span(job, cell)
    start, stop = piece(job, begin, end, part_of)
    width = size(like) if job[KIND] == 0 else 2
    ready, total = scratch + READY + k * size(like), 0.0
    while start < stop:
        n = min(stop - start, int64(STRETCH))
        stored, weights = located(like, job, cell, begin, start)
        address = widened(like, job, scratch, stored, n)
        target, done = target_of(job, cell, begin, start, width), int64(0)
        if weights == 0:
            # Masks make stores slow: as few as can be.
            wholes, done = n // lanes(wide) * lanes(wide), n // lanes(like) * lanes(like)
            if wholes > 0:
                total += write_whole(wide, job, ready, address, int64(0), wholes, target, width)
            if wholes < done:
                total += write_whole(like, job, ready, address, wholes, done, target, width)
        if done < n:
            total += write_rest(like, job, ready, address, weights, done, n, target, width)
        start += n
    if job[G_POWER] != 0:
        total *= float64(read_like(like, ready + OF_POWER))
        write_like(like, job[G_POWER] + i * size(like), total)


@inline
def write_handful(wide: Any, like: Any, job: Any, scratch: Any, first: Any, count: Any) -> None:
    """Cells, or a piece of one."""
    head, _ = item(job, first)
    for k in range(count):
        cell = head + k
        begin, end = span(job, cell)
        mass = float64(end - begin)
        if job[WEIGHT] != 0:
            image = cell // job[CHANNELS] if job[CELLS] > 1 else int64(0)
            mass = float64(read_like(like, job[MASS] + image * size(like)))
        write_like(like, scratch + WEIGHTS + k * size(like), 1.0 / mass if mass != 0.0 else 0.0)
        write_like(like, scratch + EXPONENTS + k * size(like), power_of(like, job, cell))
    mask = first_lanes(like, int32(count))
    out, g = get(like, job[OUT] + head * size(like), mask), get(like, job[G_OUT] + head * size(like), mask)
    p, part = get(like, scratch + EXPONENTS, mask), get(like, scratch + WEIGHTS, mask)
    prepare(like, mask, scratch + READY, out, g, p, part)
    for k in range(count):
        write_item(wide, like, job, scratch, first + k, k)


def gradients_of_stretches(pointer: Any) -> None:
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
            write_handful(wide, like, job, scratch, first, count)
            first += count
    fence()  # after stores past the cache
