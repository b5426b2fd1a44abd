"""Sums over numbers that follow each other in memory: of their powers, and what has to be known of them before.

Powers are written down as well, for sums of parts of them.
"""

from __future__ import annotations

from typing import Any

from numba import float64, int32, int64

from polypool.ops.cpu.like import lanes, size, spread
from polypool.ops.cpu.stretch import real
from polypool.ops.cpu.vec import (
    add_lanes,
    any_lane,
    bits,
    first_lanes,
    full,
    max_lanes,
    select,
    store,
    sum_lanes,
)
from polypool.ops.cpu.walk import get, inline
from polypool.ops.power.products import factors, product
from polypool.ops.power.ratios import BASES, LOWS, RESTS, STEEPS, UPS, powers
from polypool.ops.power.terms import NOTHING, SIZE_BITS, clamped, larger, least, sign_kept


@inline
def sum_products(wide: Any, like: Any, job: Any, address: Any, weights: Any, n: Any, target: Any) -> Any:
    """Writes the products of n numbers; returns their sum, their mass, and whether a number is not 0."""
    parts, sign, floor = factors(job, wide), sign_kept(job, wide), least(wide, job)
    whole = n // lanes(wide) * lanes(wide) if weights == 0 else int64(0)
    total, seen = full(wide, 0.0), NOTHING(bits(wide))
    for i in range(0, whole, lanes(wide)):
        x = bits(clamped(floor, get(wide, address + i * size(wide), None)))
        y = product(x, sign, parts)
        store(target + i * size(wide), y)
        total, seen = total + y, seen | (x & SIZE_BITS(x))
    few_parts, few_sign, few_floor = factors(job, like), sign_kept(job, like), least(like, job)
    rest, mass, left = full(like, 0.0), full(like, 0.0), NOTHING(bits(like))
    for i in range(whole, n, lanes(like)):
        mask, share = real(like, weights, i, n)
        z = bits(clamped(few_floor, get(like, address + i * size(like), mask)))
        z = select(mask, z, NOTHING(z))
        y_of_few = product(z, few_sign, few_parts)
        store(target + i * size(like), y_of_few)
        rest, left = rest + y_of_few * share, left | (z & SIZE_BITS(z))
        mass = mass + share
    some = any_lane(seen != NOTHING(seen)) or any_lane(left != NOTHING(left))
    total_of_all = float64(add_lanes(total)) + float64(add_lanes(rest))
    return total_of_all, float(n) if weights == 0 else sum_lanes(mass), some


@inline
def find_top(like: Any, job: Any, address: Any, weights: Any, n: Any) -> Any:
    """The bits of the largest of n numbers."""
    top, floor = NOTHING(bits(like)), least(like, job)
    whole = n // lanes(like) * lanes(like) if weights == 0 else int64(0)
    for i in range(0, whole, lanes(like)):
        x = bits(clamped(floor, get(like, address + i * size(like), None)))
        top = larger(x & SIZE_BITS(x), top)
    for i in range(whole, n, lanes(like)):
        mask, _ = real(like, weights, i, n)
        x = bits(clamped(floor, get(like, address + i * size(like), mask)))
        top = larger(select(mask, x & SIZE_BITS(x), top), top)
    return max_lanes(top)


@inline
def sum_powers(
    wide: Any, like: Any, job: Any, ready: Any, address: Any, weights: Any, n: Any, target: Any
) -> Any:
    """Writes the powers of n numbers; returns their sum, their mass, and the bits of the largest number."""
    whole = n // lanes(wide) * lanes(wide) if weights == 0 else int64(0)
    sign, floor = sign_kept(job, wide), least(wide, job)
    up, base, rest = spread(wide, ready + UPS), spread(bits(wide), ready + BASES), spread(wide, ready + RESTS)
    p, low = spread(wide, ready + STEEPS), spread(wide, ready + LOWS)
    total, most = full(wide, 0.0), NOTHING(bits(wide))
    for i in range(0, whole, lanes(wide)):
        x = bits(clamped(floor, get(wide, address + i * size(wide), None)))
        most = larger(x & SIZE_BITS(x), most)
        y = powers(x, sign, up, base, rest, p, low)
        store(target + i * size(wide), y)
        total = total + y
    few, mass, largest = few_powers(like, job, ready, address, weights, whole, n, target)
    all_mass = float(n) if weights == 0 else mass
    return float64(add_lanes(total)) + few, all_mass, max(largest, max_lanes(most))


@inline
def few_powers(
    like: Any, job: Any, ready: Any, address: Any, weights: Any, begin: Any, n: Any, target: Any
) -> Any:
    """The same of numbers that do not fill a vector, or have weights."""
    sign, floor = sign_kept(job, like), least(like, job)
    up, base, rest = spread(like, ready + UPS), spread(bits(like), ready + BASES), spread(like, ready + RESTS)
    p, low = spread(like, ready + STEEPS), spread(like, ready + LOWS)
    total, mass, most = full(like, 0.0), full(like, 0.0), NOTHING(bits(like))
    for i in range(begin, n, lanes(like)):
        mask, share = real(like, weights, i, n)
        x = bits(clamped(floor, get(like, address + i * size(like), mask)))
        x = select(mask, x, NOTHING(x))
        most = larger(x & SIZE_BITS(x), most)
        y = powers(x, sign, up, base, rest, p, low)
        store(target + i * size(like), y)
        total = total + y * share
        mass = mass + share
    return float64(add_lanes(total)), sum_lanes(mass), max_lanes(most)


@inline
def sum_of(like: Any, address: Any, n: Any) -> Any:
    """The sum of n numbers."""
    total, whole = full(like, 0.0), n // lanes(like) * lanes(like)
    for i in range(0, whole, lanes(like)):
        total = total + get(like, address + i * size(like), None)
    if whole < n:
        total = total + get(like, address + whole * size(like), first_lanes(like, int32(n - whole)))
    return float64(add_lanes(total))
