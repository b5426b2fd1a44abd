"""Power means of numbers divided by the largest of their cell, so that no power overflows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polypool.ops.elementwise import raised, root

if TYPE_CHECKING:
    from polypool.cells import Cells


def power_mean(cells: Cells, v: Tensor, p: float | Tensor, signed: bool = False) -> Tensor:
    """`(sum w |v|^p / sum w)^(1 / p)`; signed: `sign(m) |m|^(1 / p)` with `m = sum w sign(v) |v|^p / sum w`."""
    if signed and isinstance(p, float) and p == 1.0:
        return cells.mean(v)  # |v| has no derivative at 0, the mean has
    if isinstance(p, Tensor):
        # By cell first: a gradient summed over all members at once would depend on the number of threads.
        p = cells.per_cell(p)
    size = v.abs()
    largest = cells.best(size.detach())
    # Zero and infinity cannot divide: an all-zero cell divides by 1, an infinite one counts its infinite members.
    scale = torch.where((largest == 0) | largest.isinf(), torch.ones_like(largest), largest)
    ratio = size / cells.expand(scale)
    infinite = cells.expand(largest).isinf()
    ratio = torch.where(infinite, size.isinf().to(ratio.dtype), ratio)
    # x^p has a derivative at 0 only for p >= 1, and with respect to p it has log(0): there 0 is a constant.
    zero = ratio < torch.finfo(ratio.dtype).tiny
    powers = raised(
        torch.where(zero, torch.ones_like(ratio), ratio), p if isinstance(p, float) else cells.expand(p)
    )
    powers = torch.where(zero, torch.zeros_like(ratio), powers)
    back = torch.where(largest.isinf(), largest, scale)
    if not signed:
        return back * root(cells.mean(powers), p)
    mean = cells.mean(powers * v.sign())
    return back * mean.sign() * root(mean.abs(), p)
