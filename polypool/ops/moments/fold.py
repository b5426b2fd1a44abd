"""Joining what is known of two parts of a cell: masses, sums and central moments, in float64.

Source: Chan, Golub, LeVeque 1979; Pebay 2008. Written over vectors, and over single numbers as well; the masses,
which all channels share, are single numbers.
"""

from __future__ import annotations

from typing import Any

from polypool.ops.cpu.like import same
from polypool.ops.cpu.walk import inline


@inline
def join_m2(a: Any, b: Any, gap: Any, mass_a: Any, mass_b: Any) -> Any:
    """Summed squared deviations of the union; `gap` is the mean of b less that of a."""
    return a + b + gap * gap * same(a, mass_a * mass_b / (mass_a + mass_b))


@inline
def join_m3(a: Any, b: Any, a2: Any, b2: Any, gap: Any, mass_a: Any, mass_b: Any) -> Any:
    """Summed cubes of deviations; `a2` and `b2` are the summed squares."""
    mass = mass_a + mass_b
    moved = gap * gap * same(a, mass_a * mass_b * (mass_a - mass_b) / (mass * mass))
    return a + b + gap * (moved + b2 * same(a, 3.0 * mass_a / mass) - a2 * same(a, 3.0 * mass_b / mass))


@inline
def join_m4(a: Any, b: Any, a2: Any, b2: Any, a3: Any, b3: Any, gap: Any, mass_a: Any, mass_b: Any) -> Any:
    """Summed fourth powers of deviations."""
    share_a, share_b = mass_a / (mass_a + mass_b), mass_b / (mass_a + mass_b)
    fourth = (
        gap * gap * same(a, mass_a * share_b * (share_a * share_a - share_a * share_b + share_b * share_b))
    )
    squares = (b2 * same(a, share_a * share_a) + a2 * same(a, share_b * share_b)) * same(a, 6.0)
    cubes = (b3 * same(a, share_a) - a3 * same(a, share_b)) * same(a, 4.0)
    return a + b + gap * (gap * (fourth + squares) + cubes)
