"""The rows of a tile, some after the others: staged as a whole, or where it is too long a chunk at a time."""

from __future__ import annotations

from typing import Any

from numba import int64

from polypool.ops.cpu.vec import read_i64
from polypool.ops.cpu.walk import inline
from polypool.ops.order.call import feed
from polypool.ops.order.fields import CHUNK, HEIGHT, ROOM, ROWS_OF_CHUNK, STAGED_ROWS, TILE_ROW


@inline
def chunk(job: Any, scratch: Any, r: Any) -> Any:
    """Where row r of a tile is, and how many rows follow each other from there."""
    height = read_i64(scratch + HEIGHT)
    if height <= job[ROOM]:
        return scratch + STAGED_ROWS + r * TILE_ROW, height - r
    m = min(int64(CHUNK), height - r)
    feed(job, scratch, r, m, scratch + ROWS_OF_CHUNK)
    return scratch + ROWS_OF_CHUNK, m
