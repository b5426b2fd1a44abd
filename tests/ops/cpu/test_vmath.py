"""Powers and logarithms, lane by lane, against numpy in a higher precision."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numba import njit, types
from numpy.typing import NDArray

from polypool.ops.cpu.vec import load, store, vector
from polypool.ops.cpu.vmath import exp2, exp2_both, exp2m1, inline, log2, log2_1p

Array = NDArray[Any]

KINDS: dict[str, Any] = {"float32": types.float32, "float64": types.float64}
# What one kind of number is checked in.
HIGHER: dict[str, Any] = {"float32": np.float64, "float64": np.longdouble}
UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}
HIGHEST = {"float32": 128, "float64": 1024}
everywhere = pytest.mark.parametrize(
    ("kind", "lanes"), [("float32", 16), ("float32", 64), ("float64", 16), ("float64", 64)]
)
either = pytest.mark.parametrize("kind", ["float32", "float64"])
# Where the numbers of Windows and of macOS on Arm end, there is nothing to compare float64 with.
precise = pytest.mark.skipif(
    bool(np.finfo(np.longdouble).eps > 1e-18), reason="no type is longer than float64"
)


@inline
def power_of_both(x: Any) -> Any:
    return exp2_both(x)[0]


@inline
def less_one_of_both(x: Any) -> Any:
    return exp2_both(x)[1]


@cache
def kernel(function: Any, kind: str, lanes: int) -> Any:
    make, size = vector(KINDS[kind], lanes), lanes * np.dtype(kind).itemsize

    @njit("void(int64, int64, int64)")
    def apply(x: int, y: int, n: int) -> None:
        like = make(0)
        for i in range(n):
            store(y + i * size, function(load(like, x + i * size)))

    return apply


def applied(function: Any, x: Array, lanes: int = 16) -> Array:
    """The function of every number."""
    padded = np.resize(x, -(-x.size // lanes) * lanes)
    y = np.full_like(padded, 7)
    kernel(function, x.dtype.name, lanes)(padded.ctypes.data, y.ctypes.data, padded.size // lanes)
    return y[: x.size]


def uniform(kind: str, low: float, high: float, n: int = 20_000) -> Array:
    return np.random.default_rng(0).uniform(low, high, n).astype(kind)


def magnitudes(kind: str, low: float, high: float) -> Array:
    """Positive numbers of every magnitude between two powers of two."""
    return (2.0 ** np.random.default_rng(1).uniform(low, high, 20_000)).astype(kind)


def raised(x: Array) -> Array:
    return np.exp2(x.astype(HIGHER[x.dtype.name]))


def raised_less_one(x: Array) -> Array:
    high = HIGHER[x.dtype.name]
    return np.expm1(x.astype(high) * np.log(high(2)))


def logarithm(x: Array) -> Array:
    return np.log2(x.astype(HIGHER[x.dtype.name]))


def logarithm_1p(x: Array) -> Array:
    high = HIGHER[x.dtype.name]
    return np.log1p(x.astype(high)) / np.log(high(2))


def error(actual: Array, expected: Array) -> float:
    """The largest relative error, in units of half a last place."""
    assert np.isfinite(actual).all()
    same = actual == expected
    return (
        float(np.max(np.abs(actual - expected)[~same] / np.abs(expected)[~same], initial=0))
        / UNIT[actual.dtype.name]
    )


@precise
@everywhere
@pytest.mark.parametrize("function", [exp2, power_of_both])
def test_exp2(function: Any, kind: str, lanes: int) -> None:
    top = HIGHEST[kind]
    for x in (uniform(kind, 2.5 - top, top - 1e-4), uniform(kind, -1, 1), magnitudes(kind, -70, 0)):
        assert error(applied(function, x, lanes), raised(x)) < 2


@precise
@everywhere
@pytest.mark.parametrize("function", [exp2m1, less_one_of_both])
def test_exp2m1(function: Any, kind: str, lanes: int) -> None:
    top = HIGHEST[kind]
    small = magnitudes(kind, -100, 0)
    for x in (uniform(kind, 2.5 - top, top - 0.6), uniform(kind, -1, 1), small, -small):
        assert error(applied(function, x, lanes), raised_less_one(x)) < 3.5


@precise
@everywhere
def test_log2(kind: str, lanes: int) -> None:
    top = HIGHEST[kind]
    ones = 1 + np.concatenate([magnitudes(kind, -55, -2), -magnitudes(kind, -55, -2)])
    for x in (magnitudes(kind, 2 - top, top - 0.01), uniform(kind, 0.3, 3), ones):
        assert error(applied(log2, x, lanes), logarithm(x)) < 3


@precise
@everywhere
def test_log2_1p(kind: str, lanes: int) -> None:
    top = HIGHEST[kind]
    small = magnitudes(kind, -100, -1)
    numbers = (
        magnitudes(kind, -1, top - 0.01),
        uniform(kind, -0.99, 3),
        small,
        -small,
        magnitudes(kind, -30, -1) - 1,
    )
    for y in numbers:
        y = y[y > -1]
        assert error(applied(log2_1p, y, lanes), logarithm_1p(y)) < 3.5


@either
@pytest.mark.parametrize("function", [exp2, power_of_both])
def test_whole_powers_are_exact(function: Any, kind: str) -> None:
    top = HIGHEST[kind]
    n = np.arange(3 - top, top)
    np.testing.assert_array_equal(applied(function, n.astype(kind)), np.ldexp(np.ones(1, kind), n))


@either
def test_logarithms_of_whole_powers_are_exact(kind: str) -> None:
    top = HIGHEST[kind]
    n = np.arange(2 - top, top)
    np.testing.assert_array_equal(applied(log2, np.ldexp(np.ones(1, kind), n)), n)


@either
def test_the_ends_of_powers(kind: str) -> None:
    top, info = HIGHEST[kind], np.finfo(kind)
    low = np.array([2.499 - top, 1 - top, -2 * top, -1e30, info.min, -np.inf], kind)
    high = np.array([top, top + 0.5, 1e30, info.max, np.inf], kind)
    below = np.nextafter(np.array([top], kind), 0)
    for function in (exp2, power_of_both):
        assert applied(function, low).tolist() == [0] * low.size
        assert applied(function, high).tolist() == [np.inf] * high.size
        assert np.isfinite(applied(function, below)).all()
    for function in (exp2m1, less_one_of_both):
        assert applied(function, low).tolist() == [-1] * low.size
        assert applied(function, high).tolist() == [np.inf] * high.size


@either
def test_powers_of_next_to_nothing(kind: str) -> None:
    info = np.finfo(kind)
    x = np.array([0.0, -0.0, info.tiny, -info.tiny, info.smallest_subnormal, info.eps / 8], kind)
    for function in (exp2, power_of_both):
        assert applied(function, x).tolist() == [1] * x.size
    for function in (exp2m1, less_one_of_both):
        y = applied(function, x)
        np.testing.assert_allclose(
            y, raised_less_one(x).astype(kind), rtol=1e-6, atol=float(info.smallest_subnormal)
        )
        assert y[0] == y[1] == 0


@either
def test_the_ends_of_logarithms(kind: str) -> None:
    info = np.finfo(kind)
    lost = np.array([0.0, -0.0, info.smallest_subnormal, info.tiny / 2], kind)
    assert applied(log2, lost).tolist() == [-np.inf] * lost.size
    exact = np.array([info.tiny, 1, np.inf], kind)
    assert applied(log2, exact).tolist() == [info.minexp, 0, np.inf]
    assert applied(log2, np.array([info.max], kind)) == HIGHEST[kind]
    negative = np.array([-info.smallest_subnormal, -info.tiny, -1, -2.5, info.min, -np.inf], kind)
    assert np.isnan(applied(log2, negative)).all()

    y = np.array([-1, 0, 1, 3, np.inf], kind)
    assert applied(log2_1p, y).tolist() == [-np.inf, 0, 1, 2, np.inf]
    assert np.isnan(applied(log2_1p, np.array([-1.5, -info.max, -np.inf], kind))).all()


@either
@pytest.mark.parametrize("function", [exp2, exp2m1, power_of_both, less_one_of_both, log2, log2_1p])
def test_nan_stays_nan_and_alone(function: Any, kind: str) -> None:
    x = np.ones(16, kind)
    # Quiet and signalling, of either sign, with low bits set and without.
    if kind == "float32":
        x.view(np.uint32)[:5] = [0x7FC00000, 0xFFC00000, 0x7FFFFFFF, 0x7F800001, 0xFF8000FF]
    else:
        high = np.array([0x7FF80000, 0xFFF80000, 0x7FFFFFFF, 0x7FF00000, 0xFFF00000], np.uint64)
        x.view(np.uint64)[:5] = (high << np.uint64(32)) + np.array([0, 0, 0xFFFFFFFF, 1, 0xFF], np.uint64)
    y = applied(function, x)
    assert np.isnan(y).tolist() == [True] * 5 + [False] * 11
    assert (y[5:] == y[5]).all()


@either
@pytest.mark.parametrize("function", [exp2, exp2m1, exp2_both, log2, log2_1p])
def test_no_library_is_called(function: Callable[..., Any], kind: str) -> None:
    first = inline(lambda x: function(x)[0]) if function is exp2_both else function
    compiled = kernel(first, kind, 64)
    # The fused operation that must be fused: a call where the processor has none.
    (code,) = compiled.inspect_llvm().values()
    assert "llvm.fma." not in code
    (code,) = compiled.inspect_asm().values()
    assert re.findall(r"\b(?:exp2|log2|ldexp|fma|rint|round|roundeven)f?\b", code) == []
