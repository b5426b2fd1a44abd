"""Cells written as each layout, every way that the layout can be written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from polypool.layouts import Clusters, Grid, Nodes, Packed, Tokens
from polypool.testing.bags import Bags, generator
from polypool.testing.samples import Sample


def place(bags: Bags, members: Sequence[Tensor], rows: int, fill: float) -> tuple[Tensor, Tensor | None]:
    """The elements at their rows and `fill` elsewhere, `(R, C)`, and their weights alike with 7 elsewhere."""
    values = torch.full((rows, bags.channels), fill, dtype=bags.elements[0].dtype)
    weights = None if bags.weights is None else torch.full((rows,), 7.0, dtype=values.dtype)
    for cell, index in enumerate(members):
        values[index] = bags.elements[cell].detach()
        if weights is not None and bags.weights is not None:
            weights[index] = bags.weights[cell].detach()
    return values, weights


def given(**structure: Tensor | None) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in structure.items() if tensor is not None}


def slots(sizes: Sequence[int], width: int, side: str) -> list[Tensor]:
    """Where the elements of each cell stand in a row of `width` places."""
    if side == "left":
        return [torch.arange(width - n, width) for n in sizes]
    if side == "holes":
        source = generator(width)
        return [torch.randperm(width, generator=source)[:n].sort().values for n in sizes]
    return [torch.arange(n) for n in sizes]


def padded(
    bags: Bags, side: str, width: int, fill: float
) -> tuple[list[Tensor], Tensor, Tensor | None, Tensor | None]:
    """Cells in rows of `width` places: members, values `(B, width, C)`, weights and mask `(B, width)`."""
    members = [index + cell * width for cell, index in enumerate(slots(bags.sizes, width, side))]
    batch = len(bags.sizes)
    values, weights = place(bags, members, batch * width, fill)
    mask = torch.zeros(batch * width, dtype=torch.bool)
    for index in members:
        mask[index] = True
    view = (batch, width)
    full = all(n == width for n in bags.sizes)
    return (
        members,
        values.view(*view, bags.channels),
        None if weights is None else weights.view(view),
        None if full else mask.view(view),
    )


def tokens(bags: Bags, side: str = "right", extra: int = 3, fill: float = 0.0) -> Sample:
    width = max(bags.sizes, default=0) + extra
    members, values, weight, mask = padded(bags, side, width, fill)
    label = f"Tokens, {'no mask' if mask is None else side + ' padding'}"
    return Sample(
        label, "tokens", values, tuple(members), bags.weights, Tokens, given(mask=mask, weight=weight)
    )


def grid(bags: Bags, dims: int = 2, channels_last: bool = False, extra: int = 3, fill: float = 0.0) -> Sample:
    width = max(bags.sizes, default=0) + extra
    # The smallest box that holds them: 1 or 2 rows of a small odd height, so that no side equals another.
    heights = {1: (), 2: (3,), 3: (2, 3)}[dims]
    if extra:
        width += -width % math.prod(heights)
    elif width % math.prod(heights):
        heights = (1,) * (dims - 1)
    members, values, weight, mask = padded(bags, "holes", width, fill)
    space = (*heights, width // math.prod(heights))
    batch = len(bags.sizes)
    values = values.view(batch, *space, bags.channels)
    if not channels_last:
        values = values.movedim(-1, 1).contiguous()
    structure = {name: t.view(batch, *space) for name, t in given(mask=mask, weight=weight).items()}
    label = (
        f"Grid, {dims}-d{', channels last' if channels_last else ''}, {'no mask' if mask is None else 'mask'}"
    )
    make = partial(Grid, channels_last=True) if channels_last else Grid
    channel_dim = -1 if channels_last else 1
    return Sample(label, "grid", values, tuple(members), bags.weights, make, structure, channel_dim)


def packed(bags: Bags) -> Sample:
    ends = torch.tensor([0, *bags.sizes]).cumsum(0)
    members = [torch.arange(int(a), int(b)) for a, b in pairwise(ends)]
    values, weight = place(bags, members, int(ends[-1]), 0.0)
    return Sample(
        "Packed", "packed", values, tuple(members), bags.weights, Packed, given(offsets=ends, weight=weight)
    )


def interleave(sizes: Sequence[int], loose: int = 0, seed: int = 1) -> tuple[Tensor, list[Tensor]]:
    """Cells in mixed order: the cell of each row (-1 for `loose` rows in none), and the rows of each cell."""
    owner = torch.cat([torch.full((n,), cell) for cell, n in enumerate(sizes)] + [torch.full((loose,), -1)])
    owner = owner[torch.randperm(owner.shape[0], generator=generator(seed))]
    return owner, [(owner == cell).nonzero()[:, 0] for cell in range(len(sizes))]


def nodes(bags: Bags, shuffled: bool = True) -> Sample:
    owner, members = interleave(bags.sizes)
    if not shuffled:
        owner = owner.sort().values
        members = [(owner == cell).nonzero()[:, 0] for cell in range(len(bags.sizes))]
    values, weight = place(bags, members, owner.shape[0], 0.0)
    label = f"Nodes, {'any order' if shuffled else 'sorted'}"
    make = partial(Nodes, num_graphs=len(bags.sizes))
    return Sample(
        label, "nodes", values, tuple(members), bags.weights, make, given(batch=owner, weight=weight)
    )


def clusters(bags: Bags, loose: int = 5, fill: float = 0.0) -> Sample:
    owner, members = interleave(bags.sizes, loose)
    values, weight = place(bags, members, owner.shape[0], fill)
    make = partial(Clusters, num_clusters=len(bags.sizes))
    structure = given(assignment=owner, weight=weight)
    return Sample("Clusters, ids", "clusters", values, tuple(members), bags.weights, make, structure)


def pairs(bags: Bags, loose: int = 2, fill: float = 0.0) -> Sample:
    owner, members = interleave(bags.sizes, loose)
    values, weight = place(bags, members, owner.shape[0], fill)
    element = (owner >= 0).nonzero()[:, 0]
    structure = given(
        assignment=torch.stack([element, owner[element]]), weight=None if weight is None else weight[element]
    )
    make = partial(Clusters, num_clusters=len(bags.sizes))
    weights = bags.weights
    return Sample(
        "Clusters, pairs", "clusters", values, tuple(members), weights, make, structure, disjoint=False
    )


def soft(bags: Bags, loose: int = 2, fill: float = 0.0) -> Sample:
    """A soft assignment that says the same as the weights: a matrix with one entry per row that is not 0."""
    owner, members = interleave(bags.sizes, loose)
    values, weight = place(bags, members, owner.shape[0], fill)
    matrix = torch.zeros(owner.shape[0], len(bags.sizes), dtype=values.dtype)
    for cell, index in enumerate(members):
        matrix[index, cell] = 1.0 if weight is None else weight[index]
    weights = bags.weights or tuple(torch.ones(n, dtype=values.dtype) for n in bags.sizes)
    structure = {"assignment": matrix}
    return Sample(
        "Clusters, soft", "clusters", values, tuple(members), weights, Clusters, structure, disjoint=False
    )


def graph_clusters(bags: Bags, loose: int = 3, fill: float = 0.0) -> Sample:
    """Clusters counted per graph: cells 2 g and 2 g + 1 belong to graph g."""
    owner, members = interleave(bags.sizes, loose)
    values, weight = place(bags, members, owner.shape[0], fill)
    graphs = (len(bags.sizes) + 1) // 2
    members += [torch.zeros(0, dtype=torch.long)] * (2 * graphs - len(members))
    empty = () if bags.weights is None else (bags.weights[0][:0],) * (len(members) - len(bags.sizes))
    weights = None if bags.weights is None else bags.weights + empty
    batch = torch.where(owner < 0, 0, owner // 2)
    structure = given(assignment=torch.where(owner < 0, -1, owner % 2), weight=weight, batch=batch)
    make = partial(Clusters, num_clusters=2, num_graphs=graphs)
    return Sample("Clusters of graphs", "clusters", values, tuple(members), weights, make, structure)
