"""Operators that read what they must not, or mistreat NaN, infinities, ties and weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import polypool as pp
from polypool.cells import Cells
from tests.testing.broken.catalogue import TOKENS, breaks, mean


@breaks("padding_never_read", **TOKENS)
class MultipliesByTheMask(pp.Pooling):
    def forward(self, x: Any, **others: Any) -> Tensor:
        mask = torch.ones(x.values.shape[:2], dtype=torch.bool) if x.mask is None else x.mask
        total = (x.values * mask.unsqueeze(-1)).sum(dim=1)
        return torch.where(x.counts[:, None] > 0, total / x.counts[:, None].clamp(min=1), 0.0)


@breaks("padding_never_read", **TOKENS)
class LeaksAGradientIntoPadding(pp.Pooling):
    def forward(self, x: Any, **others: Any) -> Tensor:
        return super().forward(x, **others) + 1e-9 * x.values.nan_to_num(0, 0, 0).clamp(-1, 1).sum(dim=1)

    reduce = staticmethod(mean)


@breaks("weight_zero_never_read", layouts=("packed",))
class MultipliesByTheWeight(pp.Pooling):
    def forward(self, x: Any, **others: Any) -> Tensor:
        weight = torch.ones(x.values.shape[0]) if x.weight is None else x.weight
        return pp.build("sum")(pp.Packed(x.values * weight[:, None], x.offsets))


@breaks("empty_cell", learnable=True)
class DividesByNothing(pp.Pooling):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def reduce(self, cells: Cells) -> Tensor:
        return cells.reduce(cells.rows) * self.scale / cells.mass


@breaks("empty_cell")
class GivesOnesForNothing(pp.Pooling):
    def forward(self, x: Any, **others: Any) -> Tensor:
        return super().forward(x, **others).exp()

    reduce = staticmethod(mean)


@breaks("nan_stays_in_its_cell")
class HidesNaN(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return cells.mean(cells.rows.nan_to_num())


@breaks("nan_stays_in_its_cell")
class SpreadsNaN(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return mean(cells) + 0 * cells.rows.detach().sum()


@breaks("inf_is_a_value")
class TurnsInfinityIntoZero(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        best = cells.best(cells.rows)
        return torch.where(best.isinf(), 0.0, best)


@breaks("inf_is_a_value")
class SpreadsInfinity(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return mean(cells) + 0 * cells.rows.detach().clamp(min=0).sum()


@breaks("constant_cell")
class RootWithoutCare(pp.Pooling):
    stats = (pp.M2(),)

    def finish(self, s: Any) -> Tensor:
        return s[pp.M2()].sqrt()


@breaks("ties", **TOKENS)
class SharesTies(pp.Pooling):
    def forward(self, x: Any, **others: Any) -> Tensor:
        values = x.values if x.mask is None else x.values.masked_fill(~x.mask[..., None], -torch.inf)
        return torch.where(x.counts[:, None] > 0, values.amax(dim=1), 0.0)


@breaks("ties", **TOKENS)
class TakesTheLastWinner(pp.Pooling):
    def forward(self, x: Any, **others: Any) -> Tensor:
        values = x.values if x.mask is None else x.values.masked_fill(~x.mask[..., None], -torch.inf)
        return torch.where(x.counts[:, None] > 0, values.flip(1).max(dim=1).values, 0.0)


@breaks("weights")
class IgnoresWeights(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return cells.total(cells.rows) / cells.n.clamp(min=1)


@breaks("weights_reconstruct")
class DoublesItsResult(pp.Pooling):
    def weigh(self, cells: Cells) -> Tensor:
        return cells.softmax(cells.rows)

    def reduce(self, cells: Cells) -> Tensor:
        return 2 * super().reduce(cells)
