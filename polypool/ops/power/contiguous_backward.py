"""Gradients of power means of cells whose numbers follow each other in memory.

What gradients are made of is the same for a whole cell. It is laid out in memory for each lane of a vector, so that a
vector may hold the end of one short cell and the beginning of the next.
"""

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
from polypool.ops.cpu.vec import bits, fence, fetch_add, first_lanes, full, select, sum_lanes
from polypool.ops.cpu.vmath import ZERO
from polypool.ops.cpu.walk import get, inline, item, piece, span
from polypool.ops.power.contiguous import handful
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

#: Cells of at most `SHORTEST` numbers are read together, up to `TOGETHER` numbers.
SHORTEST, TOGETHER = 128, 1024
#: Behind a stretch: what is prepared for the gradients of a handful of cells, and of each its p and 1 / W; what numbers
#: add to the gradient of p; and what is prepared, laid out for numbers.
READY = STRETCH_BYTES
EXPONENTS = READY + PREPARED
WEIGHTS = EXPONENTS + 256
ADDED = WEIGHTS + 256
LAID = ADDED + 8 * (TOGETHER + 64)
EACH = 8 * (TOGETHER + 64)
LAYERS = (UPS, PARTS, BASES, RESTS, LOWS, HIGHS, SLOPES)
HANDFUL_BYTES = LAID + EACH * len(LAYERS)
#: How many numbers ahead memory is asked for.
AHEAD = 1024


@inline
def lay(wide: Any, scratch: Any, k: Any, begin: Any, n: Any) -> None:
    """Lays out what is prepared for a cell of a handful for n numbers, and some that the next cell may take."""
    for layer, at in enumerate(LAYERS):
        v = spread(wide, scratch + READY + at + k * size(wide))
        for i in range(begin, begin + n, lanes(wide)):
            store(scratch + LAID + layer * EACH + i * size(wide), v)


@inline
def slopes_of(like: Any, job: Any, scratch: Any, off: Any, x: Any, share: Any) -> Any:
    """The gradients of a vector of numbers, and what they add to that of p."""
    laid, floor, flipped = scratch + LAID + off, least(like, job), flip(job, like)
    up, slope = load(like, laid), load(like, laid + 6 * EACH)
    if job[PRODUCTS] != 0:
        part = load(like, laid + EACH)
        return by_products(x, share, floor, factors(job, like), up, part, slope, flipped), ZERO(x)
    base, rest = load(bits(like), laid + 2 * EACH), load(like, laid + 3 * EACH)
    low, high, steep = load(like, laid + 4 * EACH), load(like, laid + 5 * EACH), load(like, scratch + READY + STEEPS)
    return by_ratios(x, share, floor, up, base, rest, steep, low, high, slope, flipped)
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
            count = handful(like, job, first, end)
            write_handful(wide, like, job, scratch, first, count)
            first += count
    fence()  # after stores past the cache
