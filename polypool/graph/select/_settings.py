"""Checks of what selects are told, and how many nodes a ratio keeps."""

from fractions import Fraction

import torch
from torch import Tensor

from polypool._checks import may_read
from polypool.graph._graph import Graph
from polypool.poolings._settings import count


def ratio_of(ratio: object) -> float | int:
    """A share in `(0, 1]` as a float, or a number of nodes as an int."""
    if isinstance(ratio, int) and not isinstance(ratio, bool):
        return count(ratio, "ratio")
    if not isinstance(ratio, float):
        raise TypeError(f"ratio must be a float in (0, 1] or an int; found {type(ratio).__name__}.")
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio must be in (0, 1]; found {ratio}. Pass an int for a number of nodes.")
    return ratio


def to_keep(graph: Graph, ratio: float | int) -> Tensor:
    """`(B,)` int64: `ceil(ratio n)` of the n nodes of each graph, or an int's worth of them, never more than n.

    In whole numbers: 0.1 of 30 is 3, although `0.1 * 30` is a little more.
    """
    n = graph.counts
    if isinstance(ratio, int):
        return n.clamp(max=ratio)
    share = Fraction(ratio).limit_denominator(1_000_000)
    # A ratio below a millionth still keeps one.
    kept = (n * share.numerator + share.denominator - 1) // share.denominator
    return torch.maximum(kept, n.clamp(max=1))


def finite(share: Tensor, name: str) -> Tensor:
    """Shares that a network made of the features, none of them NaN.

    Raises:
        ValueError: One is not finite.
    """
    if may_read(share) and not bool(share.detach().isfinite().all()):
        raise ValueError(
            f"x must be finite where {name} shares nodes out by it; found NaN or infinity in x, or in the parameters. "
            "Clean the features, or look at the learning rate."
        )
    return share


def chosen(value: object, what: str, among: tuple[str, ...]) -> str:
    """One of several names."""
    if not isinstance(value, str) or value not in among:
        raise ValueError(f"{what} must be one of {', '.join(among)}; found {value!r}.")
    return value
