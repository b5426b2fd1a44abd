"""timm's global pooling of images."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from torch import nn

import polypool as pp
from polypool.bench.data import Data
from polypool.bench.rivals.rival import Call, Rival

TYPES = {"mean": "avg", "max": "max"}


def offers(subject: str, data: Data, module: nn.Module) -> Iterator[Rival]:
    """Its adaptive pooling."""
    if not isinstance(data.layout, pp.Grid) or subject not in TYPES:
        return

    def make() -> Call:
        layers = import_module("timm.layers")
        return layers.SelectAdaptivePool2d(pool_type=TYPES[subject], flatten=True)

    yield Rival(f"timm SelectAdaptivePool2d({TYPES[subject]!r})", make, "timm")
