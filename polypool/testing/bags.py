"""Cells as plain lists of rows: what every layout is a way of writing down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

# Empty, single, around a power of two, and larger; the full level adds the sizes around a block of 1,024.
SIZES = (31, 0, 2, 63, 1, 100)
LARGE_SIZES = (1023, 0, 1025)


@dataclass(frozen=True)
class Bags:
    """A batch of cells.

    Attributes:
        elements: The rows of each cell, `(n, C)`.
        weights: One number per element of each cell, `(n,)`, or None.
    """

    elements: tuple[Tensor, ...]
    weights: tuple[Tensor, ...] | None = None

    @property
    def sizes(self) -> list[int]:
        return [rows.shape[0] for rows in self.elements]

    @property
    def channels(self) -> int:
        return self.elements[0].shape[1] if self.elements else 0

    def to(self, dtype: torch.dtype) -> Bags:
        weights = None if self.weights is None else tuple(w.to(dtype) for w in self.weights)
        return Bags(tuple(rows.to(dtype) for rows in self.elements), weights)

    def with_cell(self, cell: int, rows: Tensor) -> Bags:
        """The same batch with the rows of one cell replaced."""
        return replace(self, elements=(*self.elements[:cell], rows, *self.elements[cell + 1 :]))


def generator(seed: int) -> torch.Generator:
    """A source of random numbers of its own: the global one is never touched."""
    return torch.Generator().manual_seed(seed)


def draw(
    sizes: Sequence[int],
    channels: int,
    dtype: torch.dtype = torch.float64,
    weighted: bool = False,
    seed: int = 0,
) -> Bags:
    """Normal elements; weights between 0.2 and 2, every third one 0 in cells of more than two."""
    source = generator(seed)
    elements = tuple(torch.randn(n, channels, dtype=torch.float64, generator=source).to(dtype) for n in sizes)
    if not weighted:
        return Bags(elements)
    weights = []
    for n in sizes:
        w = 0.2 + 1.8 * torch.rand(n, dtype=torch.float64, generator=source)
        if n > 2:
            w[1::3] = 0.0
        weights.append(w.to(dtype))
    return Bags(elements, tuple(weights))


def constant(value: float, sizes: Sequence[int], channels: int, dtype: torch.dtype) -> Bags:
    """Cells whose elements are all the same number."""
    return Bags(tuple(torch.full((n, channels), value, dtype=dtype) for n in sizes))
