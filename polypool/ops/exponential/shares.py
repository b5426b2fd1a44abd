"""What a member has of its cell's result: its density, or its gradient.

With `y = k2 (x - top)` a member of weight w has the share `p = w 2^y / sum w 2^y`. The gradient of a log-mean-exp is
`g p`, that of an average `g p (1 + k (x - average)) = g p (1 + ln 2 (y - mean y))`. A density is `d = p / w`, and its
gradient, by the gradients h of all of them, `k d (h - w sum d h)`.
"""

from __future__ import annotations

from typing import Any

from polypool.ops.cpu.vec import fma, select
from polypool.ops.cpu.vmath import ZERO, exp2_of_negative
from polypool.ops.cpu.walk import inline
from polypool.ops.exponential.fields import DENSITY, OF_AVERAGE, OF_DENSITY
from polypool.ops.exponential.finish import LN2
from polypool.ops.exponential.terms import below


@inline
def factors(level: Any, one: Any, g: Any, mean: Any, k: Any) -> Any:
    """Two factors of a cell.

    They are made of the share `one` of a member of weight 1 that equals the top, of the gradient g of the result (for
    that of a density, of `sum d h`), and for an average of the mean y.
    """
    if level == DENSITY:
        return one, one
    if level == OF_DENSITY:
        return g, k * LN2(k)
    c = one * g
    return fma(-LN2(c), mean * c, c), c * LN2(c)


@inline
def share_of(level: Any, x: Any, h: Any, share: Any, top: Any, k: Any, a: Any, b: Any) -> Any:
    """The density or the gradient of members, from their weights and the factors of their cell; 0 at weight 0."""
    if level == OF_DENSITY:
        v = x * fma(-share, a, h) * b
    else:
        y = below(x, top, k)
        v = exp2_of_negative(y)
        if level == OF_AVERAGE:
            v = v * fma(y, b, a) * share
        elif level == DENSITY:
            v = v * a
        else:
            v = v * a * share
    return select(share == ZERO(v), ZERO(v), v)
