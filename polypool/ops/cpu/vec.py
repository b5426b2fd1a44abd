"""Explicit SIMD vectors for numba.

LLVM does not turn NaN-aware reductions into vector code by itself, so the kernels say it: a `Vec` is one LLVM vector
value of any number of lanes. LLVM legalises it, 64 float lanes to four AVX-512 registers or sixteen of SSE, so a kernel
is written once for every processor, and once for every width: functions take a vector as `like` and are compiled for
its type. Addresses are int64, and memory needs no more alignment than its elements have.
"""

import inspect
import operator
import platform
from collections.abc import Callable
from functools import wraps
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped,unused-ignore]
from numba.core import config, types
from numba.core.codegen import get_host_cpu_features
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

I1, I8, I16, I32, I64 = (ir.IntType(width) for width in (1, 8, 16, 32, 64))
LLVM = {
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
    types.int32: I32,
    types.int64: I64,
    types.boolean: I1,
}
BYTES = {types.float32: 4, types.float64: 8, types.int32: 4, types.int64: 8}
INTEGER = {types.float32: types.int32, types.float64: types.int64}
FLOATING = {integer: floating for floating, integer in INTEGER.items()}
WIDER = {types.float32: types.float64, types.int32: types.int64}
NARROWER = {wide: narrow for narrow, wide in WIDER.items()}


def _has_f16() -> bool:
    if platform.machine().lower() in ("aarch64", "arm64"):
        return True
    features = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    return not {"+f16c", "+avx512f"}.isdisjoint(features.split(","))


# Without an instruction for it LLVM calls a library function that is not there, and the process ends.
HAS_F16 = _has_f16()
"""Whether `load_f16` and `store_f16` may be used on this processor."""


class Vec(types.Type):
    """`lanes` numbers of one kind."""

    def __init__(self, elem: types.Type, lanes: int) -> None:
        self.elem, self.lanes = elem, lanes
        super().__init__(name=f"Vec({elem}, {lanes})")

    @property
    def llvm(self) -> ir.VectorType:
        """The LLVM type."""
        return ir.VectorType(LLVM[self.elem], self.lanes)

    @property
    def floating(self) -> bool:
        """Whether the lanes are floating."""
        return isinstance(self.elem, types.Float)

    def of(self, elem: types.Type) -> "Vec":
        """As many lanes of another kind."""
        return Vec(elem, self.lanes)


@register_model(Vec)
class VecModel(models.PrimitiveModel):  # type: ignore[misc]
    """A `Vec` is an LLVM value, never memory."""

    def __init__(self, manager: Any, fe_type: Vec) -> None:
        super().__init__(manager, fe_type, fe_type.llvm)


def native(typing: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Makes a function for kernels of one that emits LLVM code.

    Args:
        typing: From the numba types of the arguments to the signature.

    Returns:
        A decorator of `emit(builder, sig, *values)`, which returns the LLVM value of the result, if there is one.
    """

    def decorate(emit: Callable[..., Any]) -> Any:
        @wraps(emit)
        def definition(typingctx: Any, *args: Any) -> Any:
            def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
                result = emit(builder, sig, *values)
                return context.get_dummy_value() if sig.return_type == types.void else result

            return typing(*args), codegen

        # numba wants to see the arguments by name, after one for its own use.
        _, typingctx, *values = inspect.signature(emit).parameters.values()
        definition.__signature__ = inspect.Signature([typingctx, *values])  # type: ignore[attr-defined]
        return intrinsic(definition)

    return decorate


# Operators


def _operator(ops: tuple[Any, ...], arity: int, result: Callable[[Vec], Vec | None], emit: Any) -> None:
    class Typing(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) != arity or not isinstance(args[0], Vec) or any(a != args[0] for a in args):
                return None
            kind = result(args[0])
            return kind and signature(kind, *args)

    for op in ops:
        # A class of its own for each: numba writes the operator into it.
        infer_global(op)(type("Typing", (Typing,), {}))

        @lower_builtin(op, *[Vec] * arity)
        def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return emit(builder, sig.args[0], *args)


def _arithmetic(name: str, on_float: str | None, on_int: str | None, **flags: Any) -> None:
    ops = getattr(operator, name), getattr(operator, f"i{name.strip('_')}")

    def emit(builder: Any, kind: Vec, a: Any, b: Any) -> Any:
        if kind.floating:
            return getattr(builder, str(on_float))(a, b, **flags)
        return getattr(builder, str(on_int))(a, b)

    _operator(ops, 2, lambda a: a if (on_float if a.floating else on_int) else None, emit)


# `contract` lets a product and a sum become one fused operation; nothing else may be reassociated or assumed.
_arithmetic("add", "fadd", "add", flags=("contract",))
_arithmetic("sub", "fsub", "sub", flags=("contract",))
_arithmetic("mul", "fmul", "mul", flags=("contract",))
_arithmetic("truediv", "fdiv", None)
_arithmetic("and_", None, "and_")
_arithmetic("or_", None, "or_")
_arithmetic("xor", None, "xor")
_arithmetic("lshift", None, "shl")
_arithmetic("rshift", None, "ashr")


def _comparison(op: Any, symbol: str) -> None:
    def emit(builder: Any, kind: Vec, a: Any, b: Any) -> Any:
        if not kind.floating:
            return builder.icmp_signed(symbol, a, b)
        return (builder.fcmp_unordered if symbol == "!=" else builder.fcmp_ordered)(symbol, a, b)

    _operator((op,), 2, lambda a: a.of(types.boolean), emit)


for _symbol, _op in {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}.items():
    _comparison(_op, _symbol)

_operator(
    (operator.invert,), 1, lambda a: None if a.floating else a, lambda builder, kind, a: builder.not_(a)
)
_operator(
    (operator.neg,),
    1,
    lambda a: None if a.elem == types.boolean else a,
    lambda builder, kind, a: builder.fneg(a) if kind.floating else builder.neg(a),
)


# What the functions below emit


def broadcast(builder: Any, scalar: Any, lanes: int) -> Any:
    """Emits a vector of one number."""
    vector = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def _numbers(kind: Any, numbers: Any) -> Any:
    return ir.Constant(kind, list(numbers))


def _call(builder: Any, name: str, result: Any, args: list[Any]) -> Any:
    kind = ir.FunctionType(result, [arg.type for arg in args])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, args)


def _at(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _suffix(kind: ir.VectorType) -> str:
    names = {ir.FloatType(): "f32", ir.DoubleType(): "f64"}
    return f"v{kind.count}{names.get(kind.element) or kind.element}"


def _load(builder: Any, kind: Any, address: Any, size: int, mask: Any = None) -> Any:
    pointer = _at(builder, address, kind)
    if mask is None:
        return builder.load(pointer, align=size)
    # LLVM 22 would take the alignment elsewhere, but it rewrites this form, which is the only one before it.
    arguments = [pointer, I32(size), mask, ir.Constant(kind, None)]
    return _call(builder, f"llvm.masked.load.{_suffix(kind)}.p0", kind, arguments)


def _store(builder: Any, value: Any, address: Any, size: int, mask: Any = None) -> Any:
    pointer = _at(builder, address, value.type)
    if mask is None:
        return builder.store(value, pointer, align=size)
    name = f"llvm.masked.store.{_suffix(value.type)}.p0"
    return _call(builder, name, ir.VoidType(), [value, pointer, I32(size), mask])


def _tree(builder: Any, v: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """One number of all the lanes, always in the same order: halves onto halves."""
    while v.type.count > 1:
        half = v.type.count // 2
        kind = ir.VectorType(I32, half)
        low, high = (
            builder.shuffle_vector(v, v, _numbers(kind, range(first, first + half))) for first in (0, half)
        )
        v = combine(low, high)
    return builder.extract_element(v, I32(0))


# Making vectors


def vector(elem: types.Type, lanes: int) -> Any:
    """A function from a scalar to a vector of it."""

    @native(lambda scalar: Vec(elem, lanes)(elem))
    def make(builder: Any, sig: Any, scalar: Any) -> Any:
        return broadcast(builder, scalar, lanes)

    return make


def constant(single: float, double: float) -> Any:
    """A function from a vector to a constant like it: the first number for 4-byte lanes, the second for 8-byte ones."""

    @native(lambda like: like(like))
    def same(builder: Any, sig: Any, like: Any) -> Any:
        kind = sig.return_type
        return _numbers(kind.llvm, [single if BYTES[kind.elem] == 4 else double] * kind.lanes)

    return same


def polynomial(single: tuple[float, ...], double: tuple[float, ...]) -> Any:
    """A function from float32 or float64 lanes to a polynomial of them, coefficients from the highest power down."""

    @native(lambda v: v(v))
    def evaluate(builder: Any, sig: Any, v: Any) -> Any:
        kind = sig.return_type
        total, *rest = (
            _numbers(kind.llvm, [c] * kind.lanes) for c in (single if kind.elem == types.float32 else double)
        )
        for coefficient in rest:
            total = _fused(builder, total, v, coefficient)
        return total

    return evaluate


@native(lambda like, scalar: like(like, like.elem))
def full(builder: Any, sig: Any, like: Any, scalar: Any) -> Any:
    """A scalar of the kind of `like` in all its lanes."""
    return broadcast(builder, scalar, sig.return_type.lanes)


@native(lambda like, scalar: like.of(types.int32)(like, types.int32))
def places(builder: Any, sig: Any, like: Any, scalar: Any) -> Any:
    """An int32 in as many lanes as `like` has."""
    return broadcast(builder, scalar, sig.return_type.lanes)


@native(lambda like: like.of(types.int32)(like))
def counting(builder: Any, sig: Any, like: Any) -> Any:
    """The numbers 0, 1, 2, ... as int32, in as many lanes as `like` has."""
    return _numbers(sig.return_type.llvm, range(sig.return_type.lanes))


@native(lambda like, n: like.of(types.boolean)(like, types.int32))
def first_lanes(builder: Any, sig: Any, like: Any, n: Any) -> Any:
    """A mask of the first n lanes."""
    lanes = sig.return_type.lanes
    counted = _numbers(ir.VectorType(I32, lanes), range(lanes))
    return builder.icmp_signed("<", counted, broadcast(builder, n, lanes))


# Memory


@native(lambda like, address: like(like, types.int64))
def load(builder: Any, sig: Any, like: Any, address: Any) -> Any:
    """A vector of the type of `like` from memory."""
    return _load(builder, like.type, address, BYTES[sig.return_type.elem])


@native(lambda like, address, mask: like(like, types.int64, mask))
def load_some(builder: Any, sig: Any, like: Any, address: Any, mask: Any) -> Any:
    """The lanes that the mask sets; the others are 0 and their memory is not touched."""
    return _load(builder, like.type, address, BYTES[sig.return_type.elem], mask)


@native(lambda address, v: types.void(types.int64, v))
def store(builder: Any, sig: Any, address: Any, v: Any) -> None:
    """A vector to memory."""
    _store(builder, v, address, BYTES[sig.args[1].elem])


@native(lambda address, v, mask: types.void(types.int64, v, mask))
def store_some(builder: Any, sig: Any, address: Any, v: Any, mask: Any) -> None:
    """The lanes that the mask sets to memory."""
    _store(builder, v, address, BYTES[sig.args[1].elem], mask)


@native(lambda address, v: types.void(types.int64, v))
def store_stream(builder: Any, sig: Any, address: Any, v: Any) -> None:
    """A vector to memory past the caches; the address is a multiple of 64 or of the whole vector's bytes.

    Such stores wait for `fence` before other threads may read them.
    """
    kind = sig.args[1]
    whole = min(64, kind.lanes * BYTES[kind.elem])
    store = _store(builder, v, address, whole)
    store.set_metadata("nontemporal", builder.module.add_metadata([I32(1)]))


@native(lambda: types.void())
def fence(builder: Any, sig: Any) -> None:
    """Waits until the stores before it can be seen by all."""
    builder.fence("seq_cst")


def _addresses(builder: Any, base: Any, offsets: Any) -> Any:
    pointer = builder.inttoptr(base, I8.as_pointer())
    addresses = builder.gep(pointer, [offsets], source_etype=I8)
    addresses.type = ir.VectorType(pointer.type, offsets.type.count)
    return addresses


def _gather(builder: Any, kind: Vec, base: Any, offsets: Any, mask: Any) -> Any:
    name = f"llvm.masked.gather.{_suffix(kind.llvm)}.v{kind.lanes}p0"
    size, zeros = I32(BYTES[kind.elem]), ir.Constant(kind.llvm, None)
    return _call(builder, name, kind.llvm, [_addresses(builder, base, offsets), size, mask, zeros])


@native(lambda like, base, offsets: like(like, types.int64, offsets))
def gather(builder: Any, sig: Any, like: Any, base: Any, offsets: Any) -> Any:
    """Lanes from a base plus int32 or int64 offsets in bytes."""
    kind = sig.return_type
    every = _numbers(ir.VectorType(I1, kind.lanes), [1] * kind.lanes)
    return _gather(builder, kind, base, offsets, every)


@native(lambda like, base, offsets, mask: like(like, types.int64, offsets, mask))
def gather_some(builder: Any, sig: Any, like: Any, base: Any, offsets: Any, mask: Any) -> Any:
    """The lanes of a `gather` that the mask sets; the others are 0 and their memory is not touched."""
    return _gather(builder, sig.return_type, base, offsets, mask)


@native(
    lambda like, addresses, counts, start, target: types.void(
        like, types.int64, types.int64, types.int32, types.int64
    )
)
def turn(builder: Any, sig: Any, like: Any, addresses: Any, counts: Any, start: Any, target: Any) -> None:
    """Turns rows into columns: as many rows as a vector has lanes, from number `start` on.

    Their addresses (int64) and how many numbers they have (int32) are read from memory. Number `start + j` of row i
    goes to lane i of vector j at the target; what a row does not have is 0.
    """
    kind = sig.args[0]
    size, lanes = BYTES[kind.elem], kind.lanes
    counted = _numbers(ir.VectorType(I32, lanes), range(lanes))
    off = builder.mul(builder.sext(start, I64), I64(size))
    rows = []
    for i in range(lanes):
        address = builder.load(_at(builder, builder.add(addresses, I64(8 * i)), I64), align=8)
        count = builder.load(_at(builder, builder.add(counts, I64(4 * i)), I32), align=4)
        mask = builder.icmp_signed("<", counted, broadcast(builder, builder.sub(count, start), lanes))
        rows.append(_load(builder, kind.llvm, builder.add(address, off), size, mask))
    step = 1
    while step < lanes:
        # Changes places of what is `step` lanes to the right in one row and `step` rows below in its partner.
        upper = _numbers(
            ir.VectorType(I32, lanes), [i + (lanes - step if i & step else 0) for i in range(lanes)]
        )
        lower = _numbers(ir.VectorType(I32, lanes), [i + (lanes if i & step else step) for i in range(lanes)])
        for i in range(lanes):
            if not i & step:
                a, b = rows[i], rows[i + step]
                rows[i], rows[i + step] = (
                    builder.shuffle_vector(a, b, upper),
                    builder.shuffle_vector(a, b, lower),
                )
        step *= 2
    for i, row in enumerate(rows):
        _store(builder, row, builder.add(target, I64(i * lanes * size)), size)


# Numbers of fewer bytes than their lanes


def _small(kind: Vec, elem: Any) -> ir.VectorType:
    return ir.VectorType(elem, kind.lanes)


def _from_bf16(builder: Any, v: Any, kind: Vec) -> Any:
    words = builder.zext(v, _small(kind, I32))
    return builder.bitcast(builder.shl(words, _numbers(words.type, [16] * kind.lanes)), kind.llvm)


def _to_bf16(builder: Any, v: Any, kind: Vec) -> Any:
    def number(n: int) -> Any:
        return _numbers(_small(kind, I32), [n] * kind.lanes)

    words = builder.bitcast(v, _small(kind, I32))
    high = builder.lshr(words, number(16))
    # Half of the last place that stays, one less where it is even: ties go to even.
    tie = builder.add(builder.and_(high, number(1)), number(0x7FFF))
    rounded = builder.lshr(builder.add(words, tie), number(16))
    # The carry would make an infinity or a zero of a NaN.
    rounded = builder.select(builder.fcmp_unordered("uno", v, v), number(0x7FC0), rounded)
    return builder.trunc(rounded, _small(kind, I16))


def _from_f16(builder: Any, v: Any, kind: Vec) -> Any:
    return builder.fpext(builder.bitcast(v, _small(kind, ir.HalfType())), kind.llvm)


def _to_f16(builder: Any, v: Any, kind: Vec) -> Any:
    return builder.bitcast(builder.fptrunc(v, _small(kind, ir.HalfType())), _small(kind, I16))


def _halves(
    decode: Callable[[Any, Any, Vec], Any], encode: Callable[[Any, Any, Vec], Any]
) -> tuple[Any, Any, Any, Any]:
    @native(lambda like, address: like(like, types.int64))
    def load(builder: Any, sig: Any, like: Any, address: Any) -> Any:
        kind = sig.return_type
        return decode(builder, _load(builder, _small(kind, I16), address, 2), kind)

    @native(lambda like, address, mask: like(like, types.int64, mask))
    def load_some(builder: Any, sig: Any, like: Any, address: Any, mask: Any) -> Any:
        kind = sig.return_type
        return decode(builder, _load(builder, _small(kind, I16), address, 2, mask), kind)

    @native(lambda address, v: types.void(types.int64, v))
    def store(builder: Any, sig: Any, address: Any, v: Any) -> None:
        _store(builder, encode(builder, v, sig.args[1]), address, 2)

    @native(lambda address, v, mask: types.void(types.int64, v, mask))
    def store_some(builder: Any, sig: Any, address: Any, v: Any, mask: Any) -> None:
        _store(builder, encode(builder, v, sig.args[1]), address, 2, mask)

    return load, load_some, store, store_some


# float32 lanes of 16-bit memory; stores round to the nearest and ties to even. The float16 ones only where `HAS_F16`.
load_bf16, load_bf16_some, store_bf16, store_bf16_some = _halves(_from_bf16, _to_bf16)
load_f16, load_f16_some, store_f16, store_f16_some = _halves(_from_f16, _to_f16)


@native(lambda like, address: like.of(types.int32)(like, types.int64))
def load_bytes(builder: Any, sig: Any, like: Any, address: Any) -> Any:
    """Unsigned bytes as int32, in as many lanes as `like` has."""
    kind = sig.return_type
    return builder.zext(_load(builder, _small(kind, I8), address, 1), kind.llvm)


@native(lambda like, address, mask: like.of(types.int32)(like, types.int64, mask))
def load_bytes_some(builder: Any, sig: Any, like: Any, address: Any, mask: Any) -> Any:
    """The lanes of `load_bytes` that the mask sets; the others are 0."""
    kind = sig.return_type
    return builder.zext(_load(builder, _small(kind, I8), address, 1, mask), kind.llvm)


# Lane by lane


@native(lambda mask, a, b: a(mask, a, b))
def select(builder: Any, sig: Any, mask: Any, a: Any, b: Any) -> Any:
    """Lanes of a where the mask is set, of b elsewhere."""
    return builder.select(mask, a, b)


def _fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    # `llvm.fma` would be a library call where the processor has no such instruction.
    return _call(builder, f"llvm.fmuladd.{_suffix(a.type)}", a.type, [a, b, c])


@native(lambda a, b, c: a(a, b, c))
def fma(builder: Any, sig: Any, a: Any, b: Any, c: Any) -> Any:
    """The sum a * b + c, rounded once where the processor can and twice where it cannot."""
    return _fused(builder, a, b, c)


@native(lambda v: v(v))
def sqrt(builder: Any, sig: Any, v: Any) -> Any:
    """The square root, correctly rounded; NaN of negative numbers."""
    return _call(builder, f"llvm.sqrt.{_suffix(v.type)}", v.type, [v])


@native(lambda v: v(v))
def absolute(builder: Any, sig: Any, v: Any) -> Any:
    """Floating lanes without their sign."""
    return _call(builder, f"llvm.fabs.{_suffix(v.type)}", v.type, [v])


@native(lambda v: v(v))
def round_even(builder: Any, sig: Any, v: Any) -> Any:
    """To the nearest whole number, ties to even."""
    return _call(builder, f"llvm.rint.{_suffix(v.type)}", v.type, [v])


@native(lambda v: v.of(WIDER[v.elem])(v))
def widen(builder: Any, sig: Any, v: Any) -> Any:
    """float32 lanes in float64, int32 lanes in int64."""
    return (builder.fpext if sig.return_type.floating else builder.sext)(v, sig.return_type.llvm)


@native(lambda v: v.of(NARROWER[v.elem])(v))
def narrow(builder: Any, sig: Any, v: Any) -> Any:
    """float64 lanes in float32, int64 lanes in int32."""
    return (builder.fptrunc if sig.return_type.floating else builder.trunc)(v, sig.return_type.llvm)


@native(lambda v: v.of(INTEGER[v.elem])(v))
def bits(builder: Any, sig: Any, v: Any) -> Any:
    """The bits of floating lanes as integers of the same size."""
    return builder.bitcast(v, sig.return_type.llvm)


@native(lambda v: v.of(FLOATING[v.elem])(v))
def from_bits(builder: Any, sig: Any, v: Any) -> Any:
    """Floating lanes of the same size from their bits."""
    return builder.bitcast(v, sig.return_type.llvm)


@native(lambda v: v.of(INTEGER[v.elem])(v))
def to_int(builder: Any, sig: Any, v: Any) -> Any:
    """Floating lanes as integers of the same size, towards zero; undefined where they do not fit, as NaN never does."""
    return builder.fptosi(v, sig.return_type.llvm)


@native(lambda v: v.of(FLOATING[v.elem])(v))
def to_float(builder: Any, sig: Any, v: Any) -> Any:
    """Integers as floating lanes of the same size."""
    return builder.sitofp(v, sig.return_type.llvm)


def _rotation(n: int) -> Any:
    @native(lambda v: v(v))
    def rotate(builder: Any, sig: Any, v: Any) -> Any:
        lanes = sig.return_type.lanes
        order = _numbers(ir.VectorType(I32, lanes), [(i + n) % lanes for i in range(lanes)])
        return builder.shuffle_vector(v, v, order)

    return rotate


# Lane i + n in lane i, counted round.
rotate_2, rotate_4, rotate_8, rotate_16, rotate_32 = (_rotation(n) for n in (2, 4, 8, 16, 32))


# From lanes to one number


@native(lambda v, i: v.elem(v, types.int64))
def lane(builder: Any, sig: Any, v: Any, i: Any) -> Any:
    """One lane."""
    return builder.extract_element(v, i)


@native(lambda mask: types.boolean(mask))
def any_lane(builder: Any, sig: Any, mask: Any) -> Any:
    """Whether a lane of the mask is set."""
    return _call(builder, f"llvm.vector.reduce.or.{_suffix(mask.type)}", I1, [mask])


def _as_word(builder: Any, mask: Any, function: str, *flags: Any) -> Any:
    word = ir.IntType(mask.type.count)
    found = _call(builder, f"llvm.{function}.{word}", word, [builder.bitcast(mask, word), *flags])
    return builder.trunc(found, I32) if word.width > 32 else builder.zext(found, I32)


@native(lambda mask: types.int32(mask))
def first_lane(builder: Any, sig: Any, mask: Any) -> Any:
    """Which lane of the mask is the first that is set, as int32; the number of lanes when none is."""
    return _as_word(builder, mask, "cttz", I1(0))


@native(lambda mask: types.int32(mask))
def count_lanes(builder: Any, sig: Any, mask: Any) -> Any:
    """How many lanes of the mask are set, as int32."""
    return _as_word(builder, mask, "ctpop")


@native(lambda v: (types.float64 if v.floating else v.elem)(v))
def sum_lanes(builder: Any, sig: Any, v: Any) -> Any:
    """The sum of all lanes, in one fixed order; of floating lanes in float64."""
    kind = sig.args[0]
    if not kind.floating:
        return _tree(builder, v, builder.add)
    wide = builder.fpext(v, kind.of(types.float64).llvm) if kind.elem == types.float32 else v
    return _tree(builder, wide, builder.fadd)


@native(lambda v: v.elem(v))
def add_lanes(builder: Any, sig: Any, v: Any) -> Any:
    """The sum of all lanes in one fixed order, in their own precision."""
    return _tree(builder, v, builder.fadd)


def _extreme(builder: Any, kind: Vec, v: Any, symbol: str) -> Any:
    compare = builder.fcmp_ordered if kind.floating else builder.icmp_signed
    return _tree(builder, v, lambda a, b: builder.select(compare(symbol, a, b), a, b))


@native(lambda v: v.elem(v))
def max_lanes(builder: Any, sig: Any, v: Any) -> Any:
    """The largest lane; lanes that are NaN give no particular one."""
    return _extreme(builder, sig.args[0], v, ">")


@native(lambda v: v.elem(v))
def min_lanes(builder: Any, sig: Any, v: Any) -> Any:
    """The smallest lane; lanes that are NaN give no particular one."""
    return _extreme(builder, sig.args[0], v, "<")


# Scalars in memory


def _scalar(kind: types.Type) -> tuple[Any, Any]:
    @native(lambda address: kind(types.int64))
    def read(builder: Any, sig: Any, address: Any) -> Any:
        return builder.load(_at(builder, address, LLVM[kind]), align=BYTES[kind])

    @native(lambda address, value: types.void(types.int64, kind))
    def write(builder: Any, sig: Any, address: Any, value: Any) -> None:
        builder.store(value, _at(builder, address, LLVM[kind]), align=BYTES[kind])

    return read, write


read_i32, write_i32 = _scalar(types.int32)
read_i64, write_i64 = _scalar(types.int64)
read_f32, write_f32 = _scalar(types.float32)
read_f64, write_f64 = _scalar(types.float64)


@native(lambda address: types.int64(types.int64))
def read_u8(builder: Any, sig: Any, address: Any) -> Any:
    """An unsigned byte, such as a bool, as int64."""
    return builder.zext(builder.load(_at(builder, address, I8), align=1), I64)


@native(lambda address, value: types.void(types.int64, types.int64))
def write_u8(builder: Any, sig: Any, address: Any, value: Any) -> None:
    """The lowest byte of an int64."""
    builder.store(builder.trunc(value, I8), _at(builder, address, I8), align=1)


@native(lambda address: types.void(types.int64))
def prefetch(builder: Any, sig: Any, address: Any) -> None:
    """Asks for the cache line of an address; never faults."""
    _call(builder, "llvm.prefetch.p0", ir.VoidType(), [_at(builder, address, I8), I32(0), I32(3), I32(1)])


@native(lambda pointer, at, n: types.int64(pointer, types.int64, types.int64))
def fetch_add(builder: Any, sig: Any, pointer: Any, at: Any, n: Any) -> Any:
    """Adds to a number that threads share and returns what it was."""
    return builder.atomic_rmw("add", builder.gep(pointer, [at]), n, "seq_cst")
