"""Operators that see more than the elements of their cell, or not all layouts alike."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import polypool as pp
from polypool.cells import Cells
from tests.testing.broken.catalogue import TOKENS, breaks, mean


@breaks("matches_oracle")
class UnbiasedVariance(pp.Pooling):
    stats = (pp.M2(), pp.Count())

    def finish(self, s: Any) -> Tensor:
        n = s[pp.Count()]
        return torch.where(n > 1, s[pp.M2()] * n / (n - 1).clamp(min=1), 0.0)


@breaks("same_on_every_layout", "padding_amount_and_side")
class DividesByPlaces(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return cells.total(cells.rows) / cells.rows.shape[-2]


@breaks("layout_input_forms")
class IgnoresTheMask(pp.Pooling):
    def forward(self, x: Any, *, mask: Tensor | None = None, **others: Any) -> Tensor:
        return super().forward(x, mask=None if mask is None else torch.ones_like(mask), **others)

    reduce = staticmethod(mean)


@breaks("non_contiguous")
class TrustsTheMemory(pp.Pooling):
    def forward(self, x: Any, **others: Any) -> Tensor:
        values = x.values
        return super().forward(
            x.with_values(values.as_strided(values.shape, torch.empty(values.shape).stride()))
        )

    reduce = staticmethod(mean)


@breaks("input_untouched")
class WritesIntoItsInput(pp.Pooling):
    def forward(self, x: Any, **others: Any) -> Tensor:
        out = super().forward(x, **others)
        x.values.detach().mul_(0.5)
        return out

    reduce = staticmethod(mean)


@breaks("out_channels")
class ForgetsItsWidth(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return torch.cat([mean(cells), mean(cells)], dim=-1)


@breaks("unsupported_layouts_refused", **TOKENS)
class TakesWhatItDoesNotClaim(pp.Pooling):
    def _require(self, layout: pp.Layout) -> None:
        pass

    reduce = staticmethod(mean)


@breaks("unsupported_layouts_refused", **TOKENS)
class RefusesWithoutSayingWhatItCan(pp.Pooling):
    def _require(self, layout: pp.Layout) -> None:
        if layout.kind != "tokens":
            raise NotImplementedError("not this one")

    reduce = staticmethod(mean)


@breaks("order_in_cell", "card_permutation_invariant")
class First(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return cells.total(torch.where(cells.positions == 0, cells.rows, 0.0))


@breaks("other_cells")
class CentresTheBatch(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return mean(cells) - cells.rows.flatten(0, -2).mean(dim=0)


@breaks("other_cells")
class ShiftsByTheLargestOfTheBatch(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        e = (cells.rows - cells.rows.amax().detach()).exp()
        return cells.reduce(e * cells.rows) / cells.reduce(e)
