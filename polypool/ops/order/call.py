"""Machine code that is compiled once and called from several kernels, by its address.

What a kernel calls by name is compiled into it, and again into each function between the two.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import carray, types

from polypool.ops.cpu.job import SIZE
from polypool.ops.cpu.vec import I64, native, read_i64, write_i64
from polypool.ops.cpu.walk import inline
from polypool.ops.order.fields import FEED, FEED_FROM, FEED_ROWS, FEED_TO, JOB


@native(lambda address: types.CPointer(types.int64)(types.int64))
def pointed(builder: Any, sig: Any, address: Any) -> Any:
    """A pointer to int64 from an address."""
    return builder.inttoptr(address, I64.as_pointer())


@native(lambda pointer: types.int64(pointer))
def address_of(builder: Any, sig: Any, pointer: Any) -> Any:
    """The address that a pointer holds."""
    return builder.ptrtoint(pointer, I64)


@native(lambda function, address: types.void(types.int64, types.int64))
def run_at(builder: Any, sig: Any, function: Any, address: Any) -> None:
    """Calls the kernel that begins at an address with a pointer to another one."""
    pointer = I64.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer])
    builder.call(builder.inttoptr(function, kind.as_pointer()), [builder.inttoptr(address, pointer)])


@inline
def job_of(scratch: Any) -> Any:
    """The job that the owner of some scratch memory works on."""
    return carray(pointed(read_i64(scratch + JOB)), SIZE)


@inline
def feed(job: Any, scratch: Any, r: Any, m: Any, to: Any) -> None:
    """Copies m rows of a tile, from row r on, in the precision that is computed with."""
    write_i64(scratch + FEED_FROM, r)
    write_i64(scratch + FEED_ROWS, m)
    write_i64(scratch + FEED_TO, to)
    run_at(job[FEED], scratch)
