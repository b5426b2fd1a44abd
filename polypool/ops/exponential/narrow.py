"""Softmax of cells whose rows have few channels, such as the scores of several heads: several rows in one vector.

Rows of 2, 4, 8 or 16 numbers one after the other are read as one stretch of numbers. A lane has always the same
channel, and the lanes of a channel are joined at the end of the cell, all of which one thread reads.
"""

from __future__ import annotations

from typing import Any

from numba import carray, int32, int64

from polypool.ops.cpu.compiler import WIDE
from polypool.ops.cpu.job import (
    CELL,
    CHANNELS,
    GRAD,
    GRAD_CELL,
    GRAIN,
    ITEMS,
    NEXT,
    OFFSETS,
    ROW,
    SIZE,
    VALUES,
    WEIGHT,
)
from polypool.ops.cpu.like import as_double, as_like, doubled, lanes, size
from polypool.ops.cpu.vec import (
    counting,
    fetch_add,
    first_lanes,
    fma,
    gather,
    gather_some,
    places,
    rotate_2,
    rotate_4,
    rotate_8,
    rotate_16,
    rotate_32,
    select,
)
from polypool.ops.cpu.vmath import ONE, ZERO, exp2_of_negative
from polypool.ops.cpu.walk import get, inline, put, span
from polypool.ops.exponential.fields import DENSITY, EXPONENT, G_DENSITY, LEVEL
from polypool.ops.exponential.finish import LN2
from polypool.ops.exponential.terms import below, further, lowest

#: How many channels there may be.
CHANNELS_TOGETHER = (2, 4, 8, 16)
#: Numbers whose sum is taken before it is added up in float64.
BLOCK = 4096


@inline
def sum_of_channel(v: Any, channels: Any) -> Any:
    """What all lanes of a channel add up to, in each of them."""
    if lanes(v) > 32:
        v = v + rotate_32(v)
    v = v + rotate_16(v)
    if channels <= 8:
        v = v + rotate_8(v)
    if channels <= 4:
        v = v + rotate_4(v)
    if channels <= 2:
        v = v + rotate_2(v)
    return v


@inline
def beyond(a: Any, b: Any, negative: Any) -> Any:
    """The larger of two; the smaller where k is negative."""
    return select(further(b, a, negative), b, a)


@inline
def largest_of_channel(v: Any, channels: Any, negative: Any) -> Any:
    """The largest of all lanes of a channel, in each of them; the smallest where k is negative."""
    if lanes(v) > 32:
        v = beyond(v, rotate_32(v), negative)
    v = beyond(v, rotate_16(v), negative)
    if channels <= 8:
        v = beyond(v, rotate_8(v), negative)
    if channels <= 4:
        v = beyond(v, rotate_4(v), negative)
    if channels <= 2:
        v = beyond(v, rotate_2(v), negative)
    return v


@inline
def share(like: Any, mask: Any, weights: Any, row: Any) -> Any:
    """The weights of a vector of numbers, `row` being how far each has its weight from the first; 0 behind a mask."""
    if mask is None:
        return gather(like, weights, row) if weights != 0 else ONE(like)
    return gather_some(like, weights, row, mask) if weights != 0 else select(mask, ONE(like), ZERO(like))


@inline
def find(mask: Any, address: Any, weights: Any, row: Any, top: Any, negative: Any) -> Any:
    """The largest of a vector and of what is known."""
    x = get(top, address, mask)
    more = further(x, top, negative) & (share(top, mask, weights, row) != ZERO(top))
    return select(more, x, top)


@inline
def power(mask: Any, address: Any, weights: Any, row: Any, top: Any, k: Any, target: Any) -> Any:
    """Writes what the numbers of a vector count, and returns it by their weights."""
    w = share(top, mask, weights, row)
    e = exp2_of_negative(below(get(top, address, mask), top, k))
    e = select(w == ZERO(w), ZERO(w), e)
    put(target, e, mask)
    return e * w


@inline
def scale(mask: Any, weights: Any, row: Any, one: Any, target: Any) -> None:
    """Makes densities of what the numbers of a vector count."""
    w = share(one, mask, weights, row)
    put(target, select(w == ZERO(w), ZERO(w), get(one, target, mask) * one), mask)


@inline
def product(mask: Any, address: Any, weights: Any, row: Any, other: Any, zero: Any) -> Any:
    """The products of the numbers of two vectors, nothing where the weight is 0."""
    w = share(zero, mask, weights, row)
    return select(w == zero, zero, get(zero, address, mask) * get(zero, address + other, mask))


@inline
def slope(
    mask: Any, address: Any, weights: Any, row: Any, other: Any, total: Any, k: Any, target: Any
) -> None:
    """Writes the gradient of a vector of numbers, from their densities and the gradients of these."""
    w = share(k, mask, weights, row)
    v = get(k, address, mask) * fma(-w, total, get(k, address + other, mask)) * k
    put(target, select(w == ZERO(w), ZERO(w), v), mask)


@inline
def behind(weights: Any, i: Any, shift: Any, like: Any) -> Any:
    """Where the weights from number i on are; 0 where there are none."""
    return weights + (i >> shift) * size(like) if weights != 0 else weights


@inline
def write_densities(
    like: Any, channels: Any, shift: Any, k: Any, row: Any, address: Any, weights: Any, target: Any, n: Any
) -> None:
    """The densities of the n numbers of a cell."""
    width, step = size(like), lanes(like)
    whole = n // step * step
    mask, at = first_lanes(like, int32(n - whole)), behind(weights, whole, shift, like)
    top, negative, total = lowest(like, k), k < ZERO(k), doubled(like)
    for i in range(0, whole, step):
        top = find(None, address + i * width, behind(weights, i, shift, like), row, top, negative)
    if whole < n:
        top = find(mask, address + whole * width, at, row, top, negative)
    top = largest_of_channel(top, channels, negative)
    for begin in range(0, whole, BLOCK):
        s = ZERO(k)
        for i in range(begin, min(begin + BLOCK, whole), step):
            there, to = behind(weights, i, shift, like), target + i * width
            s = s + power(None, address + i * width, there, row, top, k, to)
        total = total + as_double(s)
    if whole < n:
        total = total + as_double(
            power(mask, address + whole * width, at, row, top, k, target + whole * width)
        )
    s = as_like(like, sum_of_channel(total, channels))
    one = select(s == ZERO(s), ZERO(s), ONE(s) / s)
    for i in range(0, whole, step):
        scale(None, behind(weights, i, shift, like), row, one, target + i * width)
    if whole < n:
        scale(mask, at, row, one, target + whole * width)


@inline
def write_gradients(
    like: Any,
    channels: Any,
    shift: Any,
    k: Any,
    row: Any,
    address: Any,
    weights: Any,
    other: Any,
    target: Any,
    n: Any,
) -> None:
    """The gradients of the n numbers of a cell, whose densities are at the address."""
    width, step = size(like), lanes(like)
    whole = n // step * step
    mask, at = first_lanes(like, int32(n - whole)), behind(weights, whole, shift, like)
    zero, total, natural = ZERO(k), doubled(like), k * LN2(k)
    for begin in range(0, whole, BLOCK):
        s = zero
        for i in range(begin, min(begin + BLOCK, whole), step):
            s = s + product(None, address + i * width, behind(weights, i, shift, like), row, other, zero)
        total = total + as_double(s)
    if whole < n:
        total = total + as_double(product(mask, address + whole * width, at, row, other, zero))
    s = as_like(like, sum_of_channel(total, channels))
    for i in range(0, whole, step):
        there, to = behind(weights, i, shift, like), target + i * width
        slope(None, address + i * width, there, row, other, s, natural, to)
    if whole < n:
        slope(mask, address + whole * width, at, row, other, s, natural, target + whole * width)


def softmax_of_narrow_rows(pointer: Any) -> None:
    """The kernel."""
    job = carray(pointer, SIZE)
    wide, channels, shift = WIDE(0), job[CHANNELS], int64(0)
    while (int64(1) << shift) < channels:
        shift += 1
    width, bits = size(wide), counting(wide)
    row = (bits >> places(wide, int32(shift))) * places(wide, int32(width))
    channel = bits - ((bits >> places(wide, int32(shift))) << places(wide, int32(shift)))
    k = gather(wide, job[EXPONENT], channel * places(wide, int32(width)))
    while True:
        first = fetch_add(pointer, NEXT, job[GRAIN])
        if first >= job[ITEMS]:
            break
        for cell in range(first, min(first + job[GRAIN], job[ITEMS])):
            begin, end = span(job, cell)
            n, weights = (end - begin) * channels, job[WEIGHT]
            address, target = job[VALUES] + cell * job[CELL], job[GRAD] + cell * job[GRAD_CELL]
            if job[OFFSETS] != 0:
                address, target = job[VALUES] + begin * job[ROW], job[GRAD] + begin * job[ROW]
            if weights != 0:
                weights += begin * width
            if job[LEVEL] == DENSITY:
                write_densities(wide, channels, shift, k, row, address, weights, target, n)
            else:
                other = job[G_DENSITY]
                write_gradients(wide, channels, shift, k, row, address, weights, other, target, n)
