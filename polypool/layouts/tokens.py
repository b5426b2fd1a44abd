"""Padded token sequences: the states of an encoder and their attention mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from polypool import _checks
from polypool._lazy import kept
from polypool.cells import Dense
from polypool.layouts.dense import blank, count, flat_weight, real_places
from polypool.layouts.layout import Layout

if TYPE_CHECKING:
    from polypool.layouts.spans import Spans


class Tokens(Layout):
    """One cell per sequence of a padded batch.

    Args:
        values: `(B, T, C)` floating.
        mask: `(B, T)`, bool or 0/1 integers, True at real tokens. Padding on any side, holes allowed.
        weight: `(B, T)` floating, finite and >= 0; a token of weight 0 is padding.

    Raises:
        TypeError: An argument has a dtype that does not fit (a float mask is a `weight`).
        ValueError: A shape or a value does not fit.

    Example:
        >>> import torch, polypool as pp
        >>> states = torch.tensor([[[1.0], [3.0], [float("nan")]]])
        >>> pp.build("mean")(pp.Tokens(states, mask=torch.tensor([[1, 1, 0]])))
        tensor([[2.]])
    """

    kind = "tokens"
    structure = ("mask",)

    def __init__(self, values: Tensor, mask: Tensor | None = None, *, weight: Tensor | None = None) -> None:
        self.values = _checks.values(values, "values", (3,), "(B, T, C)")
        self.mask = None if mask is None else _checks.mask(mask, values.shape[:2], "(B, T)", values)
        self.weight = None if weight is None else _checks.weight(weight, values.shape[:2], "(B, T)", values)

    @classmethod
    def from_lengths(cls, values: Tensor, lengths: Tensor, *, weight: Tensor | None = None) -> Self:
        """From right-padded values and the number of real tokens in each row, `(B,)` integers."""
        _checks.values(values, "values", (3,), "(B, T, C)")
        batch, places = values.shape[0], values.shape[1]
        counted = _checks.index(lengths, "lengths", torch.Size((batch,)), "(B,)", values)
        _checks.in_range(
            counted,
            "lengths",
            0,
            places + 1,
            f"T = {places} places a row",
            "For packed values use Packed.from_lengths.",
        )
        mask = torch.arange(places, device=values.device) < counted[:, None]
        return cls(values, mask, weight=weight)

    @property
    def channels(self) -> int:
        return self.values.shape[-1]

    @property
    def num_cells(self) -> int:
        return self.values.shape[0]

    @kept
    def _real(self) -> Tensor | None:
        return real_places(self.mask, self.weight)

    @property
    def _real_elements(self) -> Tensor | None:
        return self._real

    @property
    def cells(self) -> Dense:
        return Dense(self.values, self._real, flat_weight(self.weight))

    @property
    def counts(self) -> Tensor:
        return count(self._real, self.num_cells, self.values.shape[1], self.values.device)

    @property
    def disjoint(self) -> bool:
        return True

    def collect(self, v: Tensor) -> Tensor:
        return blank(self._real, v)

    def _lift(self, y: Tensor) -> Tensor:
        spread = y.unsqueeze(1).expand(-1, self.values.shape[1], -1)
        return blank(self._real, spread).contiguous()

    def spans(self, spans: Tensor) -> Spans:
        """Any stretches as cells, `(M, 3)` integers: row, start, end (half-open).

        They may overlap and be empty; padding inside a span is left out. Pooling them gives `(M, C_out)`. Their
        lengths are read once.

        Example:
            >>> import torch, polypool as pp
            >>> tokens = pp.Tokens(torch.arange(4.0).view(1, 4, 1))
            >>> pp.build("sum")(tokens.spans(torch.tensor([[0, 0, 2], [0, 1, 4]])))
            tensor([[1.],
                    [6.]])
        """
        from polypool.layouts.spans import Spans

        return Spans.of_tokens(self, spans)
