"""Files operators under the checks that must catch them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor

import polypool as pp
from polypool.cells import Cells

P = TypeVar("P", bound=type[pp.Pooling])

BROKEN: dict[str, list[type[pp.Pooling]]] = {}

TOKENS = {"layouts": ("tokens",)}
NODES = {"layouts": ("nodes",)}


def breaks(*checks: str, **card: Any) -> Callable[[P], P]:
    """Files an operator under the checks that must catch it, and states its card."""

    def file(cls: P) -> P:
        cls.card = replace(cls.card, **card)
        for check in checks:
            BROKEN.setdefault(check, []).append(cls)
        return cls

    return file


def mean(cells: Cells) -> Tensor:
    """A correct mean, for operators whose fault lies elsewhere."""
    return cells.mean(cells.rows)
