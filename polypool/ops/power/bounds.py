"""Which sums of powers float32 can hold, so that nothing has to be divided by the largest member."""

from __future__ import annotations

from typing import Any

from polypool.ops.cpu.like import size
from polypool.ops.cpu.vec import absolute, full
from polypool.ops.cpu.walk import inline
from polypool.ops.power.terms import NOTHING

#: Binary digits that powers may be above that of the top.
ROOM = 8.0
#: The same where the top is 1.
WIDE_ROOM = 64.0


@inline
def bounds(like: Any, mass: Any, products: Any) -> Any:
    """Where the sum of members of a mass has all its digits, and a root that can be taken.

    What is lost of each member is below the smallest number for products, and below the smallest normal one for powers.
    """
    if size(like) == 4:
        low, high = (2.0**-120, 2.0**120) if products else (2.0**-96, 2.0**96)
    else:
        low, high = (2.0**-1000, 2.0**1000) if products else (2.0**-900, 2.0**900)
    return (mass + 64.0) * low, min(mass, 1.0) * high


@inline
def held(total: Any, seen: Any, mass: Any, products: Any) -> Any:
    """Lanes whose sum float32 could hold: nothing overflowed, or vanished although there are bits that are not 0."""
    found = absolute(total)
    low, high = bounds(total, mass, products)
    return ((found >= full(found, low)) & (found < full(found, high))) | (seen == NOTHING(seen))


@inline
def held_number(like: Any, total: Any, seen: Any, mass: Any, products: Any) -> Any:
    """The same of a single sum."""
    low, high = bounds(like, mass, products)
    return low <= abs(total) < high or not seen
