"""The tensors of the suites: about 100 MB each, far more than a cache holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from polypool.bench import data
from polypool.bench.data import Data


@dataclass(frozen=True)
class Workload:
    """A tensor and its cells.

    Attributes:
        name: For `--only`.
        title: In words.
        tags: What targets ask for: the kind of layout, `"rows"` or `"contiguous"` for the access, and what is special.
        make: The data, at a share of the full size.
    """

    name: str
    title: str
    tags: frozenset[str]
    make: Callable[[float], Data]


def _part(count: int, scale: float) -> int:
    return max(2, round(count * scale))


def _ragged(
    kind: str,
    scale: float,
    *,
    cells: int = 1000,
    dtype: torch.dtype = torch.float32,
    shuffled: bool = False,
    anew: bool = False,
) -> Data:
    lengths = data.odd_lengths(_part(cells, scale), 200)
    return data.ragged(kind, lengths, 128, dtype, shuffled=shuffled, anew=anew)


def _short(scale: float) -> Data:
    return data.ragged("packed", torch.full((_part(20_000, scale),), 10), 128)


def _ones(scale: float) -> Data:
    # Not to be made smaller: float32 stops counting at 16.7 million.
    del scale
    count = 21_000_000
    return data.ragged("packed", torch.tensor([count]), 1, values=torch.ones(count, 1))


def _of(name: str, title: str, tags: str, make: Callable[[float], Data]) -> Workload:
    return Workload(name, title, frozenset(tags.split()), make)


_CELLS = "cells of about 200 rows"

WORKLOADS = {
    workload.name: workload
    for workload in (
        _of("packed", f"packed, {_CELLS}", "packed rows", lambda s: _ragged("packed", s)),
        _of("nodes", f"nodes, sorted, {_CELLS}", "nodes rows", lambda s: _ragged("nodes", s)),
        _of(
            "unsorted",
            f"nodes, in no order, the order kept, {_CELLS}",
            "nodes rows unsorted",
            lambda s: _ragged("nodes", s, shuffled=True),
        ),
        _of(
            "anew",
            f"nodes, sorted, the layout made in every call, {_CELLS}",
            "nodes anew",
            lambda s: _ragged("nodes", s, anew=True),
        ),
        _of(
            "clusters",
            f"hard clusters, in no order, the order kept, {_CELLS}",
            "clusters rows unsorted",
            lambda s: _ragged("clusters", s, shuffled=True),
        ),
        _of("short", "packed, cells of 10 rows", "packed rows short", _short),
        _of(
            "tokens",
            "tokens, masked, 58 % real",
            "tokens rows masked",
            lambda s: data.tokens(_part(64, s), 512, 768, real=0.58),
        ),
        _of(
            "tokens-full",
            "tokens, no mask",
            "tokens rows",
            lambda s: data.tokens(_part(64, s), 512, 768),
        ),
        _of(
            "grid-56",
            "grid, 56 x 56",
            "grid contiguous",
            lambda s: data.grid(_part(32, s), 256, 56),
        ),
        _of(
            "grid-56-last",
            "grid, 56 x 56, channels last in memory",
            "grid rows",
            lambda s: data.grid(_part(32, s), 256, 56, channels_last=True),
        ),
        _of(
            "grid-14",
            "grid, 14 x 14",
            "grid contiguous 14x14",
            lambda s: data.grid(_part(128, s), 1024, 14),
        ),
        _of("grid-7", "grid, 7 x 7", "grid contiguous 7x7", lambda s: data.grid(_part(256, s), 2048, 7)),
        _of(
            "packed-bf16",
            f"packed, bfloat16, {_CELLS}",
            "packed rows half",
            lambda s: _ragged("packed", s, cells=2000, dtype=torch.bfloat16),
        ),
        _of(
            "packed-fp16",
            f"packed, float16, {_CELLS}",
            "packed rows half",
            lambda s: _ragged("packed", s, cells=2000, dtype=torch.float16),
        ),
        _of(
            "grid-56-bf16",
            "grid, 56 x 56, bfloat16",
            "grid contiguous half",
            lambda s: data.grid(_part(64, s), 256, 56, dtype=torch.bfloat16),
        ),
        _of(
            "packed-fp64",
            f"packed, float64, {_CELLS}",
            "packed rows double",
            lambda s: _ragged("packed", s, cells=500, dtype=torch.float64),
        ),
        _of("ones", "packed, one cell of 21 million ones", "packed ones", _ones),
    )
}


def scaled(elements: int, cells: int, channels: int, tags: str) -> Workload:
    """Packed rows for the scaling suite: so many numbers, in cells of equal size (to one row)."""

    def make(scale: float) -> Data:
        rows = max(cells, round(elements * scale) // channels)
        lengths = torch.full((cells,), rows // cells)
        lengths[: rows % cells] += 1
        return data.ragged("packed", lengths, channels)

    return Workload(
        f"{elements:.0e}-{cells:.0e}".replace("+0", ""),
        "packed, cells of equal size",
        frozenset({"packed", "rows", *tags.split()}),
        make,
    )
