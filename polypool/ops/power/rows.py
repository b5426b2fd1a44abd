"""Power means of cells whose rows lie side by side in memory.

One block of rows at a time. Its powers are summed in one pass over it; a sum that float32 could not hold is thrown
away, and the rest of the cell goes another way: the largest member of the block in a first pass, powers of ratios to
the largest of the cell so far in a second one, which finds the block in the cache. Blocks are joined in float64.
"""

from __future__ import annotations

from typing import Any

from numba import carray, int32, int64

from polypool.ops.cpu.compiler import TAIL, WIDE
from polypool.ops.cpu.job import (
    CHANNELS,
    GRAIN,
    ITEMS,
    KIND,
    NEXT,
    SCRATCH,
    SCRATCH_BYTES,
    SIZE,
    STATES,
    WORKER,
)
from polypool.ops.cpu.like import as_double, as_like, doubled, lanes, size, spread
from polypool.ops.cpu.vec import (
    any_lane,
    bits,
    fetch_add,
    first_lanes,
    from_bits,
    full,
    read_i64,
    select,
    write_f64,
)
from polypool.ops.cpu.vmath import NAN, ONE
from polypool.ops.cpu.walk import (
    BLOCK_BYTES,
    SHARE,
    ahead,
    block,
    get,
    inline,
    item,
    open_block,
    piece,
    pieces_of,
    put,
    span,
    stage,
    whereabouts,
)
from polypool.ops.power.bounds import ROOM, WIDE_ROOM, held
from polypool.ops.power.fields import PLAIN, PRODUCTS, STATE
from polypool.ops.power.finish import finish
from polypool.ops.power.products import factors, product
from polypool.ops.power.ratios import (
    BASES,
    LIMITS,
    LOWS,
    PREPARED,
    RESTS,
    STEEPS,
    TOPS,
    UPS,
    grounded,
    powers,
    prepare,
    shrunk,
)
from polypool.ops.power.terms import NOTHING, SIZE_BITS, clamped, larger, least, power, sign_kept

#: Behind what a block keeps: what is prepared for powers; then what is known of the cell.
READY = BLOCK_BYTES
KNOWN = READY + PREPARED


@inline
def add_products(
    like: Any,
    mask: Any,
    job: Any,
    scratch: Any,
    known: Any,
    row: Any,
    rows: Any,
    off: Any,
    t: Any,
    m: Any,
    mass: Any,
    before: Any,
) -> Any:
    """Adds the products of a block of m rows to what is known; does nothing and says so where they are not exact."""
    parts, sign, floor = factors(job, like), sign_kept(job, like), least(like, job)
    total, seen = full(like, 0.0), NOTHING(bits(like))
    for i in range(m):
        x = bits(clamped(floor, get(like, read_i64(rows + 8 * i) + off, mask)))
        total = total + product(x, sign, parts) * spread(like, scratch + SHARE + size(like) * i)
        seen = seen | (x & SIZE_BITS(x))
        ahead(like, scratch, t, i, job[KIND])
    if any_lane(~held(total, seen, mass, True)):
        return False
    wide = as_double(total)
    if before != 0.0:
        wide = get(wide, known, mask) + wide
    else:
        put(known + row, ONE(wide), mask)
    put(known, wide, mask)
    return True


@inline
def find_tops(like: Any, mask: Any, job: Any, scratch: Any, rows: Any, off: Any, m: Any) -> None:
    """The largest member of each channel of a block; NaN where there is one."""
    top, floor = NOTHING(bits(like)), least(like, job)
    for i in range(m):
        x = bits(clamped(floor, get(like, read_i64(rows + 8 * i) + off, mask)))
        top = larger(x & SIZE_BITS(x), top)
    put(scratch + READY + TOPS, from_bits(top), mask)


@inline
def settle(
    like: Any,
    mask: Any,
    job: Any,
    scratch: Any,
    known: Any,
    row: Any,
    t: Any,
    before: Any,
    fresh: Any,
    plain: Any,
) -> None:
    """Makes the channels of one short vector ready for powers.

    If tops of a new block have been found (`fresh`), what is known of the cell is brought to them.
    """
    p, total = power(like, mask, job, t), doubled(like)
    top, old = ONE(p), ONE(total)
    if not plain:
        old = total
        if before != 0.0:
            total = get(total, known, mask)
            old = grounded(total, get(total, known + row, mask))
        top = as_like(like, old)
        if fresh:
            top = from_bits(larger(bits(get(like, scratch + READY + TOPS, mask)), bits(top)))
            if before != 0.0:
                put(known, total * shrunk(old, as_double(top), as_double(p)), mask)
    put(known + row, as_double(top), mask)
    prepare(like, mask, scratch + READY, top, p, WIDE_ROOM if plain else ROOM)


@inline
def add_powers(
    like: Any,
    mask: Any,
    job: Any,
    scratch: Any,
    known: Any,
    rows: Any,
    off: Any,
    t: Any,
    m: Any,
    mass: Any,
    before: Any,
    fresh: Any,
    plain: Any,
) -> Any:
    """Adds the powers of a block of m rows to what is known; does nothing and says so where a top does not suit."""
    ready = scratch + READY
    top, up = get(like, ready + TOPS, mask), get(like, ready + UPS, mask)
    base, rest = get(bits(like), ready + BASES, mask), get(like, ready + RESTS, mask)
    p, low = get(like, ready + STEEPS, mask), get(like, ready + LOWS, mask)
    total, most = full(like, 0.0), NOTHING(bits(like))
    sign, floor = sign_kept(job, like), least(like, job)
    for i in range(m):
        x = bits(clamped(floor, get(like, read_i64(rows + 8 * i) + off, mask)))
        most = larger(x & SIZE_BITS(x), most)
        y = powers(x, sign, up, base, rest, p, low)
        total = total + y * spread(like, scratch + SHARE + size(like) * i)
        ahead(like, scratch, t, i, job[KIND])
    if not fresh and any_lane(most > bits(get(like, ready + LIMITS, mask))):
        return False
    if plain and any_lane(~held(total, most, mass, False)):
        return False
    wide = as_double(select(top == top, total, NAN(top)))
    if before != 0.0:
        wide = get(wide, known, mask) + wide
    put(known, wide, mask)
    return True


@inline
def add(
    like: Any,
    tail: Any,
    mask: Any,
    job: Any,
    scratch: Any,
    state: Any,
    t: Any,
    m: Any,
    mass: Any,
    before: Any,
    plain: Any,
) -> Any:
    """Adds a block of m rows, for the channels of one vector from t on, to a cell of which the mass `before` is known.

    Returns whether the top is still 1 (`plain`).
    """
    rows, off = stage(like, mask, job, scratch, t, m)
    edge, known = job[CHANNELS], state + 8 * t
    products = plain and job[PRODUCTS] != 0
    if products and add_products(like, mask, job, scratch, known, 8 * edge, rows, off, t, m, mass, before):
        return True
    plain = plain and not products
    fresh = before == 0.0 and not plain
    while True:
        if fresh:
            find_tops(like, mask, job, scratch, rows, off, m)
        for at in range(0, min(lanes(like), edge - t), lanes(tail)):
            some = first_lanes(tail, int32(edge - t - at))
            there = scratch + at * size(like)
            settle(tail, some, job, there, known + 8 * at, 8 * edge, t + at, before, fresh, plain)
        if add_powers(like, mask, job, scratch, known, rows, off, t, m, mass, before, fresh, plain):
            return plain
        fresh, plain = True, False


@inline
def read_piece(wide: Any, tail: Any, job: Any, scratch: Any, i: Any) -> None:
    """A cell, or one piece of it."""
    cell, part = item(job, i)
    begin, end = span(job, cell)
    _, pieces = pieces_of(job, cell)
    start, stop = piece(job, begin, end, part)
    origin, last = whereabouts(job, cell, begin)
    edge = job[CHANNELS]
    state = scratch + KNOWN
    if pieces > 1:
        state = job[STATES] + i * STATE * 8 * edge
    r, before, plain = start, 0.0, job[PLAIN] != 0
    while r < stop:
        r, m, mass = block(wide, job, scratch, origin, begin, r, stop, last, int64(0))
        if m > 0:
            t, still = int64(0), plain
            while t + lanes(wide) <= edge:
                still = add(wide, tail, None, job, scratch, state, t, m, mass, before, plain) and still
                t += lanes(wide)
            while t < edge:
                mask = first_lanes(tail, int32(edge - t))
                still = add(tail, tail, mask, job, scratch, state, t, m, mass, before, plain) and still
                t += lanes(tail)
            before += mass
            plain = still
    if pieces > 1:
        write_f64(state + 16 * edge, before)
    else:
        finish(tail, job, state, before, cell)


def powers_of_rows(pointer: Any) -> None:
    """The kernel."""
    job = carray(pointer, SIZE)
    wide, tail = WIDE(0), TAIL(0)
    scratch = job[SCRATCH] + fetch_add(pointer, WORKER, 1) * job[SCRATCH_BYTES]
    open_block(wide, scratch)
    while True:
        begin = fetch_add(pointer, NEXT, job[GRAIN])
        if begin >= job[ITEMS]:
            break
        for i in range(begin, min(begin + job[GRAIN], job[ITEMS])):
            read_piece(wide, tail, job, scratch, i)
