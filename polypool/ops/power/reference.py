"""Power means of numbers divided by the largest of their cell, so that no power overflows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polypool.ops.elementwise import raised, root

if TYPE_CHECKING:
    from polypool.cells import Cells


def power_mean(
    cells: Cells, v: Tensor, p: float | Tensor, signed: bool = False, floor: float | None = None
) -> Tensor:
    """`(sum w |v|^p / sum w)^(1 / p)`; signed: `sign(m) |m|^(1 / p)` with `m = sum w sign(v) |v|^p / sum w`.

    Members below the floor count as the floor.
    """
    if floor is not None:
        v = v.clamp(min=floor)
    if signed and isinstance(p, float) and p == 1.0:
        return cells.mean(v)  # |v| has no derivative at 0, the mean has
    if isinstance(p, Tensor):
        # By cell first: a gradient summed over all members at once would depend on the number of threads.
        p = cells.per_cell(p)
    size = v.abs()
    largest = cells.best(size.detach())
    # Zero and infinity cannot divide: an all-zero cell divides by 1, an infinite one counts its infinite members.
    scale = torch.where((largest == 0) | largest.isinf(), torch.ones_like(largest), largest)
    infinite = cells.expand(largest).isinf()

    def share(x: Tensor) -> Tensor:
        return torch.where(infinite, size.isinf().to(x.dtype), x / cells.expand(scale))

    if isinstance(p, float) and p == 2.0 and not signed:
        powers = share(v) * share(v)  # smooth at 0, where |v| has a kink
    else:
        powers = _powers(share(size), p if isinstance(p, float) else cells.expand(p))
    back = torch.where(largest.isinf(), largest, scale)
    if not signed:
        return back * root(cells.mean(powers), p)
    mean = cells.mean(powers * v.sign())
    return back * mean.sign() * root(mean.abs(), p)


def _powers(x: Tensor, p: float | Tensor) -> Tensor:
    """`x ** p` for x >= 0, a constant at 0: its derivative there may be infinite, and the one of p has log(0)."""
    zero = x < torch.finfo(x.dtype).tiny
    powers = raised(torch.where(zero, torch.ones_like(x), x), p)
    return torch.where(zero, torch.zeros_like(x), powers)
