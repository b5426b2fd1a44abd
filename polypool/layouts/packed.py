"""Sequences of any length, one after the other without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from polypool import _checks
from polypool._lazy import kept
from polypool.cells import Members, Stretches
from polypool.layouts.ragged import RaggedLayout, discard

if TYPE_CHECKING:
    from polypool.layouts.spans import Spans


class Packed(RaggedLayout):
    """One cell per sequence of a packed batch.

    Args:
        values: `(N, C)` floating, the sequences one after the other.
        offsets: `(B + 1,)` int32 or int64, where each begins and the last ends: `cu_seqlens`, or PyG's `ptr`.
        weight: `(N,)` floating, finite and >= 0; an element of weight 0 is padding.

    Raises:
        TypeError: An argument has a dtype that does not fit.
        ValueError: A shape does not fit, or offsets do not start at 0, decrease, or do not end at N.

    Example:
        >>> import torch, polypool as pp
        >>> packed = pp.Packed(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 2, 3]))
        >>> pp.build("mean")(packed)
        tensor([[2.],
                [5.]])
    """

    kind = "packed"
    structure = ("offsets",)

    def __init__(self, values: Tensor, offsets: Tensor, *, weight: Tensor | None = None) -> None:
        self.values = _checks.values(values, "values", (2,), "(N, C)")
        self.offsets = _offsets(offsets, values)
        self.weight = None if weight is None else _checks.weight(weight, values.shape[:1], "(N,)", values)

    @classmethod
    def from_lengths(cls, values: Tensor, lengths: Tensor, *, weight: Tensor | None = None) -> Self:
        """From the length of each sequence, `(B,)` integers that add up to N."""
        _checks.values(values, "values", (2,), "(N, C)")
        counted = _checks.index(lengths, "lengths", None, "(B,)", values)
        if counted.dim() != 1:
            raise ValueError(
                f"lengths must have shape (B,); found {_checks.shape(counted)}. One number for each sequence."
            )
        _checks.in_range(counted, "lengths", 0, None, "elements per sequence", "Check how they were counted.")
        if _checks.may_read(counted) and int(counted.sum()) != values.shape[0]:
            raise ValueError(
                f"lengths must add up to N = {values.shape[0]}; found {int(counted.sum())}. "
                "For padded values use Tokens.from_lengths."
            )
        return cls(values, torch.cat([counted.new_zeros(1), counted.cumsum(0)]), weight=weight)

    @classmethod
    def from_list(cls, sequences: Sequence[Tensor], *, weight: Tensor | None = None) -> Self:
        """From a list of `(n_i, C)` tensors; empty ones are empty cells."""
        listed = list(sequences)
        if not listed:
            raise ValueError(
                "list_of_tensors must hold at least one tensor, which tells the channels; found none. "
                "For no sequences pass Packed(values, offsets) with offsets [0]."
            )
        for one in listed:
            _checks.values(one, "each of list_of_tensors", (2,), "(n, C)")
            if one.shape[1] != listed[0].shape[1]:
                raise ValueError(
                    f"list_of_tensors must agree in channels; found {listed[0].shape[1]} and {one.shape[1]}. "
                    "Check the tensors that came last."
                )
        lengths = torch.tensor([one.shape[0] for one in listed], device=listed[0].device)
        return cls.from_lengths(torch.cat(listed), lengths, weight=weight)

    @kept
    def members(self) -> Members:
        """The cell of each element, by its place among the offsets."""
        members = Stretches(self.offsets, self.values.shape[0])
        if self.weight is None:
            return members
        cell, partial = discard(members.cell, members.num_cells, self.weight, False)
        return Members(cell, members.num_cells, partial=partial, sorted=not partial)

    @property
    def num_cells(self) -> int:
        return self.offsets.shape[0] - 1

    @property
    def counts(self) -> Tensor:
        return self.offsets.diff() if self.weight is None else self._member_counts

    def spans(self, spans: Tensor) -> Spans:
        """Any stretches as cells, `(M, 3)` integers: sequence, start, end (half-open), counted within the sequence.

        They may overlap and be empty; pooling them gives `(M, C_out)`. Their lengths are read once.
        """
        from polypool.layouts.spans import Spans

        return Spans.of_packed(self, spans)


def _offsets(offsets: object, values: Tensor) -> Tensor:
    found = _checks.index(offsets, "offsets", None, "(B + 1,)", values)
    elements = values.shape[0]
    if found.dim() != 1 or found.shape[0] == 0:
        raise ValueError(
            f"offsets must have shape (B + 1,), at least one number; found {_checks.shape(found)}. "
            "Use Packed.from_lengths to build them."
        )
    if not _checks.may_read(found):
        return found
    way_out = "Use Packed.from_lengths to build them."
    if int(found[0]) != 0:
        raise ValueError(f"offsets must start at 0; found {int(found[0])}. {way_out}")
    if not _checks.ordered(found):
        at = int((found.diff() < 0).nonzero()[0])
        raise ValueError(
            f"offsets must not decrease; found {int(found[at])} before {int(found[at + 1])} at {at}. {way_out}"
        )
    if int(found[-1]) != elements:
        raise ValueError(f"offsets must end at N = {elements}; found {int(found[-1])}. {way_out}")
    return found
