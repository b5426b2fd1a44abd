"""Exponentials shifted by the largest member of each cell, so that nothing overflows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from polypool.cells import Cells


def softmax(cells: Cells, scores: Tensor, t: float | Tensor = 1.0) -> Tensor:
    """`e^(s / t) / sum w e^(s / t)`: a density, 0 at padding. Members at +inf share the whole of it.

    The temperature divides after the largest is taken away: before, the quotient could overflow.
    """
    below, _ = _below_the_largest(cells, scores)
    below = cells.clean(below)
    # Infinitely far below, a member counts for nothing at any t: no infinity must become its gradient, or that of t.
    far = below.isinf()
    t = cells.expand(cells.per_cell(t)) if isinstance(t, Tensor) else _in_range(t, scores)
    raised = (below.masked_fill(far, 0.0) / t).exp().masked_fill(far, 0.0)
    raised = cells.clean(raised)
    return cells.normalise(raised)


def attend(cells: Cells, scores: Tensor, v: Tensor, t: float | Tensor = 1.0) -> Tensor:
    """`sum w e^(s / t) v / sum w e^(s / t)`."""
    return cells.apply(softmax(cells, scores, t), v)


def log_mean_exp(cells: Cells, v: Tensor, t: float | Tensor) -> Tensor:
    """`t log(sum w e^(v / t) / sum w)`."""
    below, largest = _below_the_largest(cells, v)
    if isinstance(t, Tensor):
        t = cells.per_cell(t)
        below = cells.clean(below) / cells.expand(t)
    else:
        t = _in_range(t, v)
        below = cells.clean(below) / t
    mean = cells.mean(below.exp())
    # log1p(mean(expm1)) tends to the mean of v as t grows, where log(mean(exp)) cancels; log is exact where
    # one member outweighs a million others, where log1p cancels.
    near_zero = mean < 0.5
    direct = torch.where(near_zero & (mean > 0), mean, torch.ones_like(mean)).log()
    shifted = torch.where(near_zero, torch.zeros_like(mean), cells.mean(below.expm1())).log1p()
    return largest + t * torch.where(near_zero, direct, shifted)


def _in_range(t: float, v: Tensor) -> float:
    """A temperature that the dtype of `v` can hold, with room to multiply and divide by it."""
    limits = torch.finfo(v.dtype)
    return min(max(t, limits.tiny), limits.max * limits.eps)


def _below_the_largest(cells: Cells, v: Tensor) -> tuple[Tensor, Tensor]:
    """`v - max` and the max, a constant; where the max is infinite, its members are at 0 below it."""
    largest = cells.best(v.detach())
    spread = cells.expand(largest)
    ties = spread.isinf() & (v == spread)
    return torch.where(ties, torch.zeros_like(v), v - spread), largest
