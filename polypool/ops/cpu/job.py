"""What a kernel is told: one array of int64, most of them addresses.

The first fields are the same for all kernels; a family numbers its own from `OWN` on. What is missing is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polypool.ops.cpu import compiler, team
from polypool.ops.cpu.pages import advise
from polypool.ops.source import Source

(
    NEXT,  # the next work item: threads take items by an atomic addition
    WORKER,  # the next free part of the scratch memory
    ITEMS,
    GRAIN,  # how many items a thread takes at once
    KIND,  # how the values are stored: 0 as they are computed with, 1 bfloat16, 2 float16
    VALUES,
    ROW,  # bytes from one row to the next; contiguous cells: from one batch row to the next
    CELL,  # bytes from one cell to the next; 0 for rows that are listed; contiguous cells: from channel to channel
    CELLS,
    CHANNELS,
    WIDTH,  # channels that a kernel treats together: all of them, or one where cells are contiguous
    SHORT,  # whether contiguous cells follow each other without gaps and in full precision
    SETS,  # heads that a kernel finishes by themselves: all of them, or one where cells are contiguous
    LENGTH,  # the members of every cell where there are no offsets
    OFFSETS,
    ROWS,
    WEIGHT,
    HEADS,
    PIECE,  # members in a piece
    PIECES,  # how many pieces every cell is cut into; 0 where FIRST tells
    FIRST,  # the first piece of each cell and, last, the number of all
    STATES,  # what the pieces of a cell leave for the kernel that joins them
    SCRATCH,
    SCRATCH_BYTES,
    MASS,
    GRAD,  # where the gradient of the values is written, and its strides
    GRAD_ROW,
    GRAD_CELL,
    STREAM,  # whether it is written past the cache
    OWN,
) = range(30)
SIZE = 64

KINDS = {torch.float32: 0, torch.float64: 0, torch.bfloat16: 1, torch.float16: 2}
#: Below this many numbers a second thread costs more than it brings.
_ALONE = 1 << 15
#: Numbers in a piece of a long cell, and numbers that a thread takes at once.
_PIECE, _TAKEN = 1 << 18, 1 << 16
#: Bytes beyond which a gradient is written past the cache.
_CACHE = 1 << 25


class Job:
    """The fields that say what is read, made from a source.

    Attributes:
        contiguous: Whether the members of a cell and channel follow each other in memory; otherwise the channels of
            a row do.
        computed: The dtype that kernels compute and answer in: float32, or float64 for float64.
        cells: The number of cells, and `channels` of channels.
        covered: Whether every row is in a cell.
    """

    def __init__(self, source: Source) -> None:
        values, offsets, rows, weight = source
        self.computed = torch.float64 if values.dtype is torch.float64 else torch.float32
        self.fields = fields = np.zeros(SIZE, np.int64)
        self.channels = channels = values.shape[-1]
        self.contiguous, values = _in_order(values, offsets is not None, rows, weight is not None)
        self.values, self.covered, self.flat = values, True, False
        self.kept: list[Any] = [values]
        width = values.element_size()
        fields[KIND], fields[VALUES], fields[CHANNELS] = KINDS[values.dtype], values.data_ptr(), channels
        if offsets is None:
            self.cells, length = values.shape[0], values.shape[1]
            self.members = self.cells * length
            fields[LENGTH] = length
            row, cell = (0, 2) if self.contiguous else (1, 0)
            fields[ROW], fields[CELL] = values.stride(row) * width, values.stride(cell) * width
            dense = self.contiguous and fields[ROW] == channels * fields[CELL]
            self.flat, fields[SHORT] = dense and weight is None, dense and fields[KIND] == 0
        else:
            self.cells = offsets.shape[0] - 1
            self.members = values.shape[0] if rows is None else rows.shape[0]
            offsets = offsets.contiguous()
            fields[OFFSETS], fields[ROW] = offsets.data_ptr(), values.stride(0) * width
            self.covered = int(offsets[-1]) == values.shape[0]  # no row is listed twice
            self.kept.append(offsets)
            if rows is not None:
                rows = rows.contiguous()
                fields[ROWS] = rows.data_ptr()
                self.kept.append(rows)
        fields[HEADS], fields[CELLS], fields[WIDTH] = 1, self.cells, 1 if self.contiguous else channels
        if self.flat:  # one image of many channels: no kernel has to divide to find a cell
            fields[CELLS], fields[CHANNELS] = 1, self.cells * channels
        if weight is not None:
            fields[HEADS] = weight.shape[-1]
            weight = (weight.transpose(1, 2) if self.contiguous else weight).to(self.computed).contiguous()
            fields[WEIGHT] = weight.data_ptr()
            self.kept.append(weight)
        fields[SETS] = 1 if self.contiguous else fields[HEADS]
        self._cut(offsets)

    def _cut(self, offsets: Tensor | None) -> None:
        """Cuts long cells into pieces: a matter of shapes alone, so that results do not depend on the threads."""
        fields = self.fields
        if self.contiguous:
            piece, cells = _PIECE, self.cells * self.channels
        else:
            piece, cells = max(_PIECE // self.channels // 64 * 64, 512), self.cells
        fields[PIECE], fields[PIECES], self.items = piece, 1, cells
        if offsets is None:
            fields[PIECES] = max(-(-int(fields[LENGTH]) // piece), 1)
            self.items = cells * int(fields[PIECES])
        elif self.members > piece:
            pieces = np.maximum(-(-np.diff(offsets.numpy()) // piece), 1)
            if pieces.max() > 1:
                first = np.concatenate([[0], pieces.cumsum()])
                fields[PIECES], fields[FIRST], self.items = 0, first.ctypes.data, first[-1]
                self.kept.append(first)
        self.pieces_of_all = cells
        fields[ITEMS] = self.items

    @property
    def joined(self) -> bool:
        """Whether some cell was cut into pieces that have to be joined."""
        return self.items != self.pieces_of_all

    def gradient(self, into: Tensor | None = None) -> Tensor:
        """Makes room for the gradient of the values, 0 where no cell writes, or takes a tensor like them."""
        fields = self.fields
        grad = torch.empty_like(self.values) if into is None else into
        inner = 1 if self.contiguous and not fields[OFFSETS] else -1
        if grad.stride(inner) != 1:  # the values overlap in memory, and their gradient does not
            batch, places, channels = grad.shape
            grad = grad.new_empty((batch, channels, places)).transpose(1, 2)
        advise(grad)
        if not self.covered:
            grad.zero_()
        width, strides = grad.element_size(), grad.stride()
        if fields[OFFSETS]:
            fields[GRAD_ROW] = strides[0] * width
        else:
            row, cell = (0, 2) if self.contiguous else (1, 0)
            fields[GRAD_ROW], fields[GRAD_CELL] = strides[row] * width, strides[cell] * width
        # What does not fit into the cache would only be read into it to be written over.
        aligned = grad.data_ptr() % 64 == 0 and fields[GRAD_ROW] % 64 == 0 and fields[GRAD_CELL] % 64 == 0
        fields[STREAM] = grad.numel() * width > _CACHE and bool(aligned)
        self.put(GRAD, grad)
        return grad

    def put(self, field: int, tensor: Tensor | None) -> None:
        """The address of a tensor, which lives until the job is done."""
        if tensor is not None:
            self.fields[field] = tensor.data_ptr()
            self.kept.append(tensor)

    def run(
        self,
        kernel: Callable[[Any], None],
        scratch: int,
        join: Callable[[Any], None] | None = None,
        states: int = 0,
    ) -> None:
        """Runs a kernel over all cells.

        Args:
            kernel: What runs, a function of a job.
            join: The kernel that joins what pieces of cells left.
            states: Numbers (float64) of each channel that a piece of a cell leaves.
            scratch: Bytes of scratch memory that each thread needs.
        """
        fields, numbers = self.fields, self.members * self.channels
        threads = 1 if numbers < _ALONE else team.threads()
        each = -(-numbers // max(self.items, 1))
        fields[GRAIN] = max(1, min(_TAKEN // max(each, 1), self.items // (8 * threads)))
        if self.joined:
            numbers = int(self.items * states * fields[WIDTH])
            self.put(STATES, torch.empty(numbers, dtype=torch.float64))
        scratch = (scratch + 127) // 64 * 64
        self.put(SCRATCH, torch.empty(threads * scratch, dtype=torch.uint8))
        fields[SCRATCH_BYTES] = scratch
        self._launch(kernel, threads)
        if self.joined and join is not None:
            fields[NEXT] = fields[WORKER] = 0
            fields[ITEMS], fields[GRAIN] = self.pieces_of_all, 1
            self._launch(join, threads)

    def _launch(self, kernel: Callable[[Any], None], threads: int) -> None:
        team.launch(kernel.__name__, compiler.address(kernel, self.computed), self.fields, threads)


def _in_order(values: Tensor, listed: bool, rows: Tensor | None, weighted: bool) -> tuple[bool, Tensor]:
    """Whether cells are contiguous, and the values, copied where neither they nor rows are."""
    strides, one_channel = values.stride(), values.shape[-1] == 1
    if listed:
        if one_channel and rows is None and not weighted and strides[0] == 1:
            return True, values
        return False, values if strides[1] == 1 or one_channel else values.contiguous()
    if strides[1] == 1 and (one_channel or strides[2] != 1):
        return True, values
    return False, values if strides[2] == 1 else values.contiguous()
