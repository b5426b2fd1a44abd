"""From work items to staged tiles."""

from __future__ import annotations

from typing import Any

from numba import int32, int64

from polypool.ops.cpu.job import CELLS, CHANNELS
from polypool.ops.cpu.vec import load, places, read_i64, store, write_i64
from polypool.ops.order.call import address_of, feed
from polypool.ops.order.fields import (
    CHUNK,
    GROUP,
    HEIGHT,
    JOB,
    ONES,
    PRESENT,
    ROOM,
    STAGED_ROWS,
    TILE_ROW,
    TILES,
    N,
)
from polypool.ops.order.lanes import apart
from polypool.ops.order.split import clear, survey, together
from polypool.ops.order.tile import describe_cells, describe_parts, describe_rows

#: Contiguous cells of more members are split one by one, of fewer as many at once as there are lanes.
LONG = 1024


@apart
def describe(like: Any, job: Any, pointer: Any, scratch: Any, i: Any) -> Any:
    """Describes the tile of a work item; or returns how many cells it has that are tiles of their own, else 0."""
    write_i64(scratch + JOB, address_of(pointer))
    store(scratch + ONES, places(like, int32(1)))
    if job[TILES] != 0:
        describe_rows(like, job, scratch, i)
        return int64(0)
    first = i * job[GROUP]
    used = min(job[GROUP], job[CELLS] * job[CHANNELS] - first)
    describe_cells(like, job, scratch, first, used)
    return used if job[GROUP] == 1 or read_i64(scratch + HEIGHT) > LONG else int64(0)


@apart
def stage(like: Any, job: Any, scratch: Any, cell: Any) -> None:
    """Brings a tile into scratch memory where it fits: the one that is described, or a cell of its own from 0 on."""
    if cell >= 0:
        describe_parts(like, job, scratch, cell)
    height = read_i64(scratch + HEIGHT)
    if height > job[ROOM]:  # how many are NaN will be known when it is read
        store(scratch + PRESENT, load(places(like, int32(0)), scratch + N))
        return
    clear(like, scratch)
    for r in range(0, height, CHUNK):
        m, to = min(int64(CHUNK), height - r), scratch + STAGED_ROWS + r * TILE_ROW
        feed(job, scratch, r, m, to)
        survey(like, scratch, to, m)
    together(like, scratch)
