"""Gradients of moments as a polynomial in the distance from the mean.

With `d = x - mean` and the mass W, an element of weight w has the gradient `w (a + b d + c d^2 + e d^3)`, where
`a = g_sum + (g_mean - 3 m2 g_m3 - 4 m3 g_m4) / W`, `b = 2 g_m2 / W`, `c = 3 g_m3 / W` and `e = 4 g_m4 / W`.
"""

from __future__ import annotations

from typing import Any

from polypool.ops.cpu.job import MASS, WEIGHT
from polypool.ops.cpu.like import read_like, size
from polypool.ops.cpu.vec import full
from polypool.ops.cpu.walk import get, inline
from polypool.ops.moments.fields import CUBIC, G_M2, G_M3, G_M4, G_MEAN, G_SUM, LINEAR, M2, M3


@inline
def wanted(like: Any, mask: Any, address: Any, off: Any) -> Any:
    """One vector of a result or of its gradient; 0 where there is none."""
    if address == 0:
        return full(like, 0.0)
    return get(like, address + off, mask)


@inline
def mass_of(like: Any, job: Any, at: Any, members: Any) -> Any:
    """The mass of a cell: its members where there are no weights; 1 where it is empty."""
    mass = float(members)
    if job[WEIGHT] != 0:
        mass = float(read_like(like, job[MASS] + at * size(like)))
    return mass if mass != 0.0 else 1.0


@inline
def coefficients(like: Any, mask: Any, level: Any, job: Any, off: Any, mass: Any) -> Any:
    """a, b, c and e of a cell, for the channels of one vector."""
    part = full(like, 1.0 / mass)
    g_mean = wanted(like, mask, job[G_MEAN], off)
    # What torch divides is divided here too, so that its numbers are these; of float32 the last bit is not worth it.
    a = wanted(like, mask, job[G_SUM], off) + (
        g_mean / full(like, mass) if size(like) == 8 else g_mean * part
    )
    b, c, e = full(like, 0.0), full(like, 0.0), full(like, 0.0)
    if level >= LINEAR:
        b = wanted(like, mask, job[G_M2], off) * part * full(like, 2.0)
    if level >= CUBIC:
        g3, g4 = wanted(like, mask, job[G_M3], off) * part, wanted(like, mask, job[G_M4], off) * part
        a = a - g3 * wanted(like, mask, job[M2], off) * full(like, 3.0)
        a = a - g4 * wanted(like, mask, job[M3], off) * full(like, 4.0)
        c, e = g3 * full(like, 3.0), g4 * full(like, 4.0)
    return a, b, c, e


@inline
def slope(level: Any, d: Any, a: Any, b: Any, c: Any, e: Any) -> Any:
    """The polynomial at d."""
    if level >= CUBIC:
        return a + d * (b + d * (c + d * e))
    if level >= LINEAR:
        return a + d * b
    return a
