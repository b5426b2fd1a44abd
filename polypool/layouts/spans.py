"""Stretches of sequences as cells: words of sub-words, sentences of a document, overlapping chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from polypool import _checks
from polypool._lazy import kept
from polypool.cells import Members
from polypool.layouts.ragged import RaggedLayout, discard

if TYPE_CHECKING:
    from polypool.layouts.packed import Packed
    from polypool.layouts.tokens import Tokens


class Spans(RaggedLayout):
    """The spans of a `Tokens` or `Packed` layout, made by their `spans` method: M cells.

    `values` are those of the layout that it was made from, and `lift` gives their shape.
    """

    kind = "spans"
    structure = ("element", "cell", "absent")
    settings = ("kind", "num_spans", "separate")

    element: Tensor
    cell: Tensor
    absent: Tensor | None
    num_spans: int
    separate: bool

    @classmethod
    def of_tokens(cls, tokens: Tokens, spans: Tensor) -> Self:
        batch, length = tokens.values.shape[0], tokens.values.shape[1]
        rows = torch.arange(batch, device=tokens.values.device) * length
        lengths = torch.full_like(rows, length)
        absent = None if tokens.mask is None else ~tokens.mask.flatten()
        return cls._made(tokens, spans, rows, lengths, absent)

    @classmethod
    def of_packed(cls, packed: Packed, spans: Tensor) -> Self:
        return cls._made(packed, spans, packed.offsets[:-1], packed.offsets.diff(), None)

    @classmethod
    def _made(
        cls, parent: Tokens | Packed, spans: Tensor, begins: Tensor, lengths: Tensor, absent: Tensor | None
    ) -> Self:
        found = _checks.index(spans, "spans", None, "(M, 3)", parent.values)
        if found.dim() != 2 or found.shape[1] != 3:
            raise ValueError(
                f"spans must have shape (M, 3): row, start, end; found {_checks.shape(found)}. Stack the three numbers."
            )
        row, start, end = found.unbind(1)
        _checks.in_range(row, "spans[:, 0]", 0, begins.shape[0], "the rows", "Count rows from 0.")
        _check_bounds(found, lengths)
        sizes = end - start
        total = int(sizes.sum())
        cell = torch.repeat_interleave(sizes, output_size=total)
        inside = torch.arange(total, device=cell.device) - (sizes.cumsum(0) - sizes)[cell]
        made = object.__new__(cls)
        made.kind = parent.kind  # type: ignore[misc]
        made.values = parent.values
        made.weight = parent.weight
        made.absent = absent
        made.cell = cell
        made.element = begins[row][cell] + start[cell] + inside
        made.num_spans = found.shape[0]
        made.separate = total == 0 or int(made.element.bincount().max()) <= 1
        return made

    @kept
    def members(self) -> Members:
        cell = self.cell
        partial = self.absent is not None
        if self.absent is not None:
            cell = torch.where(self.absent[self.element], torch.full_like(cell, self.num_spans), cell)
        cell, partial = discard(cell, self.num_spans, self._member_weight, partial)
        return Members(cell, self.num_spans, element=self.element, partial=partial, sorted=not partial)

    @property
    def _flat(self) -> Tensor:
        return self.values.flatten(0, -2)

    @property
    def _member_weight(self) -> Tensor | None:
        return None if self.weight is None else self.weight.flatten()[self.element]

    @property
    def disjoint(self) -> bool:
        return self.separate

    def _shaped(self, v: Tensor) -> Tensor:
        return v.unflatten(0, self.values.shape[:-1])


def _check_bounds(spans: Tensor, lengths: Tensor) -> None:
    if spans.shape[0] == 0 or not _checks.may_read(spans):
        return
    row, start, end = spans.unbind(1)
    wrong = (start < 0) | (end < start) | (end > lengths[row])
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0])
        raise ValueError(
            f"spans must have 0 <= start <= end <= the row's length, {int(lengths[row[at]])}; found start "
            f"{int(start[at])} and end {int(end[at])} in span {at}. Ends are half-open."
        )
