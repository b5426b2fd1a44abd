"""Finding a split, in tiles that are staged and in those that are too long."""

from __future__ import annotations

from typing import Any

from numba import int64

from polypool.ops.cpu.vec import read_i64, write_i64
from polypool.ops.order.aim import aim
from polypool.ops.order.call import run_at
from polypool.ops.order.fields import END, HEIGHT, ROOM, SPLIT_LONG, STAGED_ROWS
from polypool.ops.order.lanes import apart
from polypool.ops.order.split import narrow, surround
from polypool.ops.order.tall import approach

#: Rows from which two pivots at a time are faster.
_TALL = 600


@apart
def find(like: Any, job: Any, scratch: Any, end: Any) -> None:
    """Brings the keys of a tile together around a split."""
    height = read_i64(scratch + HEIGHT)
    if height > job[ROOM]:
        write_i64(scratch + END, end)
        run_at(job[SPLIT_LONG], scratch)
        return
    aim(like, job, scratch, end)
    surround(like, scratch)
    if height > _TALL:
        approach(like, job, scratch, int64(-1))
    else:
        narrow(like, job, scratch, scratch + STAGED_ROWS, height)
