"""How tiles come into scratch memory.

Where there is no number, because a lane is shorter than others or a place is padding, there is a NaN: it is neither
less than a pivot nor more, so that nobody has to ask again.
"""

from __future__ import annotations

from typing import Any

from numba import int32, int64

from polypool.ops.cpu.compiler import TAIL
from polypool.ops.cpu.job import KIND, ROW, ROWS, WEIGHT
from polypool.ops.cpu.like import lanes, read_like, size
from polypool.ops.cpu.vec import first_lanes, full, prefetch, read_i64, select, store
from polypool.ops.cpu.walk import get, half, inline
from polypool.ops.order.call import address_of, job_of
from polypool.ops.order.fields import (
    BASE,
    BEGIN,
    CHUNK,
    EXTENT,
    FEED_FROM,
    FEED_ROWS,
    FEED_TO,
    HEIGHT,
    ORIGIN,
    ROOM,
    SHARES,
    SQUARE,
    TILE_ROW,
    USED,
)
from polypool.ops.order.lanes import NAN, paired, transpose


@inline
def _stored(like: Any, mask: Any, address: Any, kind: Any) -> Any:
    return get(like, address, mask) if kind == 0 else half(like, address, mask, kind)


@inline
def _feed_rows(like: Any, mask: Any, job: Any, scratch: Any, r: Any, m: Any, to: Any) -> None:
    origin, begin, kind = read_i64(scratch + ORIGIN), read_i64(scratch + BEGIN) + r, job[KIND]
    left = read_i64(scratch + HEIGHT) - r - 1
    ahead = read_i64(scratch + HEIGHT) > job[ROOM]
    for i in range(m):
        row, then = begin + i, begin + min(i + CHUNK, left)
        if job[ROWS] != 0:
            row, then = read_i64(job[ROWS] + 8 * row), read_i64(job[ROWS] + 8 * then)
        if ahead:
            then = origin + then * job[ROW]
            prefetch(then)
            prefetch(then + TILE_ROW // 2)
        x = _stored(like, mask, origin + row * job[ROW], kind)
        if mask is not None:
            x = select(mask, x, NAN(x))
        if job[WEIGHT] != 0 and read_like(like, job[WEIGHT] + (begin + i) * size(like)) == 0:
            x = NAN(x)
        store(to + i * TILE_ROW, x)


@inline
def _segment(tail: Any, job: Any, scratch: Any, lane: Any, i: Any) -> Any:
    """The numbers of a lane from i on, as many as there are lanes in `tail`."""
    left = read_i64(scratch + EXTENT + 8 * lane) - i
    if left <= 0:
        return NAN(tail)
    kind, width = job[KIND], size(tail) if job[KIND] == 0 else int64(2)
    address = read_i64(scratch + BASE + 8 * lane) + i * width
    if left >= lanes(tail) and job[WEIGHT] == 0:
        return _stored(tail, None, address, kind)
    mask = first_lanes(tail, int32(min(left, lanes(tail))))
    x = _stored(tail, mask, address, kind)
    if job[WEIGHT] != 0:
        share = get(tail, read_i64(scratch + SHARES + 8 * lane) + i * size(tail), mask)
        mask = mask & (share != full(tail, 0.0))
    return select(mask, x, NAN(x))


def feed_tiles(pointer: Any) -> None:
    """Copies some rows of a tile, as its owner has written down, in the precision that is computed with."""
    scratch = address_of(pointer)
    job, tail = job_of(scratch), TAIL(0)
    like = paired(tail)
    r, m, to = read_i64(scratch + FEED_FROM), read_i64(scratch + FEED_ROWS), read_i64(scratch + FEED_TO)
    if read_i64(scratch + ORIGIN) == 0:
        _feed_cells(tail, job, scratch, r, m, to)
    elif read_i64(scratch + USED) == lanes(like):
        _feed_rows(like, None, job, scratch, r, m, to)
    else:
        _feed_rows(like, first_lanes(like, int32(read_i64(scratch + USED))), job, scratch, r, m, to)


@inline
def _feed_cells(tail: Any, job: Any, scratch: Any, r: Any, m: Any, to: Any) -> None:
    for i in range(0, m, lanes(tail)):
        for side in range(2):
            for lane in range(lanes(tail)):
                x = _segment(tail, job, scratch, lane + side * lanes(tail), r + i)
                store(scratch + SQUARE + lane * lanes(tail) * size(tail), x)
            transpose(tail, scratch + SQUARE, to + i * TILE_ROW + side * (TILE_ROW // 2), int64(TILE_ROW))
