"""Order statistics by rank. Counts are integers and places float64: float32 places are wrong beyond 100,000 rows.

A density is a constant: its gradient with respect to the values is 0 wherever it has one. A channel that holds a NaN
has no order, so its density is NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from polypool.cells import Cells


def quantile(cells: Cells, q: float) -> Tensor:
    """The q-quantile."""
    return cells.apply(quantile_density(cells, q), cells.rows)


def trimmed(cells: Cells, t: float) -> Tensor:
    """The trimmed mean."""
    return cells.apply(trimmed_density(cells, t), cells.rows)


def top(cells: Cells, k: int) -> Tensor:
    """The mean of the largest."""
    return cells.apply(top_density(cells, k), cells.rows)


def quantile_density(cells: Cells, q: float) -> Tensor:
    """Linear between the two ranks around `q (n - 1)`."""
    _require_no_weights(cells)
    rank = cells.rank(cells.rows)
    place = q * (cells.n - 1).clamp(min=0).double()
    below = place.floor()
    above = (place - below).to(cells.rows.dtype)
    low = cells.expand(below.to(torch.int64))
    share = cells.expand(above)
    picked = torch.where(rank == low, 1 - share, torch.where(rank == low + 1, share, torch.zeros_like(share)))
    return _marked(cells, picked)


def trimmed_density(cells: Cells, t: float) -> Tensor:
    """The mean without `floor(t n)` members at each end."""
    _require_no_weights(cells)
    rank = cells.rank(cells.rows)
    cut = (t * cells.n.double()).floor().to(torch.int64)
    kept = (rank >= cells.expand(cut)) & (rank < cells.expand(cells.n - cut))
    return _marked(cells, cells.normalise(kept.to(cells.rows.dtype)))


def top_density(cells: Cells, k: int) -> Tensor:
    """The mean of the `min(k, n)` largest. Ranked from the top, so that ties go to the first member."""
    _require_no_weights(cells)
    rank = cells.rank(-cells.rows)
    kept = (rank >= 0) & (rank < k)
    return _marked(cells, cells.normalise(kept.to(cells.rows.dtype)))


def _require_no_weights(cells: Cells) -> None:
    if cells.weight is not None:
        raise NotImplementedError(
            "order statistics have no one weighted form; these cells have weights. Register the operator with "
            "takes_weights=False, and such layouts are refused by name."
        )


def _marked(cells: Cells, density: Tensor) -> Tensor:
    """NaN at every NaN, so that an order statistic of a channel with a NaN is NaN."""
    rows = cells.rows.detach()
    return torch.where(rows.isnan(), rows, cells.clean(density))
