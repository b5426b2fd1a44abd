"""Cells of what an operation was given: its definition is written on them."""

import torch

from polypool.cells.cells import Cells
from polypool.cells.dense import Dense
from polypool.cells.members import Members
from polypool.cells.ragged import Ragged
from polypool.ops.source import Source


def cells_of(source: Source) -> Cells:
    """The cells that a source describes; weights of several heads are left out."""
    values, offsets, rows, weight = source
    shared = weight if weight is not None and weight.shape[-1] == 1 else None
    real = None if shared is None else shared.detach() != 0
    if offsets is None:
        return Dense(values, real, shared)
    counts = offsets.diff()
    cell = torch.repeat_interleave(counts)
    listed = values.shape[0] if rows is None else rows.shape[0]
    outside = listed - cell.shape[0]  # what is listed behind the last cell is in none
    if outside:
        cell = torch.cat([cell, cell.new_full((outside,), counts.shape[0])])
    if real is not None:
        cell = torch.where(real[:, 0], cell, torch.full_like(cell, counts.shape[0]))
    partial = bool(outside) or real is not None
    return Ragged(
        values, Members(cell, counts.shape[0], element=rows, partial=partial, sorted=not partial), shared
    )
