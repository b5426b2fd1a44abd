"""Asking for the memory of the next tile while this one is worked on: reading and counting then take turns no more."""

from __future__ import annotations

from typing import Any

from numba import int64

from polypool.ops.cpu.job import CELLS, KIND, ROW, ROWS
from polypool.ops.cpu.like import lanes, size
from polypool.ops.cpu.vec import prefetch, read_i64, write_i64
from polypool.ops.cpu.walk import inline, span, whereabouts
from polypool.ops.order.fields import (
    ASKED,
    NEXT_BEGIN,
    NEXT_HEIGHT,
    NEXT_ORIGIN,
    NEXT_ROW,
    TILE_ROW,
    TILES,
)
from polypool.ops.order.lanes import apart

#: Into how many portions the memory of a tile is divided: about as many as there are passes over the one before.
_PORTIONS = 12


@inline
def _next_is(scratch: Any, origin: Any, begin: Any, height: Any, row: Any) -> None:
    write_i64(scratch + NEXT_ORIGIN, origin)
    write_i64(scratch + NEXT_BEGIN, begin)
    write_i64(scratch + NEXT_HEIGHT, height)
    write_i64(scratch + NEXT_ROW, row)
    write_i64(scratch + ASKED, 0)


@inline
def next_rows(like: Any, job: Any, scratch: Any, i: Any) -> None:
    """The next tile is the work item i: more channels of the same cell, or the first ones of the next cell."""
    cell = i // job[TILES]
    if cell >= job[CELLS]:
        _next_is(scratch, int64(0), int64(0), int64(0), int64(0))
        return
    begin, end = span(job, cell)
    origin, _ = whereabouts(job, cell, begin)
    t = (i - cell * job[TILES]) * lanes(like) * (size(like) if job[KIND] == 0 else 2)
    _next_is(scratch, origin + t, begin, end - begin, job[ROW])


@inline
def next_numbers(scratch: Any, address: Any, height: Any) -> None:
    """The next tile lies behind an address."""
    _next_is(scratch, address, int64(0), height, int64(TILE_ROW))


@apart
def ask(job: Any, scratch: Any) -> None:
    """Asks for one portion."""
    asked, height = read_i64(scratch + ASKED), read_i64(scratch + NEXT_HEIGHT)
    if asked >= height:
        return
    origin, begin, row = (
        read_i64(scratch + NEXT_ORIGIN),
        read_i64(scratch + NEXT_BEGIN),
        read_i64(scratch + NEXT_ROW),
    )
    stop = min(asked + height // _PORTIONS + 1, height)
    for i in range(begin + asked, begin + stop):
        address = origin + (i if job[ROWS] == 0 else read_i64(job[ROWS] + 8 * i)) * row
        prefetch(address)
        prefetch(address + TILE_ROW // 2)
    write_i64(scratch + ASKED, stop)
