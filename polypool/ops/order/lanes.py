"""Vectors by pairs of registers, floats as ordered integers, and turning lanes into rows."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit
from numba.core import types

from polypool.ops.cpu.vec import BYTES, I32, I64, LLVM, Vec, bits, constant, from_bits, native, select
from polypool.ops.cpu.walk import inline

#: A function that stays one of its own: what is inlined into several callers is compiled as often.
apart = njit(forceinline=False, no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy")

SIGN = constant(31, 63)
REST = constant(0x7FFFFFFF, 0x7FFFFFFFFFFFFFFF)
NAN = constant(float("nan"), float("nan"))
INFINITY = constant(float("inf"), float("inf"))
ONE = constant(1, 1)


@native(lambda like: Vec(like.elem, 2 * like.lanes)(like))
def paired(builder: Any, sig: Any, like: Any) -> Any:
    """Zeros in twice as many lanes as `like` has."""
    return ir.Constant(sig.return_type.llvm, None)


@inline
def key(x: Any) -> Any:
    """The bits of floating lanes as integers in the same order; -0.0 has one of its own, just below that of 0.0."""
    k = bits(x)
    return k ^ ((k >> SIGN(k)) & REST(k))


@inline
def value(k: Any) -> Any:
    """Floating lanes from their keys."""
    return from_bits(k ^ ((k >> SIGN(k)) & REST(k)))


@inline
def smaller(a: Any, b: Any) -> Any:
    """The smaller of two numbers in each lane."""
    return select(a < b, a, b)


@inline
def larger(a: Any, b: Any) -> Any:
    """The larger of two numbers in each lane."""
    return select(a > b, a, b)


@native(lambda mask: types.int64(mask))
def word(builder: Any, sig: Any, mask: Any) -> Any:
    """The lanes of a mask as bits."""
    return builder.zext(builder.bitcast(mask, ir.IntType(mask.type.count)), I64)


@native(lambda number: types.int64(types.int64))
def lowest(builder: Any, sig: Any, number: Any) -> Any:
    """The place of the lowest bit that is set; 64 when none is."""
    kind = ir.FunctionType(I64, [I64, ir.IntType(1)])
    function = builder.module.globals.get("llvm.cttz.i64") or ir.Function(
        builder.module, kind, "llvm.cttz.i64"
    )
    return builder.call(function, [number, ir.Constant(ir.IntType(1), 0)])


def _shuffle(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


@native(lambda like, source, target, step: types.void(like, types.int64, types.int64, types.int64))
def transpose(builder: Any, sig: Any, like: Any, source: Any, target: Any, step: Any) -> None:
    """A square of numbers, as many rows as `like` has lanes, to rows that lie `step` bytes apart.

    Each round exchanges one bit of a number's row for the same bit of its lane.
    """
    kind = sig.args[0]
    size, width = kind.lanes, kind.lanes * BYTES[kind.elem]
    pointer = ir.VectorType(LLVM[kind.elem], size).as_pointer()

    def at(base: Any, offset: Any) -> Any:
        return builder.inttoptr(builder.add(base, offset), pointer)

    rows = [builder.load(at(source, I64(i * width)), align=BYTES[kind.elem]) for i in range(size)]
    half = 1
    while half < size:
        upper = [i if not i & half else size + i - half for i in range(size)]
        lower = [i + half if not i & half else size + i for i in range(size)]
        for i in range(size):
            if not i & half:
                a, b = rows[i], rows[i + half]
                rows[i], rows[i + half] = _shuffle(builder, a, b, upper), _shuffle(builder, a, b, lower)
        half *= 2
    for i, row in enumerate(rows):
        builder.store(row, at(target, builder.mul(step, I64(i))), align=BYTES[kind.elem])
