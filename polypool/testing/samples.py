"""Values, a layout around them, and which row of the values belongs to which cell."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from polypool.testing.bags import Bags


@dataclass(frozen=True)
class Sample:
    """Values and a layout around them.

    Rows are the positions of `values` without its channels, flattened in memory-independent (row-major) order.

    Attributes:
        label: What the layout looks like, for messages.
        kind: The layout's name on a property card.
        values: What the user would hold, padding included.
        members: The rows of each cell, in the order of the cell.
        weights: The weight of each member of each cell, or None.
        make: Builds the layout from values and `structure`.
        structure: The tensors that say where the cells are.
        channel_dim: Where the values keep their channels.
        disjoint: Whether a row is in one cell at most, as far as the layout can know.
    """

    label: str
    kind: str
    values: Tensor
    members: tuple[Tensor, ...]
    weights: tuple[Tensor, ...] | None
    make: Callable[..., Any]
    structure: dict[str, Tensor]
    channel_dim: int = -1
    disjoint: bool = True

    def layout(self, values: Tensor | None = None) -> Any:
        return self.make(self.values if values is None else values, **self.structure)

    def rows(self, t: Tensor) -> Tensor:
        """A tensor in the shape of the values (or with other channels) as rows, `(R, C)`."""
        last = t.movedim(self.channel_dim, -1)
        return last.reshape(math.prod(last.shape[:-1]), last.shape[-1])

    def matrix(self, pooled: Tensor) -> Tensor:
        """A result as `(num_cells, C_out)`: windows and bins come back as maps."""
        if pooled.dim() == 2:
            return pooled
        last = pooled.movedim(self.channel_dim, -1)
        return last.reshape(-1, last.shape[-1])

    def cells(self) -> Bags:
        rows = self.rows(self.values)
        return Bags(tuple(rows[index] for index in self.members), self.weights)

    def real(self) -> Tensor:
        """Which rows are read: those that are in a cell with a weight above 0, `(R,)` bool."""
        read = torch.zeros(self.rows(self.values).shape[0], dtype=torch.bool)
        for cell, index in enumerate(self.members):
            read[index if self.weights is None else index[self.weights[cell] > 0]] = True
        return read

    def refilled(self, fill: float) -> Sample:
        """The same layout with another number in every row that must not be read."""
        rows = self.rows(self.values).clone()
        rows[~self.real()] = fill
        shape = self.values.movedim(self.channel_dim, -1).shape
        values = rows.reshape(shape).movedim(-1, self.channel_dim).contiguous()
        return replace(self, values=values)
