"""Operators whose contributions do not add up to what they promise."""

from __future__ import annotations

import torch
from torch import Tensor

import polypool as pp
from polypool.cells import Cells
from tests.testing.broken.catalogue import breaks, mean


@breaks("contributions", homogeneity=2)
class ClaimsTheWrongDegree(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return mean(cells)


@breaks("contributions")
class WeighsAnotherWay(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return cells.best(cells.rows)

    def weigh(self, cells: Cells) -> Tensor:
        return cells.normalise(cells.clean(torch.ones_like(cells.rows[..., :1])))
