"""How kernels go through the members of a cell: blocks of rows, or stretches of consecutive numbers.

A block is read twice or more where an operation needs it (its mean first, the deviations after), and is small enough to
stay in the cache; while it is, the memory behind the next one is asked for.
"""

from __future__ import annotations

from typing import Any

from numba import float64, int32, int64, njit

from polypool.ops.cpu.job import (
    CELL,
    CELLS,
    FIRST,
    HEADS,
    KIND,
    LENGTH,
    OFFSETS,
    PIECE,
    PIECES,
    ROW,
    ROWS,
    VALUES,
    WEIGHT,
)
from polypool.ops.cpu.like import from_single, lanes, read_like, single, size, write_like
from polypool.ops.cpu.vec import (
    HAS_F16,
    load,
    load_bf16,
    load_bf16_some,
    load_f16,
    load_f16_some,
    load_some,
    prefetch,
    read_i64,
    store,
    store_some,
    write_i32,
    write_i64,
)

# Nothing calls these from Python: without what is needed for that they compile in three quarters of the time.
inline = njit(forceinline=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)

#: Rows in a block.
BLOCK = 64
#: What a block keeps of each row: its address, the address of the row a block later, its place in the cell and its
#: weight; for values in half precision addresses and memory of a copy in float32, `STAGE_ROW` bytes a row; and where
#: its gradient is written.
AHEAD, PLACE, SHARE, STAGED, TARGET, STAGE = (i * BLOCK for i in (8, 16, 20, 28, 36, 44))
STAGE_ROW = 256
#: Bytes of all that.
BLOCK_BYTES = STAGE + STAGE_ROW * BLOCK


@inline
def get(like: Any, address: Any, mask: Any) -> Any:
    """A vector from memory, whole or the lanes of a mask."""
    if mask is None:
        return load(like, address)
    return load_some(like, address, mask)


@inline
def put(address: Any, v: Any, mask: Any) -> None:
    """A vector to memory, whole or the lanes of a mask."""
    if mask is None:
        store(address, v)
    else:
        store_some(address, v, mask)


@inline
def item(job: Any, i: Any) -> Any:
    """A work item: its cell, where the cell begins, and where the piece of it begins and ends."""
    cell, part = i, int64(0)
    if job[FIRST] != 0:
        low, high = int64(0), job[CELLS]  # the last cell whose first piece is at or before i
        while high - low > 1:
            middle = (low + high) // 2
            if read_i64(job[FIRST] + 8 * middle) <= i:
                low = middle
            else:
                high = middle
        cell = low
        part = i - read_i64(job[FIRST] + 8 * cell)
    elif job[PIECES] > 1:
        cell = i // job[PIECES]
        part = i - cell * job[PIECES]
    return cell, part


@inline
def span(job: Any, cell: Any) -> Any:
    """Where a cell begins and ends, in the list or counted through the batch."""
    if job[OFFSETS] != 0:
        return read_i64(job[OFFSETS] + 8 * cell), read_i64(job[OFFSETS] + 8 * cell + 8)
    return cell * job[LENGTH], (cell + 1) * job[LENGTH]


@inline
def pieces_of(job: Any, cell: Any) -> Any:
    """The number of a cell's first piece, and how many there are."""
    if job[FIRST] != 0:
        first = read_i64(job[FIRST] + 8 * cell)
        return first, read_i64(job[FIRST] + 8 * cell + 8) - first
    return cell * job[PIECES], job[PIECES]


@inline
def piece(job: Any, begin: Any, end: Any, part: Any) -> Any:
    """Where a piece of a cell begins and ends."""
    start = begin + part * job[PIECE]
    return start, min(end, start + job[PIECE])


@inline
def whereabouts(job: Any, cell: Any, begin: Any) -> Any:
    """The address of row 0, and the last row of the list that may be asked for ahead of time."""
    origin = job[VALUES] + cell * job[CELL]
    if job[OFFSETS] == 0:  # rows are counted through the batch, addresses from the cell
        return origin - begin * job[ROW], job[CELLS] * job[LENGTH] - 1
    return origin, read_i64(job[OFFSETS] + 8 * job[CELLS]) - 1


@inline
def block(
    like: Any, job: Any, scratch: Any, origin: Any, begin: Any, r: Any, end: Any, last: Any, head: Any
) -> Any:
    """Writes down the rows of the next block: at most `BLOCK`, those of weight 0 left out.

    Returns the row after it, how many it holds and the sum of their weights.
    """
    m, mass = int64(0), 0.0
    rows, stride, width = job[ROWS], job[ROW], size(like)
    if job[WEIGHT] == 0:
        m = min(int64(BLOCK), end - r)
        mass = float64(m)
        for i in range(m):
            here, ahead = r + i, min(r + i + BLOCK, last)
            if rows != 0:
                here, ahead = read_i64(rows + 8 * here), read_i64(rows + 8 * ahead)
            write_i64(scratch + 8 * i, origin + here * stride)
            write_i64(scratch + AHEAD + 8 * i, origin + ahead * stride)
            write_i32(scratch + PLACE + 4 * i, int32(r + i - begin))
        r += m
    else:
        while r < end and m < BLOCK:
            share = read_like(like, job[WEIGHT] + (r * job[HEADS] + head) * width)
            if share != 0:
                here, ahead = r, min(r + BLOCK, last)
                if rows != 0:
                    here, ahead = read_i64(rows + 8 * here), read_i64(rows + 8 * ahead)
                write_i64(scratch + 8 * m, origin + here * stride)
                write_i64(scratch + AHEAD + 8 * m, origin + ahead * stride)
                write_i32(scratch + PLACE + 4 * m, int32(r - begin))
                write_like(like, scratch + SHARE + width * m, share)
                mass += float64(share)
                m += 1
            r += 1
    return r, m, mass


@inline
def open_block(like: Any, scratch: Any) -> None:
    """Makes the scratch memory of a thread ready for blocks."""
    for i in range(BLOCK):
        write_i64(scratch + STAGED + 8 * i, scratch + STAGE + STAGE_ROW * i)
        write_like(like, scratch + SHARE + size(like) * i, 1.0)


@inline
def stage(like: Any, mask: Any, job: Any, scratch: Any, t: Any, m: Any) -> Any:
    """Where the addresses of m rows are and how far channel t is from them; half precision is widened on the way."""
    kind = job[KIND]
    if kind == 0:
        return scratch, t * size(like)
    for i in range(m):
        address = read_i64(scratch + 8 * i) + 2 * t
        put(scratch + STAGE + STAGE_ROW * i, half(like, address, mask, kind), mask)
    return scratch + STAGED, int64(0)


@inline
def half(like: Any, address: Any, mask: Any, kind: Any) -> Any:
    """A vector of the type of `like` from numbers in half precision."""
    x = single(like)
    if kind == 1:
        x = load_bf16(x, address) if mask is None else load_bf16_some(x, address, mask)
    elif HAS_F16:  # elsewhere LLVM would call a function that is not there
        x = load_f16(x, address) if mask is None else load_f16_some(x, address, mask)
    return from_single(like, x)


@inline
def ahead(like: Any, scratch: Any, t: Any, i: Any, kind: Any) -> None:
    """Asks for the memory that the next block will read in place of row i of this one."""
    width = size(like) if kind == 0 else 2
    address = read_i64(scratch + AHEAD + 8 * i) + t * width
    for line in range(0, lanes(like) * width, 64):
        prefetch(address + line)
