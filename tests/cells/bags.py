"""Cells of both structures with their members written out, and the primitives as numpy loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polypool.cells import Cells, Dense, Members, Ragged, Soft
from tests.support import normal, uniform

Array = NDArray[Any]


@dataclass(frozen=True)
class Bag:
    """Cells and, for each, its members: coordinates along all dimensions of the members but the channels.

    Attributes:
        name: The id of the test.
        make: The cells around other values.
        values: `(B, N, C)` or `(N, C)`, in float64.
        members: The coordinates of the real members of each cell, in order.
        shape: The shape of something with one number per member.
        weight: `shape`, or None.
        element: For ragged cells the element of each membership.
    """

    name: str
    make: Callable[[Tensor], Cells]
    values: Tensor
    members: list[list[tuple[int, ...]]]
    shape: tuple[int, ...]
    weight: Tensor | None = None
    element: list[int] | None = None

    @property
    def cells(self) -> Cells:
        return self.make(self.values)

    @property
    def channels(self) -> int:
        return self.values.shape[-1]

    def numbers(self, channels: int, seed: int = 0) -> Tensor:
        """Something with one row per membership, padding included."""
        return normal(*self.shape, channels, seed=seed)

    def real(self) -> Tensor:
        """`(*shape, 1)` bool."""
        real = torch.zeros(*self.shape, 1, dtype=torch.bool)
        for cell in self.members:
            for at in cell:
                real[at] = True
        return real

    def weights(self) -> Array:
        return np.ones(self.shape) if self.weight is None else self.weight.numpy()

    def loop(self, v: Tensor, one: Callable[[Array, Array], Array]) -> Tensor:
        """`one(rows, weights)` of every cell, 0 where it is empty."""
        rows, weights = v.detach().numpy(), self.weights()
        out = np.zeros((len(self.members), v.shape[-1]))
        for k, cell in enumerate(self.members):
            if cell:
                inside = np.stack([rows[at] for at in cell])
                with np.errstate(all="ignore"):
                    out[k] = one(inside, np.array([weights[at] for at in cell])[:, None])
        return torch.from_numpy(out)

    def spread(self, y: Tensor) -> Tensor:
        """Each cell's row at its members, 0 at padding."""
        out = y.new_zeros(*self.shape, y.shape[-1])
        for k, cell in enumerate(self.members):
            for at in cell:
                out[at] = y[k]
        return out

    def ranks(self, v: Tensor) -> Tensor:
        """The place of each member by a stable sort of its cell, NaN last; -1 at padding."""
        out = torch.full((*self.shape, v.shape[-1]), -1)
        for cell in self.members:
            for c in range(v.shape[-1]):
                keys = [(bool(v[at][c].isnan()), 0.0 if v[at][c].isnan() else float(v[at][c])) for at in cell]
                for place, (_, index) in enumerate(sorted(zip(keys, range(len(cell)), strict=True))):
                    out[cell[index]][c] = place
        return out

    def winners(self, v: Tensor) -> Tensor:
        """1 at the first largest member of each cell and channel (NaN is larger than anything), 0 elsewhere."""
        out = v.new_zeros(*self.shape, v.shape[-1])
        for cell in self.members:
            for c in range(v.shape[-1]):
                if cell:
                    keys = [float("inf") if v[at][c].isnan() else float(v[at][c]) for at in cell]
                    nans = [bool(v[at][c].isnan()) for at in cell]
                    first = nans.index(True) if any(nans) else keys.index(max(keys))
                    out[cell[first]][c] = 1.0
        return out


def dense(
    name: str, batch: int, places: int, mask: Tensor | None = None, weight: Tensor | None = None
) -> Bag:
    real = None
    if mask is not None or weight is not None:
        real = torch.ones(batch, places, dtype=torch.bool) if mask is None else mask
        real = (real if weight is None else real & (weight > 0)).unsqueeze(-1)
    members: list[list[tuple[int, ...]]] = [
        [(b, i) for i in range(places) if real is None or bool(real[b, i])] for b in range(batch)
    ]

    def make(values: Tensor) -> Cells:
        return Dense(values, real, None if weight is None else weight[..., None])

    return Bag(name, make, normal(batch, places, 3), members, (batch, places), weight)


def ragged(
    name: str, cell: list[int], count: int, element: list[int] | None = None, weight: Tensor | None = None
) -> Bag:
    """`cell` holds `count` for a membership in no cell."""
    listed = torch.tensor(cell, dtype=torch.long)
    members: list[list[tuple[int, ...]]] = [
        [(i,) for i, own in enumerate(cell) if own == k] for k in range(count)
    ]
    rows = len(cell) if element is None else 6
    structure = Members(
        listed,
        count,
        element=None if element is None else torch.tensor(element, dtype=torch.long),
        partial=count in cell,
        sorted=cell == sorted(cell),
    )

    def make(values: Tensor) -> Cells:
        return Ragged(values, structure, None if weight is None else weight[:, None])

    return Bag(name, make, normal(rows, 3), members, (len(cell),), weight, element)


def soft(name: str, elements: int, clusters: int, graph: list[int] | None, graphs: int) -> Bag:
    share = uniform(elements, clusters, seed=3) * (uniform(elements, clusters, seed=4) > 0.3)
    owner = [0] * elements if graph is None else graph
    cell = [owner[i] * clusters + k for i in range(elements) for k in range(clusters)]
    count = graphs * clusters
    flat = share.flatten()
    cell = [own if float(w) > 0 else count for own, w in zip(cell, flat, strict=True)]
    element = [i for i in range(elements) for _ in range(clusters)]
    members: list[list[tuple[int, ...]]] = [
        [(i,) for i, own in enumerate(cell) if own == k] for k in range(count)
    ]
    structure = Members(torch.tensor(cell), count, element=torch.tensor(element), partial=True)

    def make(values: Tensor) -> Cells:
        index = None if graph is None else torch.tensor(graph)
        return Soft(values, structure, share, index, graphs)

    return Bag(name, make, normal(elements, 3), members, (elements * clusters,), flat, element)


def all_bags() -> Iterator[Bag]:
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]]).bool()
    weight = 2 * uniform(4, 5, seed=1) * (uniform(4, 5, seed=2) > 0.3)
    yield dense("dense", 4, 5)
    yield dense("dense-one", 2, 1)
    yield dense("dense-mask", 4, 5, mask)
    yield dense("dense-weight", 4, 5, None, weight)
    yield dense("dense-mask-weight", 4, 5, mask, weight)
    yield dense("dense-no-places", 3, 0)
    yield dense("dense-no-places-mask", 3, 0, mask[:3, :0])
    yield dense("dense-no-cells", 0, 5, mask[:0])
    yield ragged("ragged-sorted", [0, 0, 0, 2, 2, 3], 4)
    yield ragged("ragged", [3, 0, 3, 1, 0, 3, 3], 5)
    yield ragged("ragged-one-cell", [0] * 7, 1)
    yield ragged("ragged-partial", [3, 0, 5, 1, 0, 5, 3], 5)
    some = uniform(7, seed=5) + 0.1
    yield ragged("ragged-weight", [3, 0, 3, 1, 0, 3, 3], 4, weight=some)
    yield ragged(
        "ragged-weight-0", [3, 0, 4, 1, 0, 4, 3], 4, weight=some * torch.tensor([1, 1, 0, 1, 1, 0, 1])
    )
    yield ragged("ragged-overlap", [0, 1, 1, 0, 2, 1, 0], 3, element=[5, 0, 5, 5, 1, 2, 0])
    yield ragged(
        "ragged-overlap-weight", [0, 1, 3, 0, 2, 1, 0], 3, element=[5, 0, 5, 5, 1, 2, 0], weight=some
    )
    yield ragged("ragged-no-members", [], 3)
    yield ragged("ragged-no-cells", [], 0)
    yield ragged("ragged-all-discarded", [2, 2, 2], 2)
    yield soft("soft", 6, 3, None, 1)
    yield soft("soft-graphs", 6, 2, [1, 0, 1, 3, 0, 1], 4)


BAGS: dict[str, Bag] = {bag.name: bag for bag in all_bags()}
