"""Several poolings side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from polypool.card import PropertyCard
from polypool.cells import Cells, Statistic
from polypool.cells.statistics import closure
from polypool.pooling import Pooling, restated


class Concat(Pooling):
    """The results of several poolings, concatenated along channels; what `"mean+max+std"` builds.

    The statistics that the parts declare are measured together, in one pass.

    Args:
        pools: Poolings or names, at least one.

    Shapes:
        The channels of the parts, one block after the other.

    Raises:
        TypeError: A part is neither a pooling nor a name.
        ValueError: There are no parts.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("concat", pools=["mean", pp.build("quantile", q=0.9)])(torch.ones(2, 3, 4, 4)).shape
        torch.Size([2, 6])
    """

    def __init__(self, pools: Sequence[Pooling | str]) -> None:
        from polypool.registry import build

        super().__init__()
        if isinstance(pools, str) or not isinstance(pools, Sequence | nn.ModuleList):
            raise TypeError(
                f'pools must be a list of poolings or names; found {pools!r}. Use build("mean+max").'
            )
        listed = [build(pool) if isinstance(pool, str) else pool for pool in pools]
        if not listed:
            raise ValueError("pools must hold at least one pooling; found none.")
        for pool in listed:
            if not isinstance(pool, Pooling):
                raise TypeError(f"pools must hold poolings or names; found {type(pool).__name__}.")
        self.pools = nn.ModuleList(listed)
        self.card = _joint_card(listed)
        needed = sorted({pool.channels for pool in listed if pool.channels is not None})
        if len(needed) > 1:
            raise ValueError(
                f"pools must be built for the same channels; found {' and '.join(map(str, needed))}."
            )
        self.channels = needed[0] if needed else None

    @property
    def parts(self) -> list[Pooling]:
        """The poolings, in order."""
        return list(self.pools)  # type: ignore[arg-type]

    @property
    def stats(self) -> tuple[Statistic, ...]:  # type: ignore[override]
        """The union of the parts' statistics when all parts declare some; otherwise none."""
        return self._union() if self.card.decomposable else ()

    def finish(self, s: Mapping[Statistic, Tensor]) -> Tensor:
        return torch.cat([part.finish(s) for part in self.parts], dim=-1)

    def reduce(self, cells: Cells) -> Tensor:
        return self._joined(cells, cells.statistics(self._union()))

    def _joined(self, cells: Cells, found: Mapping[Statistic, Tensor]) -> Tensor:
        """The parts side by side, those of statistics from what was measured for all."""
        results = []
        for part in self.parts:
            if isinstance(part, Concat):
                results.append(part._joined(cells, found))
            else:
                results.append(part.finish(found) if part.card.decomposable else part.reduce(cells))
        return torch.cat(results, dim=-1)

    def _union(self) -> tuple[Statistic, ...]:
        own: list[Statistic] = []
        for part in self.parts:
            own += part._union() if isinstance(part, Concat) else part.stats if part.card.decomposable else ()
        return closure(own)

    def out_channels(self, in_channels: int) -> int:
        return sum(part.out_channels(in_channels) for part in self.parts)


def _joint_card(pools: list[Pooling]) -> PropertyCard:
    cards = [pool.card for pool in pools]

    def all_of(field: str) -> bool:
        return all(getattr(card, field) for card in cards)

    degrees = {card.homogeneity for card in cards}
    facts: dict[str, Any] = {
        field: all_of(field)
        for field in ("decomposable", "permutation_invariant", "constant_preserving", "takes_weights")
    }
    return PropertyCard(
        "+".join(card.name for card in cards),
        summary="Concatenates " + ", ".join(card.name for card in cards) + " along channels.",
        layouts=tuple(kind for kind in cards[0].layouts if all(kind in card.layouts for card in cards)),
        homogeneity=degrees.pop() if len(degrees) == 1 else None,
        learnable=any(card.learnable for card in cards),
        source="; ".join(card.source for card in cards if card.source),
        **facts,
    )


Concat.card = restated(Concat.card, name="concat")
