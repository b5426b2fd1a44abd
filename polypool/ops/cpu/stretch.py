"""How kernels go through cells whose numbers follow each other in memory, such as one channel of one image."""

from __future__ import annotations

from typing import Any

from numba import int32, int64

from polypool.ops.cpu.job import CELL, CELLS, CHANNELS, HEADS, KIND, LENGTH, OFFSETS, ROW, VALUES, WEIGHT
from polypool.ops.cpu.like import lanes, size
from polypool.ops.cpu.vec import first_lanes, full, load_some, prefetch
from polypool.ops.cpu.walk import half, inline, put

#: Numbers that are read together: few enough to stay in the first-level cache.
STRETCH = 1024
#: Scratch memory for a stretch of half precision as float32.
STRETCH_BYTES = 4 * STRETCH


@inline
def located(like: Any, job: Any, cell: Any, begin: Any, start: Any) -> Any:
    """The address of the number at `start` in a cell that begins at `begin`, and of its weight; 0 without weights."""
    width = size(like) if job[KIND] == 0 else 2
    if job[OFFSETS] != 0:
        return job[VALUES] + start * width, job[WEIGHT] + start * size(like) if job[WEIGHT] != 0 else int64(0)
    batch = cell // job[CHANNELS] if job[CELLS] > 1 else int64(0)
    address = job[VALUES] + batch * job[ROW] + (cell - batch * job[CHANNELS]) * job[CELL]
    weights = job[WEIGHT]
    if weights != 0:
        head = (cell - batch * job[CHANNELS]) * job[HEADS] // job[CHANNELS]
        weights += ((batch * job[HEADS] + head) * job[LENGTH] + start - begin) * size(like)
    return address + (start - begin) * width, weights


@inline
def widened(like: Any, job: Any, scratch: Any, address: Any, n: Any) -> Any:
    """Where n numbers are in the precision that is computed with: at their address, or copied to the scratch memory."""
    kind = job[KIND]
    if kind == 0:
        return address
    whole = n - n % lanes(like)
    for i in range(0, whole, lanes(like)):
        put(scratch + 4 * i, half(like, address + 2 * i, None, kind), None)
    if whole < n:
        mask = first_lanes(like, int32(n - whole))
        put(scratch + 4 * whole, half(like, address + 2 * whole, mask, kind), mask)
    return scratch


@inline
def real(like: Any, weights: Any, i: Any, n: Any) -> Any:
    """Which lanes of a vector from number i on are among n and have a weight above 0, and the weights."""
    mask = first_lanes(like, int32(n - i))
    if weights == 0:
        return mask, full(like, 1.0)
    share = load_some(like, weights + i * size(like), mask)
    return mask & (share != full(like, 0.0)), share


@inline
def ask(like: Any, address: Any) -> None:
    """Asks for the memory of a vector ahead of time."""
    for at in range(0, lanes(like) * size(like), 64):
        prefetch(address + at)
