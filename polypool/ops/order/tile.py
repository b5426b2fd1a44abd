"""Tiles: which numbers are in which lanes."""

from __future__ import annotations

from typing import Any

from numba import int32, int64

from polypool.ops.cpu.job import CELLS, CHANNELS, KIND
from polypool.ops.cpu.like import lanes, read_like, size, spread, write_like
from polypool.ops.cpu.stretch import located
from polypool.ops.cpu.vec import (
    counting,
    first_lanes,
    load,
    places,
    read_i64,
    select,
    store,
    write_i64,
)
from polypool.ops.cpu.walk import inline, span, whereabouts
from polypool.ops.order.ask import next_numbers, next_rows
from polypool.ops.order.fields import (
    AT,
    BASE,
    BEGIN,
    EXTENT,
    HEIGHT,
    NUMBER,
    ORIGIN,
    SHARES,
    SHIFT,
    SPREAD,
    STEP,
    TILES,
    USED,
    N,
)
from polypool.ops.order.lanes import apart


@apart
def lookup(like: Any, job: Any, scratch: Any, table: Any, part: Any, to: Any) -> None:
    """Writes down what a table says of the cell of each lane."""
    if job[STEP] == 0:
        store(to, spread(like, table + part * size(like)))
        return
    row, first, used = (
        table + part * job[CELLS] * size(like),
        read_i64(scratch + AT),
        read_i64(scratch + USED),
    )
    if read_i64(scratch + ORIGIN) != 0 or used == 1:
        store(to, spread(like, row + first // job[CHANNELS] * size(like)))
        return
    for lane in range(lanes(like)):
        cell = (first + min(lane, used - 1)) // job[CHANNELS]
        write_like(like, to + lane * size(like), read_like(like, row + cell * size(like)))


@inline
def _describe(none: Any, job: Any, scratch: Any, origin: Any, height: Any, at: Any, used: Any) -> None:
    write_i64(scratch + ORIGIN, origin)
    write_i64(scratch + HEIGHT, height)
    write_i64(scratch + AT, at)
    write_i64(scratch + USED, used)
    write_i64(scratch + SPREAD, 0)
    store(scratch + SHIFT, none)
    lookup(none, job, scratch, job[NUMBER], int64(0), scratch + N)


@apart
def describe_rows(like: Any, job: Any, scratch: Any, i: Any) -> None:
    """Channels of one cell, side by side in its rows."""
    cell, width = i // job[TILES], lanes(like)
    t = (i - cell * job[TILES]) * width
    begin, end = span(job, cell)
    origin, _ = whereabouts(job, cell, begin)
    stored = size(like) if job[KIND] == 0 else 2
    at, used = cell * job[CHANNELS] + t, min(width, job[CHANNELS] - t)
    _describe(places(like, int32(0)), job, scratch, origin + t * stored, end - begin, at, used)
    next_rows(like, job, scratch, i + 1)
    write_i64(scratch + BEGIN, begin)


@apart
def describe_cells(like: Any, job: Any, scratch: Any, first: Any, used: Any) -> None:
    """Contiguous cells, one in each lane."""
    height, behind, width = int64(0), int64(0), size(like) if job[KIND] == 0 else int64(2)
    for lane in range(lanes(like)):
        extent = int64(0)
        if lane < used:
            begin, end = span(job, first + lane)
            extent = end - begin
            address, weights = located(like, job, first + lane, begin, begin)
            behind = address + extent * width
            write_i64(scratch + BASE + 8 * lane, address)
            write_i64(scratch + SHARES + 8 * lane, weights)
        write_i64(scratch + EXTENT + 8 * lane, extent)
        height = max(height, extent)
    none = places(like, int32(0))
    _describe(none, job, scratch, int64(0), height, first, used)
    next_numbers(scratch, behind, height)
    store(scratch + N, select(first_lanes(like, int32(used)), load(none, scratch + N), none))


@apart
def describe_parts(like: Any, job: Any, scratch: Any, cell: Any) -> None:
    """One contiguous cell, a part of it in each lane."""
    begin, end = span(job, cell)
    height = (end - begin + lanes(like) - 1) // lanes(like)
    for lane in range(lanes(like)):
        start = min(begin + lane * height, end)
        address, weights = located(like, job, cell, begin, start)
        write_i64(scratch + BASE + 8 * lane, address)
        write_i64(scratch + SHARES + 8 * lane, weights)
        write_i64(scratch + EXTENT + 8 * lane, min(height, end - start))
    none = places(like, int32(0))
    _describe(none, job, scratch, int64(0), height, cell, int64(1))
    address, _ = located(like, job, cell, begin, end)
    next_numbers(scratch, address, height)
    write_i64(scratch + SPREAD, 1)
    store(scratch + SHIFT, counting(like) * places(like, int32(height)))
