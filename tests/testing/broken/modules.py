"""Operators that do not compile, export, cast, copy or merge, and cards that promise too much."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import polypool as pp
from polypool.cells import Cells
from tests.testing.broken.catalogue import TOKENS, breaks, mean


@breaks("compile_aot_eager", "compile_inductor", "export")
class LooksAtItsInput(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return mean(cells) * (1 if cells.rows.sum().item() > 0 else -1)


@breaks("export")
class DependsOnASize(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return mean(cells) if cells.rows.shape[-2] < 25 else 2 * mean(cells)


@breaks("autocast", **TOKENS)
class MultipliesMatrices(pp.Pooling):
    def forward(self, x: Any, **others: Any) -> Tensor:
        mask = torch.ones(x.values.shape[:2], dtype=torch.bool) if x.mask is None else x.mask
        total = torch.einsum("btc,bt->bc", x.values, mask.to(x.values.dtype))
        return (total / x.counts[:, None].clamp(min=1)).to(x.values.dtype)


@breaks("state_dict_pickle_deepcopy")
class HoldsAFunction(pp.Pooling):
    def __init__(self) -> None:
        super().__init__()
        self.last = lambda y: y

    def reduce(self, cells: Cells) -> Tensor:
        return self.last(mean(cells))


@breaks("to_dtype", learnable=True)
class MixesDtypes(pp.Pooling):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.map = nn.Linear(channels, channels)

    def reduce(self, cells: Cells) -> Tensor:
        return cells.mean(self.map(cells.rows))


@breaks("merge")
class AveragesTheParts(pp.Pooling):
    stats = (pp.Mean(),)

    def finish(self, s: Any) -> Tensor:
        return s[pp.Mean()]

    def merge(self, a: Any, b: Any) -> dict[str, Tensor]:
        return {key: (a[key] + b[key]) / (1 if key in ("n", "mass") else 2) for key in a}


@breaks("card_layouts")
class ClaimsTooManyLayouts(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        if cells.rows.dim() == 3:
            raise NotImplementedError("packed elements only")
        return mean(cells)


@breaks("card_homogeneity", homogeneity=1)
@breaks("card_constant_preserving", constant_preserving=True)
@breaks("card_learnable", learnable=True)
@breaks("card_has_weights", has_weights=True)
@breaks("card_decomposable", decomposable=True)
@breaks("card_source", source="a well-known formula")
class ClaimsEverything(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return cells.reduce(cells.rows**2)


@breaks("card_learnable", learnable=True)
class HasAnIdleParameter(pp.Pooling):
    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.ones(1))

    reduce = staticmethod(mean)
