"""How kernels write gradients: each row where its values are, in their dtype, past the cache when that pays."""

from __future__ import annotations

from typing import Any

from numba import int64

from polypool.ops.cpu.job import (
    CELL,
    CELLS,
    CHANNELS,
    GRAD,
    GRAD_CELL,
    GRAD_ROW,
    HEADS,
    KIND,
    LENGTH,
    OFFSETS,
    ROW,
    ROWS,
    STREAM,
    VALUES,
    WEIGHT,
)
from polypool.ops.cpu.like import narrowed, read_like, size, write_like
from polypool.ops.cpu.vec import (
    HAS_F16,
    read_i64,
    store_bf16,
    store_bf16_some,
    store_f16,
    store_f16_some,
    store_stream,
    write_i32,
    write_i64,
)
from polypool.ops.cpu.walk import AHEAD, BLOCK, PLACE, SHARE, TARGET, inline, put


@inline
def block(like: Any, job: Any, scratch: Any, cell: Any, begin: Any, r: Any, end: Any, head: Any) -> Any:
    """Writes down the rows of the next block, all of them, and where their gradients go; returns how many."""
    m = min(int64(BLOCK), end - r)
    origin, target = job[VALUES] + cell * job[CELL], job[GRAD] + cell * job[GRAD_CELL]
    last = job[CELLS] * job[LENGTH] - 1
    shift = begin
    if job[OFFSETS] != 0:
        shift, last = int64(0), read_i64(job[OFFSETS] + 8 * job[CELLS]) - 1
    for i in range(m):
        here, then = r + i, min(r + i + BLOCK, last)
        if job[ROWS] != 0:
            here, then = read_i64(job[ROWS] + 8 * here), read_i64(job[ROWS] + 8 * then)
        write_i64(scratch + 8 * i, origin + (here - shift) * job[ROW])
        write_i64(scratch + AHEAD + 8 * i, origin + (then - shift) * job[ROW])
        write_i64(scratch + TARGET + 8 * i, target + (here - shift) * job[GRAD_ROW])
        write_i32(scratch + PLACE + 4 * i, r + i - begin)
        if job[WEIGHT] != 0:
            share = read_like(like, job[WEIGHT] + ((r + i) * job[HEADS] + head) * size(like))
            write_like(like, scratch + SHARE + size(like) * i, share)
    return m


@inline
def target_of(job: Any, cell: Any, begin: Any, start: Any, width: Any) -> Any:
    """Where the gradient of the number at `start` of a contiguous cell goes."""
    if job[OFFSETS] != 0:
        return job[GRAD] + start * width
    batch = cell // job[CHANNELS] if job[CELLS] > 1 else int64(0)
    channel = cell - batch * job[CHANNELS]
    return job[GRAD] + batch * job[GRAD_ROW] + channel * job[GRAD_CELL] + (start - begin) * width


@inline
def give(like: Any, mask: Any, job: Any, address: Any, v: Any) -> None:
    """Writes a vector of a gradient in the dtype of the values."""
    kind = job[KIND]
    if kind == 0:
        if mask is None and job[STREAM] != 0:
            store_stream(address, v)
        else:
            put(address, v, mask)
    elif kind == 1:
        x = narrowed(v)
        if mask is None:
            store_bf16(address, x)
        else:
            store_bf16_some(address, x, mask)
    elif HAS_F16:
        x = narrowed(v)
        if mask is None:
            store_f16(address, x)
        else:
            store_f16_some(address, x, mask)
