"""Explicit vectors: every function against numpy, bit for bit."""

import ctypes
import ctypes.util
import mmap
import operator
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numba import carray, int32, njit, types
from numba.core.errors import TypingError
from numpy.typing import NDArray

from polypool.ops.cpu import vec
from polypool.ops.cpu.vec import (
    absolute,
    any_lane,
    bits,
    count_lanes,
    counting,
    fence,
    fetch_add,
    first_lane,
    first_lanes,
    fma,
    from_bits,
    full,
    gather,
    gather_some,
    lane,
    load,
    load_bf16,
    load_bf16_some,
    load_bytes,
    load_bytes_some,
    load_f16,
    load_f16_some,
    load_some,
    max_lanes,
    min_lanes,
    narrow,
    places,
    prefetch,
    read_f32,
    read_f64,
    read_i32,
    read_i64,
    read_u8,
    round_even,
    select,
    sqrt,
    store,
    store_bf16,
    store_bf16_some,
    store_f16,
    store_f16_some,
    store_some,
    store_stream,
    sum_lanes,
    to_float,
    to_int,
    vector,
    widen,
    write_f32,
    write_f64,
    write_i32,
    write_i64,
    write_u8,
)

Array = NDArray[Any]

KINDS: dict[str, Any] = {
    "float32": types.float32,
    "float64": types.float64,
    "int32": types.int32,
    "int64": types.int64,
}
floating = pytest.mark.parametrize(
    ("kind", "lanes"), [("float32", 16), ("float32", 64), ("float64", 16), ("float64", 64)]
)
integer = pytest.mark.parametrize(("kind", "lanes"), [("int32", 16), ("int64", 16)])
either = pytest.mark.parametrize(
    ("kind", "lanes"), [("float32", 64), ("float64", 16), ("int32", 16), ("int64", 64)]
)


def compiled(arguments: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A kernel of int64 numbers; arrays are passed by their address."""

    def decorate(body: Callable[..., None]) -> Callable[..., None]:
        kernel = njit(f"void({', '.join(['int64'] * arguments)})")(body)

        def call(*values: Array | int) -> None:
            kernel(*(v.ctypes.data if isinstance(v, np.ndarray) else v for v in values))

        return call

    return decorate


def sample(kind: str, n: int, seed: int = 0) -> Array:
    """Numbers of either sign, the smallest and the largest among them."""
    random = np.random.default_rng(seed)
    if kind.startswith("int"):
        limits = np.iinfo(kind)
        return np.concatenate([[0, -1, limits.min, limits.max], random.integers(-99, 99, n - 4)]).astype(kind)
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, -2.5, 1.5]
    return random.permutation(np.concatenate([edges, random.normal(size=n - len(edges))])).astype(kind)


def same(actual: Array, expected: Any) -> None:
    """Equal to the bit, but for the bits of a NaN."""
    expected = np.asarray(expected)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)
    if actual.dtype.kind == "f":
        known = ~np.isnan(actual)
        np.testing.assert_array_equal(np.signbit(actual)[known], np.signbit(expected)[known])


@floating
def test_arithmetic_on_floating_lanes(kind: str, lanes: int) -> None:
    make, size = vector(KINDS[kind], lanes), lanes * np.dtype(kind).itemsize

    @compiled(3)
    def kernel(a: int, b: int, o: int) -> None:
        like = make(0)
        x, y = load(like, a), load(like, b)
        total = x
        total += y
        store(o, total)
        store(o + size, x - y)
        store(o + 2 * size, x * y)
        store(o + 3 * size, x / y)
        store(o + 4 * size, -x)
        store(o + 5 * size, absolute(x))
        store(o + 6 * size, sqrt(y))
        store(o + 7 * size, round_even(x))

    a, b, o = sample(kind, lanes), sample(kind, lanes, 1), np.full((8, lanes), 7, kind)
    kernel(a, b, o)
    with np.errstate(all="ignore"):
        same(o, [a + b, a - b, a * b, a / b, -a, abs(a), np.sqrt(b), np.rint(a)])


@integer
def test_arithmetic_on_whole_lanes(kind: str, lanes: int) -> None:
    make, size = vector(KINDS[kind], lanes), lanes * np.dtype(kind).itemsize

    @compiled(4)
    def kernel(a: int, b: int, by: int, o: int) -> None:
        like = make(0)
        x, y, s = load(like, a), load(like, b), load(like, by)
        store(o, x + y)
        store(o + size, x - y)
        store(o + 2 * size, x * y)
        store(o + 3 * size, x & y)
        store(o + 4 * size, x | y)
        store(o + 5 * size, x ^ y)
        store(o + 6 * size, x << s)
        store(o + 7 * size, x >> s)
        store(o + 8 * size, -x)
        store(o + 9 * size, ~x)

    a, b, o = sample(kind, lanes), sample(kind, lanes, 1), np.zeros((10, lanes), kind)
    by = np.arange(lanes).astype(kind)
    kernel(a, b, by, o)
    with np.errstate(all="ignore"):
        same(o, [a + b, a - b, a * b, a & b, a | b, a ^ b, a << by, a >> by, -a, ~a])


@either
def test_comparisons_and_masks(kind: str, lanes: int) -> None:
    make, size = vector(KINDS[kind], lanes), lanes * np.dtype(kind).itemsize

    @compiled(4)
    def kernel(a: int, b: int, o: int, numbers: int) -> None:
        like = make(0)
        x, y = load(like, a), load(like, b)
        yes, no = full(like, 1), full(like, 0)
        store(o, select(x < y, yes, no))
        store(o + size, select(x <= y, yes, no))
        store(o + 2 * size, select(x > y, yes, no))
        store(o + 3 * size, select(x >= y, yes, no))
        store(o + 4 * size, select(x == y, yes, no))
        store(o + 5 * size, select(x != y, yes, no))
        p, q = x < no, y < no
        store(o + 6 * size, select(p & q, yes, no))
        store(o + 7 * size, select(p | q, yes, no))
        store(o + 8 * size, select(p ^ q, yes, no))
        store(o + 9 * size, select(~p, yes, no))
        write_i32(numbers, first_lane(p))
        write_i32(numbers + 4, count_lanes(p))
        write_i32(numbers + 8, int32(any_lane(p)))

    a, b, o, numbers = (
        sample(kind, lanes),
        sample(kind, lanes, 1),
        np.zeros((10, lanes), kind),
        np.zeros(3, np.int32),
    )
    b[::3] = a[::3]
    kernel(a, b, o, numbers)
    p, q = a < 0, b < 0
    same(o, np.array([a < b, a <= b, a > b, a >= b, a == b, a != b, p & q, p | q, p ^ q, ~p]).astype(kind))
    assert numbers.tolist() == [p.argmax(), p.sum(), 1]

    for first in (0, lanes - 1, lanes):
        a[:] = np.arange(lanes) < first
        a -= (np.arange(lanes) == first).astype(kind)
        kernel(a, b, o, numbers)
        assert numbers.tolist() == [first, int(first < lanes), int(first < lanes)]


@either
def test_memory(kind: str, lanes: int) -> None:
    make, size = vector(KINDS[kind], lanes), lanes * np.dtype(kind).itemsize

    @compiled(3)
    def kernel(a: int, n: int, o: int) -> None:
        like = make(0)
        some = first_lanes(like, n)
        prefetch(a)
        prefetch(0)
        store(o, load(like, a))
        store(o + size, load_some(like, a, some))
        store_some(o + 2 * size, load(like, a), some)
        store_stream(o + 3 * size, load(like, a))
        fence()

    # One element off whatever alignment there is, but for the store that asks for it.
    a = sample(kind, lanes + 1)[1:]
    space = np.full(5 * lanes + 64, 7, kind)
    o = space[-space.ctypes.data % 64 // space.itemsize :][: 4 * lanes].reshape(4, lanes)
    for n in (0, 1, 5, lanes - 1, lanes):
        o[:] = 7
        kernel(a, n, o)
        here = np.arange(lanes) < n
        same(o, np.array([a, np.where(here, a, 0), np.where(here, a, 7), a], kind))


@either
def test_gathers(kind: str, lanes: int) -> None:
    make, size = vector(KINDS[kind], lanes), lanes * np.dtype(kind).itemsize
    width = np.dtype(kind).itemsize

    @compiled(4)
    def kernel(a: int, at: int, n: int, o: int) -> None:
        like = make(0)
        short = load(places(like, 0), at)
        offsets = short * places(like, width)
        store(o, gather(like, a, offsets))
        store(o + size, gather(like, a, widen(offsets)))
        store(o + 2 * size, gather_some(like, a, offsets, first_lanes(like, n)))

    a, o = sample(kind, 500), np.zeros((3, lanes), kind)
    at = np.random.default_rng(2).integers(-200, 200, lanes).astype(np.int32)
    middle = a[250:]
    kernel(middle, at, 5, o)
    expected = a[250 + at]
    same(o, [expected, expected, np.where(np.arange(lanes) < 5, expected, 0).astype(kind)])


def test_a_gather_reaches_beyond_two_gigabytes() -> None:
    make = vector(types.float32, 16)

    @compiled(4)
    def kernel(low: int, high: int, offsets: int, o: int) -> None:
        like = make(0)
        store(o, gather(like, low, load(widen(places(like, 0)), offsets)))
        store(o + 64, gather(like, high, places(like, -4)))

    a, o = np.arange(17, dtype=np.float32), np.zeros((2, 16), np.float32)
    far = 5 << 32
    kernel(a.ctypes.data - far, a[8:], far + 4 * np.arange(16, dtype=np.int64), o)
    same(o, np.array([a[:16], np.full(16, 7)], np.float32))


@floating
def test_numbers_in_all_lanes(kind: str, lanes: int) -> None:
    make, size = vector(KINDS[kind], lanes), lanes * np.dtype(kind).itemsize
    number = vec.constant(0.1, 0.7)
    cubic = vec.polynomial((0.5, -2.0, 3.0), (0.25, -1.0, 0.0, 8.0))

    @compiled(3)
    def kernel(a: int, o: int, whole: int) -> None:
        like = make(1.5)
        store(o, like)
        store(o + size, full(like, 2.5))
        store(o + 2 * size, number(like))
        store(o + 3 * size, cubic(load(like, a)))
        store(o + 4 * size, fma(like, full(like, 2.5), number(like)))
        store(whole, places(like, -3))
        store(whole + 4 * lanes, counting(like))

    a, o, whole = np.arange(lanes).astype(kind), np.zeros((5, lanes), kind), np.zeros((2, lanes), np.int32)
    kernel(a, o, whole)
    kept, coefficients = (0.1, [0.5, -2, 3]) if kind == "float32" else (0.7, [0.25, -1, 0, 8])
    # The polynomials are exact, and so is the product that is added to.
    last = (3.75 + np.full(lanes, kept).astype(kind)).astype(kind)
    same(o[:3], np.array([[1.5], [2.5], [kept]], kind).repeat(lanes, 1))
    same(o[3:], np.array([np.polyval(coefficients, a), last], kind))
    same(whole, np.array([np.full(lanes, -3), np.arange(lanes)], np.int32))


@floating
def test_conversions(kind: str, lanes: int) -> None:
    make, width = vector(KINDS[kind], lanes), np.dtype(kind).itemsize
    size, whole = lanes * width, f"int{8 * width}"

    @compiled(4)
    def kernel(a: int, i: int, o: int, w: int) -> None:
        like = make(0)
        x = load(like, a)
        n = load(bits(like), i)
        store(o, from_bits(n))
        store(o + size, to_float(n))
        store(w, bits(x))
        store(w + size, to_int(x))

    a = np.linspace(-9.75, 1e6, lanes).astype(kind)
    i, o, w = sample(whole, lanes), np.zeros((2, lanes), kind), np.zeros((2, lanes), whole)
    kernel(a, i, o, w)
    same(o, np.array([i.view(kind), i.astype(kind)]))
    same(w, np.array([a.view(whole), a.astype(whole)]))


def test_widening_and_narrowing() -> None:
    single, short = vector(types.float32, 16), vector(types.int32, 16)

    @compiled(6)
    def kernel(a: int, b: int, c: int, d: int, e: int, f: int) -> None:
        x, n = load(single(0), a), load(short(0), b)
        store(c, widen(x))
        store(d, widen(n))
        store(e, narrow(load(widen(x), c) * full(widen(x), 1.1)))
        store(f, narrow(load(widen(n), d) + full(widen(n), 1 << 33)))

    a, b = sample("float32", 16), sample("int32", 16)
    c, d, e, f = np.zeros(16), np.zeros(16, np.int64), np.zeros(16, np.float32), np.zeros(16, np.int32)
    kernel(a, b, c, d, e, f)
    same(c, a.astype(np.float64))
    same(d, b.astype(np.int64))
    same(e, (a.astype(np.float64) * 1.1).astype(np.float32))
    same(f, b)


@pytest.mark.parametrize(
    ("dtype", "functions"),
    [
        (torch.bfloat16, (load_bf16, load_bf16_some, store_bf16, store_bf16_some)),
        pytest.param(
            torch.float16,
            (load_f16, load_f16_some, store_f16, store_f16_some),
            marks=pytest.mark.skipif(not vec.HAS_F16, reason="the processor cannot"),
        ),
    ],
)
def test_halves(dtype: torch.dtype, functions: tuple[Any, ...]) -> None:
    read, read_some, write, write_some = functions
    make = vector(types.float32, 64)

    @compiled(4)
    def kernel(half: int, n: int, wide: int, back: int) -> None:
        like = make(0)
        some = first_lanes(like, 5)
        for i in range(0, n, 64):
            store(wide + 4 * i, read(like, half + 2 * i))
            write(back + 2 * i, load(like, wide + 4 * i))
        store(wide, read_some(like, half, some))
        write_some(back, full(like, 1.0), some)

    @compiled(3)
    def rounding(wide: int, n: int, half: int) -> None:
        like = make(0)
        for i in range(0, n, 64):
            write(half + 2 * i, load(like, wide + 4 * i))

    # Every number that there is.
    half = np.arange(1 << 16).astype(np.uint16)
    wide, back = np.zeros(half.size, np.float32), np.zeros_like(half)
    numbers = torch.from_numpy(half.view(np.int16)).view(dtype)
    kernel(half, half.size, wide, back)
    expected = numbers.float().numpy()
    expected[5:64] = 0
    same(wide, expected)
    known = ~numbers.isnan().numpy()
    known[:5] = False
    np.testing.assert_array_equal(back[known], half[known])
    one = torch.ones(5, dtype=dtype).view(torch.int16).numpy().view(np.uint16)
    np.testing.assert_array_equal(back[:5], one)
    assert torch.from_numpy(back.view(np.int16)).view(dtype)[5:].isnan().sum() == numbers.isnan().sum()

    # What lies between neighbours, the ties, their own neighbours, and what is too large.
    finite = numbers.float().numpy()
    finite = np.sort(finite[np.isfinite(finite)])
    with np.errstate(over="ignore"):
        ties = ((finite[1:].astype(np.float64) + finite[:-1]) / 2).astype(np.float32)
        tops = np.array([3.4028235e38, 3.3961775e38, 65519.996, 65520.0, 1e-45, 1e-41, -1e-45], np.float32)
        edges = [ties, np.nextafter(ties, np.inf), np.nextafter(ties, -np.inf), tops]
    # A NaN whose set bits are all among those that go.
    quiet = np.array([0x7F800001, 0xFFFFFFFF, 0x7FFFFFFF], np.uint32).view(np.float32)
    a = np.concatenate([*edges, quiet, np.full(63, np.nan, np.float32)])
    a = np.ascontiguousarray(a[: a.size // 64 * 64], np.float32)
    o = np.zeros(a.size, np.int16)
    rounding(a, a.size, o)
    actual, wanted = torch.from_numpy(o).view(dtype), torch.from_numpy(a).to(dtype)
    assert torch.equal(actual.isnan(), torch.from_numpy(np.isnan(a)))
    assert torch.equal(actual.view(torch.int16)[~actual.isnan()], wanted.view(torch.int16)[~wanted.isnan()])


def test_bytes() -> None:
    make = vector(types.float64, 16)

    @compiled(2)
    def kernel(a: int, o: int) -> None:
        like = make(0)
        store(o, load_bytes(like, a + 1))
        store(o + 64, load_bytes_some(like, a, first_lanes(like, 5)))
        write_u8(a, read_u8(a) + 258)

    a, o = np.arange(240, 257).astype(np.uint8), np.zeros((2, 16), np.int32)
    kernel(a, o)
    same(o, np.array([[*range(241, 256), 0], [*range(240, 245), *[0] * 11]], np.int32))
    assert a.tolist() == [242, *range(241, 256), 0]


@either
def test_lanes_to_numbers(kind: str, lanes: int) -> None:
    make, width = vector(KINDS[kind], lanes), np.dtype(kind).itemsize
    write = {"float32": write_f32, "float64": write_f64, "int32": write_i32, "int64": write_i64}
    write_one, write_sum = write[kind], write["float64" if kind == "float32" else kind]

    @compiled(4)
    def kernel(a: int, at: int, o: int, total: int) -> None:
        x = load(make(0), a)
        write_one(o, max_lanes(x))
        write_one(o + width, min_lanes(x))
        write_one(o + 2 * width, lane(x, at))
        write_one(o + 3 * width, lane(x, 2))
        write_sum(total, sum_lanes(x))

    a = np.random.default_rng(3).normal(size=lanes).cumsum() * 1e6
    a = np.random.default_rng(3).permutation(a).astype(kind)
    o, total = np.zeros(4, kind), np.zeros(1, np.float64 if kind == "float32" else kind)
    kernel(a, lanes - 3, o, total)
    same(o, np.array([a.max(), a.min(), a[-3], a[2]]))
    # Halves onto halves, always: the last bit does not depend on the processor.
    tree = a.astype(total.dtype)
    while tree.size > 1:
        tree = tree[: tree.size // 2] + tree[tree.size // 2 :]
    same(total, tree)


def test_single_numbers() -> None:
    @compiled(1)
    def kernel(a: int) -> None:
        write_i32(a + 4, read_i32(a) - 1)
        write_i64(a + 16, read_i64(a + 8) - 1)
        write_f32(a + 28, read_f32(a + 24) / 3)
        write_f64(a + 40, read_f64(a + 32) / 3)
        shared = carray(places_of(a + 48), 2)
        shared[1] = fetch_add(places_of(a + 48), 0, 5)

    a = np.zeros(64, np.uint8)
    a[:8].view(np.int32)[0] = 1 << 30
    a[8:24].view(np.int64)[0] = 1 << 40
    a[24:32].view(np.float32)[0] = a[32:48].view(np.float64)[0] = 2
    a[48:64].view(np.int64)[0] = 11
    kernel(a)
    assert a[:8].view(np.int32)[1] == (1 << 30) - 1
    assert a[8:24].view(np.int64)[1] == (1 << 40) - 1
    assert a[24:32].view(np.float32)[1] == np.float32(2 / 3)
    assert a[32:48].view(np.float64)[1] == 2 / 3
    assert a[48:64].view(np.int64).tolist() == [16, 11]


@vec.native(lambda address: types.CPointer(types.int64)(types.int64))
def places_of(builder: Any, sig: Any, address: Any) -> Any:
    """The pointer that a kernel is called with, of an address."""
    return builder.inttoptr(address, vec.I64.as_pointer())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is protected through Linux' libc")
def test_lanes_that_are_not_set_touch_no_memory() -> None:
    make = vector(types.float32, 64)

    @compiled(4)
    def kernel(end: int, n: int, o: int, nowhere: int) -> None:
        like = make(0)
        some = first_lanes(like, n)
        x = load_some(like, end - 4 * n, some)
        x += load_bf16_some(like, end - 2 * n, some)
        x += to_float(load_bytes_some(like, end - n, some))
        x += gather_some(like, nowhere, places(like, 0), first_lanes(like, 0))
        store(o, x)
        store_some(end - 4 * n, full(like, 1.0), some)
        store_bf16_some(end - 2 * n, full(like, 2.0), some)

    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 2 * page)
    readable = np.frombuffer(memory, np.uint8)
    address = readable.ctypes.data
    protect = ctypes.CDLL(ctypes.util.find_library("c")).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    assert protect(address + page, page, 0) == 0
    try:
        for n in (0, 1, 5, 63):
            readable[:page] = 0
            floats = readable[page - 4 * n : page].view(np.float32)
            floats[:] = 3
            o = np.zeros(64, np.float32)
            kernel(address + page, n, o, address + page)
            assert o[:n].min(initial=3) >= 3
            assert not o[n:].any()
            twos = torch.from_numpy(readable[page - 2 * n : page].view(np.int16)).view(torch.bfloat16)
            assert (twos == 2).all()
    finally:
        assert protect(address + page, page, 3) == 0


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("add", ("float32", "float64")),
        ("lt", ("int32", "float32")),
        ("and_", ("float32", "float32")),
        ("xor", ("float64", "float64")),
        ("truediv", ("int32", "int32")),
    ],
)
def test_lanes_that_do_not_go_together(name: str, kinds: tuple[str, str]) -> None:
    first, second = (vector(KINDS[kind], 16) for kind in kinds)
    combine = getattr(operator, name)

    def kernel() -> None:
        combine(first(0), second(0))

    with pytest.raises(TypingError, match="No implementation of function"):
        njit("void()")(kernel)


def test_widths_do_not_mix() -> None:
    short, long = vector(types.float32, 16), vector(types.float32, 64)

    def kernel() -> None:
        short(0) + long(0)

    with pytest.raises(TypingError, match="No implementation of function"):
        njit("void()")(kernel)
