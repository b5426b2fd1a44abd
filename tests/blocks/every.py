"""Every registered block in every variant, and layouts of each kind for it. Nothing is listed by hand."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

import polypool as pp
from polypool.blocks import Block
from tests.support import normal, uniform

C = 32
SPACES = {1: (6,), 2: (5, 4), 3: (3, 4, 2)}
Variant = tuple[str, Mapping[str, Any]]
VARIANTS: list[Variant] = [
    (name, settings) for name in pp.blocks.names() for settings in pp.blocks.card(name).variants
]


def named(variant: Variant) -> str:
    """The id of a test."""
    name, settings = variant
    return "-".join([name, *(f"{key}={value}" for key, value in settings.items())])


def made(variant: Variant, dtype: torch.dtype = torch.float64, training: bool = False) -> Block:
    """A block whose every parameter and running statistic is drawn."""
    name, settings = variant
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = pp.blocks.build(name, C, dtype=torch.float64, **settings)
    source = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=source, dtype=torch.float64))
        for buffer in block.buffers():
            if buffer.is_floating_point():
                buffer.add_(torch.rand(buffer.shape, generator=source, dtype=torch.float64))
    return block.to(dtype).train(training)


def twin(block: Block, dtype: torch.dtype) -> Block:
    """A copy in another dtype."""
    return copy.deepcopy(block).to(dtype)


def dimensions(block: Block) -> tuple[int, ...]:
    """The spatial dimensions of grids that it runs on."""
    return tuple(SPACES) if block.dims is None else (block.dims,)


def layouts(block: Block, dtype: torch.dtype = torch.float64) -> dict[str, pp.Layout]:
    """One layout of each kind that the block declares, most with padding, empty cells or both."""
    found: dict[str, pp.Layout] = {}
    if "grid" in block.layouts:
        for dims in dimensions(block):
            space = SPACES[dims]
            x, mask = normal(3, C, *space, dtype=dtype), uniform(3, *space) > 0.4
            mask[2] = False
            found[f"grid-{dims}d"] = pp.Grid(x)
            found[f"grid-{dims}d-mask"] = pp.Grid(x, mask)
            last, weight = x.movedim(1, -1).contiguous(), uniform(3, *space, seed=3) * mask
            found[f"grid-{dims}d-weight-channels-last"] = pp.Grid(last, channels_last=True, weight=weight)
    rows, real = (
        normal(12, C, seed=1, dtype=dtype),
        torch.tensor([[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]]) > 0,
    )
    ids = torch.tensor([0, 2, 0, 2, 2, 0, 3, 3, -1, 3, 0, -1])
    found |= {
        kind: layout
        for kind, layout in {
            "tokens": pp.Tokens(rows.view(3, 4, C), real),
            "packed": pp.Packed(rows, torch.tensor([0, 5, 5, 12])),
            "nodes": pp.Nodes(rows, torch.arange(12) % 3, 4),
            "clusters": pp.Clusters(rows, ids, 5),
        }.items()
        if kind in block.layouts
    }
    if "clusters" in block.layouts:
        found["clusters-soft"] = pp.Clusters(rows, uniform(12, 3, seed=2) * (uniform(12, 3, seed=4) > 0.5))
    return found


def padding(layout: pp.Layout) -> Tensor:
    """`(..., 1)` bool in the shape of the values: what is in no cell."""
    real = layout._real_elements
    return torch.zeros((), dtype=torch.bool) if real is None else ~real


def spoilt(layout: pp.Layout, fill: float) -> Tensor:
    """The values with a number where nothing may be read."""
    return layout.values.masked_fill(padding(layout), fill)
