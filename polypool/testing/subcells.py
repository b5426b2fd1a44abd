"""Cells inside cells: windows and bins of grids, spans of tokens, clusters of graphs; some share elements."""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor

from polypool.layouts import Grid, Nodes, Packed, Tokens
from polypool.testing.bags import draw
from polypool.testing.samples import Sample
from polypool.testing.written import given, interleave

HEIGHT, WIDTH = 5, 6
BINS = (2, 4)
SPANS = torch.tensor([[0, 0, 4], [1, 2, 7], [1, 2, 3], [0, 3, 3], [2, 1, 5], [0, 2, 6]])


def subcells(channels: int, dtype: torch.dtype, weighted: bool) -> list[Sample]:
    """One sample of each, for unweighted operators without the bins, whose areas are weights."""
    shared = [windows(channels, dtype, weighted), *spans(channels, dtype, weighted)]
    areas = [bins(channels, dtype)] if weighted else []
    return [*shared, *areas, node_clusters(channels, dtype, weighted)]


def picture(channels: int, dtype: torch.dtype) -> Tensor:
    """Two pictures, (2, C, H, W)."""
    rows = draw([2 * HEIGHT * WIDTH], channels, dtype, seed=3).elements[0]
    return rows.view(2, HEIGHT, WIDTH, channels).movedim(-1, 1).contiguous()


def row_weights(rows: int, dtype: torch.dtype, weighted: bool) -> Tensor | None:
    weights = draw([rows], 1, dtype, weighted=True, seed=4).weights
    return weights[0] if weighted and weights is not None else None


def chosen(weight: Tensor | None, members: list[Tensor]) -> tuple[Tensor, ...] | None:
    return None if weight is None else tuple(weight[index] for index in members)


def windows(channels: int, dtype: torch.dtype, weighted: bool) -> Sample:
    """3 x 3 windows at stride 2 over masked pictures, with one pixel of padding around them."""
    values = picture(channels, dtype)
    place = torch.arange(2 * HEIGHT * WIDTH).view(2, HEIGHT, WIDTH)
    mask = place % 7 != 3
    weight = row_weights(place.numel(), dtype, weighted)
    members = []
    for b, top, left in product(range(2), range(-1, HEIGHT - 1, 2), range(-1, WIDTH - 1, 2)):
        rows, columns = slice(max(top, 0), top + 3), slice(max(left, 0), left + 3)
        members.append(place[b, rows, columns][mask[b, rows, columns]])

    def make(values: Tensor, mask: Tensor, weight: Tensor | None = None) -> Any:
        return Grid(values, mask=mask, weight=weight).windows(3, stride=2, padding=1)

    structure = given(mask=mask, weight=None if weight is None else weight.view(place.shape))
    weights = chosen(weight, members)
    return Sample("Grid.windows", "grid", values, tuple(members), weights, make, structure, 1, False)


def bins(channels: int, dtype: torch.dtype) -> Sample:
    """Bins that do not divide the picture: a pixel counts with the area that lies in the bin."""
    values = picture(channels, dtype)
    down, across = overlap(HEIGHT, BINS[0]).to(dtype), overlap(WIDTH, BINS[1]).to(dtype)
    members, weights = [], []
    for b, i, j in product(range(2), range(BINS[0]), range(BINS[1])):
        area = (down[i][:, None] * across[j]).flatten()
        inside = area.nonzero()[:, 0]
        members.append(b * HEIGHT * WIDTH + inside)
        weights.append(area[inside])

    def make(values: Tensor) -> Any:
        return Grid(values).bins(BINS)

    return Sample("Grid.bins", "grid", values, tuple(members), tuple(weights), make, {}, 1, False)


def overlap(size: int, parts: int) -> Tensor:
    """How much of each pixel lies in each of `parts` equal intervals, (parts, size)."""
    edge = torch.arange(parts + 1, dtype=torch.float64) * size / parts
    pixel = torch.arange(size, dtype=torch.float64)
    low = torch.maximum(edge[:-1, None], pixel)
    high = torch.minimum(edge[1:, None], pixel + 1)
    return (high - low).clamp(min=0)


def spans(channels: int, dtype: torch.dtype, weighted: bool) -> list[Sample]:
    """Overlapping, nested and empty spans of padded tokens and of packed ones."""
    lengths, width = (6, 7, 7), 8
    place = torch.arange(3 * width).view(3, width)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    mask[1, 4] = False
    weight = row_weights(3 * width, dtype, weighted)
    values = draw([3 * width], channels, dtype, seed=5).elements[0]
    members = [place[b, start:end][mask[b, start:end]] for b, start, end in SPANS.tolist()]

    def of_tokens(values: Tensor, mask: Tensor, spans: Tensor, weight: Tensor | None = None) -> Any:
        return Tokens(values, mask=mask, weight=weight).spans(spans)

    def of_packed(values: Tensor, offsets: Tensor, spans: Tensor, weight: Tensor | None = None) -> Any:
        return Packed(values, offsets, weight=weight).spans(spans)

    in_tokens = given(mask=mask, spans=SPANS, weight=None if weight is None else weight.view(3, width))
    ends = torch.tensor([0, *lengths]).cumsum(0)
    packed_members = [torch.arange(int(ends[b]) + s, int(ends[b]) + e) for b, s, e in SPANS.tolist()]
    packed_weight = None if weight is None else weight[: int(ends[-1])]
    in_packed = given(offsets=ends, spans=SPANS, weight=packed_weight)
    return [
        Sample(
            "Tokens.spans", "tokens", values.view(3, width, channels), tuple(members), chosen(weight, members),
            of_tokens, in_tokens, disjoint=False,
        ),
        Sample(
            "Packed.spans", "packed", values[: int(ends[-1])], tuple(packed_members),
            chosen(packed_weight, packed_members), of_packed, in_packed, disjoint=False,
        ),
    ]  # fmt: skip


def node_clusters(channels: int, dtype: torch.dtype, weighted: bool) -> Sample:
    """Two clusters in each of three graphs, one of them empty, and some nodes in none."""
    sizes, loose = [4, 3, 0, 5, 1, 2], 3
    owner, members = interleave(sizes, loose)
    values = draw([owner.shape[0]], channels, dtype, seed=6).elements[0]
    weight = row_weights(owner.shape[0], dtype, weighted)

    def make(values: Tensor, batch: Tensor, assignment: Tensor, weight: Tensor | None = None) -> Any:
        return Nodes(values, batch, num_graphs=3, weight=weight).clusters(assignment, num_clusters=2)

    structure = given(
        batch=torch.where(owner < 0, 0, owner // 2),
        assignment=torch.where(owner < 0, -1, owner % 2),
        weight=weight,
    )
    return Sample("Nodes.clusters", "nodes", values, tuple(members), chosen(weight, members), make, structure)
