"""`Pooling`: what one cell becomes, written once for every layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from polypool.card import PropertyCard, summary
from polypool.cells import Cells, Count, Mass, Statistic
from polypool.cells import merge as merge_states
from polypool.cells.statistics import ALL, Found, closure
from polypool.layouts import Layout, as_layout


class Pooling(nn.Module):
    """Summarises the elements of each cell as one vector.

    A subclass defines one of three things:

    1. `stats`, mergeable statistics, and `finish`, what to make of them;
    2. `weigh`, how much each member counts;
    3. `reduce`, anything else.

    The rest follows: every layout, NaN and padding, empty cells, half precision, `state / merge / finalize` for the
    first way, `weights` for the second. Register it with `polypool.register`.

    Args of `forward`:
        x: A layout, or a tensor with what `as_layout` takes.

    Example:
        >>> import torch, polypool as pp
        >>> class Range(pp.Pooling):
        ...     stats = (pp.Max(), pp.Min())
        ...
        ...     def finish(self, s):
        ...         return s[pp.Max()] - s[pp.Min()]
        >>> Range()(pp.Nodes(torch.tensor([[1.0], [4.0]])))
        tensor([[3.]])
    """

    card: PropertyCard = PropertyCard("pooling")
    #: The statistics that `finish` needs.
    stats: ClassVar[tuple[Statistic, ...]] = ()
    #: The channels that an operator with parameters was built for; None when any number will do.
    channels: int | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # What restricts the operator it is derived from restricts it too.
        cls.card = replace(cls.card, name=cls.__name__, **derived(cls))

    def finish(self, s: Mapping[Statistic, Tensor]) -> Tensor:
        """The pooled rows `(num_cells, C_out)` from the statistics, `(num_cells, C)` each. Finite in empty cells."""
        raise NotImplementedError(f"{type(self).__name__} declares stats and has to define finish.")

    def weigh(self, cells: Cells) -> Tensor:
        """The density of each member, `(..., N, h)`: the result is `sum w d x`. h is 1, C or divides C."""
        raise NotImplementedError(f"{type(self).__name__} has to define stats and finish, weigh, or reduce.")

    def reduce(self, cells: Cells) -> Tensor:
        """The pooled rows `(num_cells, C_out)` of the cells. Finite in empty cells."""
        if self.stats:
            return self.finish(cells.statistics(self.stats))
        return cells.apply(self.weigh(cells), cells.rows)

    def out_channels(self, in_channels: int) -> int:
        """How many channels the result has for values with `in_channels`."""
        return in_channels

    def forward(
        self,
        x: Layout | Tensor,
        *,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        offsets: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> Tensor:
        """Pools the cells of a layout: `(num_cells, C_out)`, or the shape that the layout arranges."""
        layout = as_layout(x, mask=mask, lengths=lengths, offsets=offsets, batch=batch, num_graphs=num_graphs)
        self._require(layout)
        cells = layout.cells
        pooled = cells.zero_where_empty(self.reduce(cells))
        dtype = layout.values.dtype
        return layout.arrange(pooled if pooled.dtype is dtype else pooled.to(dtype))

    def weights(self, layout: Layout) -> Tensor:
        """How much each element counts, in the shape of the values with 1 or C channels: `out = sum_i w_i x_i`.

        In float32 or wider; 0 at padding.

        Raises:
            NotImplementedError: The operator is no weighted sum, or the cells overlap.
        """
        self._require(layout)
        if not self.card.has_weights:
            raise NotImplementedError(
                f"{self.card.name} is not a weighted sum of its elements; card.has_weights tells."
            )
        cells = layout.cells
        density = self.weigh(cells)
        if density.shape[-1] not in (1, layout.channels):
            density = density.repeat_interleave(layout.channels // density.shape[-1], dim=-1)
        weighed = density if cells.weight is None else density * cells.weight.to(density.dtype)
        return layout.elements(cells.clean(weighed))

    def state(self, layout: Layout) -> dict[str, Tensor]:
        """The statistics of each cell, tensors `(num_cells, ...)` in float32 or wider, to merge and to finalize.

        Raises:
            NotImplementedError: The operator declares no statistics.
        """
        self._require_stats("state")
        self._require(layout)
        cells = layout.cells
        found = cells.statistics((Count(), Mass(), *self.stats))
        return {
            statistic.key: value if statistic.key == "n" else cells.zero_where_empty(value)
            for statistic, value in found.items()
        }

    def merge(self, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state of two disjoint parts of the same cells. Exact, associative and commutative, to rounding."""
        self._require_stats("merge")
        self._require_state(a)
        self._require_state(b)
        return merge_states(a, b)

    def finalize(self, state: Mapping[str, Tensor]) -> Tensor:
        """The pooled rows `(num_cells, C_out)` of a state, in its dtype; an empty cell gives 0."""
        self._require_stats("finalize")
        self._require_state(state)
        found: Found = {statistic: state[statistic.key] for statistic in ALL if statistic.key in state}
        pooled = self.finish(found)
        return torch.where(state["n"] > 0, pooled, torch.zeros_like(pooled))

    def _require(self, layout: Layout) -> None:
        given: object = layout
        if not isinstance(given, Layout):
            raise TypeError(f"expected a layout; found {type(given).__name__}. Make one with as_layout.")
        refusal = self.card.refusal(layout.kind, layout.weighted)
        if refusal is not None:
            raise NotImplementedError(refusal)
        if self.channels is not None and layout.channels != self.channels:
            raise ValueError(
                f"values must have the {self.channels} channels that {self.card.name} was built for; found "
                f"{layout.channels}. Build it with channels={layout.channels}."
            )

    def _require_state(self, state: Mapping[str, Tensor]) -> None:
        needed = {statistic.key for statistic in closure((Count(), Mass(), *self.stats))}
        if set(state) != needed:
            raise ValueError(
                f"a state of {self.card.name} must hold {', '.join(sorted(needed))}; found "
                f"{', '.join(sorted(state)) or 'nothing'}. Make it with the state method of this pooling."
            )

    def _require_stats(self, verb: str) -> None:
        if not (self.stats and self.card.decomposable):
            raise NotImplementedError(
                f"{self.card.name} has no {verb}: it is not decomposable; card.decomposable tells."
            )


def derived(cls: type[Pooling]) -> dict[str, Any]:
    """The fields of the card that follow from what a class defines."""
    return {
        "summary": summary(cls),
        "decomposable": bool(cls.stats) and _in_force(cls, "stats"),
        "has_weights": cls.weigh is not Pooling.weigh and _in_force(cls, "weigh"),
    }


def _in_force(cls: type[Pooling], attribute: str) -> bool:
    """Whether no class derived from the one that defines the attribute has replaced `reduce`."""

    def place(name: str) -> int:
        return next(i for i, each in enumerate(cls.__mro__) if name in vars(each))

    return place(attribute) <= place("reduce")


def restated(card: PropertyCard, **changes: Any) -> PropertyCard:
    """A card with some fields changed: for an instance whose settings change what holds."""
    return replace(card, **changes)
