"""torch's operations on segments: `segment_reduce` and `embedding_bag`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import polypool as pp
from polypool.bench.data import Data
from polypool.bench.rivals.rival import Call, Rival

SEGMENT = {"sum": "sum", "mean": "mean", "max": "max", "min": "min"}
BAG = {"sum": "sum", "mean": "mean", "max": "max"}


def offers(subject: str, data: Data, module: nn.Module) -> Iterator[Rival]:
    """Those for ragged data, and bags of the real tokens of a padded batch."""
    if isinstance(data.layout, pp.Grid) or data.lengths is None:
        return
    ragged = data.index is not None
    if ragged and data.order is None and subject in SEGMENT:
        lengths = data.lengths
        yield Rival(
            "torch.segment_reduce",
            lambda: lambda x: torch.segment_reduce(x, SEGMENT[subject], lengths=lengths, axis=0),
        )
    if subject in BAG and data.values.dtype in (torch.float32, torch.float64):
        yield Rival("F.embedding_bag", lambda: _bag(data, BAG[subject]))


def _bag(data: Data, mode: str) -> Call:
    """The rows of each cell as a bag of indices, which are made beforehand."""
    if data.mask is not None:
        members = data.mask.flatten().nonzero().flatten()
    elif data.order is not None:
        members = data.order
    else:
        members = torch.arange(data.values.shape[0])
    offsets = data.offsets

    def call(x: Tensor) -> Tensor:
        return F.embedding_bag(members, x.flatten(0, -2), offsets, mode=mode, include_last_offset=True)

    return call
