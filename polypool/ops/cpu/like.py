"""Numbers of the kind that a vector holds: kernels are written once for float32 and float64."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from polypool.ops.cpu.vec import BYTES, LLVM, Vec, broadcast, native


def _pointer(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, LLVM[kind].as_pointer())


@native(lambda like: types.int64(like))
def size(builder: Any, sig: Any, like: Any) -> Any:
    """The bytes of one lane."""
    return ir.Constant(ir.IntType(64), BYTES[sig.args[0].elem])


@native(lambda like: types.int64(like))
def lanes(builder: Any, sig: Any, like: Any) -> Any:
    """The number of lanes."""
    return ir.Constant(ir.IntType(64), sig.args[0].lanes)


@native(lambda like, address: like(like, types.int64))
def spread(builder: Any, sig: Any, like: Any, address: Any) -> Any:
    """The number at an address in all lanes of a vector of the type of `like`."""
    kind = sig.return_type
    number = builder.load(_pointer(builder, address, kind.elem), align=BYTES[kind.elem])
    return broadcast(builder, number, kind.lanes)


@native(lambda like, address: like.elem(like, types.int64))
def read_like(builder: Any, sig: Any, like: Any, address: Any) -> Any:
    """The number at an address, of the kind of `like`'s lanes."""
    return builder.load(_pointer(builder, address, sig.return_type), align=BYTES[sig.return_type])


@native(lambda like, address, value: types.void(like, types.int64, like.elem))
def write_like(builder: Any, sig: Any, like: Any, address: Any, value: Any) -> None:
    """Stores a number in the kind of `like`'s lanes."""
    kind = sig.args[0].elem
    builder.store(value, _pointer(builder, address, kind), align=BYTES[kind])


@native(lambda like: like.of(types.float64)(like))
def doubled(builder: Any, sig: Any, like: Any) -> Any:
    """Zeros of float64 in as many lanes as `like` has."""
    return ir.Constant(sig.return_type.llvm, None)


@native(lambda v: v.of(types.float64)(v))
def as_double(builder: Any, sig: Any, v: Any) -> Any:
    """A vector of floating numbers or integers in float64."""
    given, kind = sig.args[0].elem, sig.return_type.llvm
    if given == types.float64:
        return v
    return builder.fpext(v, kind) if given == types.float32 else builder.sitofp(v, kind)


@native(lambda like, v: like(like, v))
def as_like(builder: Any, sig: Any, like: Any, v: Any) -> Any:
    """A vector of float64 in the kind of `like`: floating or integer."""
    kind = sig.return_type
    if kind.elem == types.float64:
        return v
    return builder.fptrunc(v, kind.llvm) if kind.floating else builder.fptosi(v, kind.llvm)


@native(lambda like, scalar: like(like, types.float64))
def same(builder: Any, sig: Any, like: Any, scalar: Any) -> Any:
    """A float64 in all lanes of a vector of float64; or as it is, where `like` is a single number."""
    kind = sig.return_type
    return broadcast(builder, scalar, kind.lanes) if isinstance(kind, Vec) else scalar


@native(lambda like: like.of(types.float32)(like))
def single(builder: Any, sig: Any, like: Any) -> Any:
    """Zeros of float32 in as many lanes as `like` has."""
    return ir.Constant(sig.return_type.llvm, None)


@native(lambda like, v: like(like, v))
def from_single(builder: Any, sig: Any, like: Any, v: Any) -> Any:
    """A vector of float32 in the kind of `like`."""
    return v if sig.return_type.elem == types.float32 else builder.fpext(v, sig.return_type.llvm)


@native(lambda v: v.of(types.float32)(v))
def narrowed(builder: Any, sig: Any, v: Any) -> Any:
    """A vector in float32."""
    return v if sig.args[0].elem == types.float32 else builder.fptrunc(v, sig.return_type.llvm)
