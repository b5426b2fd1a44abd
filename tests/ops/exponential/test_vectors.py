"""Rows turned into columns, lanes moved round, powers of what is not above 0."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from numba import njit, types
from numpy.typing import NDArray

from polypool.ops.cpu.vec import load, rotate_2, rotate_4, rotate_8, rotate_16, rotate_32, store, turn, vector
from polypool.ops.cpu.vmath import (
    exp2,
    exp2_both,
    exp2_both_of_negative,
    exp2_of_negative,
    inline,
    log2_of_sum,
    not_too_low,
)

Array = NDArray[Any]
KINDS: dict[str, Any] = {"float32": types.float32, "float64": types.float64}
every_kind = pytest.mark.parametrize("kind", KINDS)


@cache
def turner(kind: str, lanes: int) -> Any:
    make = vector(KINDS[kind], lanes)

    @njit("void(int64, int64, int32, int64)")
    def apply(addresses: int, counts: int, start: int, target: int) -> None:
        turn(make(0), addresses, counts, start, target)

    return apply


@pytest.mark.parametrize(("kind", "lanes"), [("float32", 16), ("float64", 8)])
@pytest.mark.parametrize("start", [0, 5])
def test_rows_become_columns(kind: str, lanes: int, start: int) -> None:
    """Rows of different lengths, wherever they are; what they lack is 0, and is not read."""
    counts = np.arange(lanes, dtype=np.int32) * 7 % (lanes + 6)
    rows = [np.arange(n, dtype=kind) + 100 * (i + 1) for i, n in enumerate(counts)]
    addresses = np.array([row.ctypes.data for row in rows], dtype=np.int64)
    found = np.full((lanes, lanes), np.nan, dtype=kind)
    turner(kind, lanes)(addresses.ctypes.data, counts.ctypes.data, start, found.ctypes.data)
    wanted = np.zeros((lanes, lanes), dtype=kind)
    for i, row in enumerate(rows):
        part = row[start : start + lanes]
        wanted[: len(part), i] = part
    np.testing.assert_array_equal(found, wanted)


@cache
def applied(function: Any, kind: str, lanes: int) -> Any:
    make = vector(KINDS[kind], lanes)

    @njit("void(int64, int64)")
    def apply(x: int, y: int) -> None:
        store(y, function(load(make(0), x)))

    return apply


def of_lanes(function: Any, x: Array) -> Array:
    y = np.full_like(x, np.nan)
    applied(function, x.dtype.name, x.size)(x.ctypes.data, y.ctypes.data)
    return y


ROTATIONS = {2: rotate_2, 4: rotate_4, 8: rotate_8, 16: rotate_16, 32: rotate_32}


@inline
def around(v: Any) -> Any:
    return rotate_2(rotate_4(rotate_8(rotate_16(rotate_32(v)))))


@every_kind
def test_lanes_go_round(kind: str) -> None:
    for lanes in (32, 64):
        x = np.arange(lanes, dtype=kind)
        np.testing.assert_array_equal(of_lanes(around, x), np.roll(x, -62))


@inline
def power(x: Any) -> Any:
    return exp2_of_negative(not_too_low(x))


@inline
def power_of_both(x: Any) -> Any:
    return exp2_both_of_negative(not_too_low(x))[0]


@inline
def less_one(x: Any) -> Any:
    return exp2_both_of_negative(not_too_low(x))[1]


@inline
def less_one_anywhere(x: Any) -> Any:
    return exp2_both(x)[1]


@every_kind
def test_powers_of_what_is_not_above_0(kind: str) -> None:
    """Bit by bit those of any number."""
    lowest = -1100.0 if kind == "float64" else -150.0
    x = np.concatenate(
        [np.linspace(lowest, 0, 4091), [0.0, -1e-30, -np.inf, np.nan, np.finfo(kind).min]]
    ).astype(kind)
    for part in x.reshape(-1, 64):
        np.testing.assert_array_equal(of_lanes(power, part), of_lanes(exp2, part))
        np.testing.assert_array_equal(of_lanes(power_of_both, part), of_lanes(exp2, part))
        np.testing.assert_array_equal(of_lanes(less_one, part), of_lanes(less_one_anywhere, part))
    assert of_lanes(power, np.full(64, -np.inf, dtype=kind)).max() == 0


@inline
def logarithm(x: Any) -> Any:
    return log2_of_sum(x, None)


@every_kind
def test_logarithms_of_sums(kind: str) -> None:
    x = np.geomspace(1e-30, 2, 64).astype(kind)
    wanted = np.log2(x.astype(np.longdouble))
    np.testing.assert_allclose(of_lanes(logarithm, x), wanted, rtol=4 * float(np.finfo(kind).eps), atol=1e-9)
