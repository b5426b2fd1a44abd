"""The operator under test: built, with parameters that hide nothing."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

import polypool as pp
from polypool.testing.bags import LARGE_SIZES, SIZES, Bags, generator
from polypool.testing.forms import FORMS, LAYOUTS
from polypool.testing.oracle import Oracle, ask, oracle_for, settings_of

CHANNELS = 4


@dataclass(frozen=True)
class Subject:
    """What every check gets.

    Attributes:
        label: How reports call it.
        source: The operator; checks work on copies of it.
        channels: The width of the elements that it takes.
        oracle: What one cell should give, or None.
        level: `"quick"` or `"full"`.
    """

    label: str
    source: pp.Pooling
    channels: int
    oracle: Oracle | None
    level: Literal["quick", "full"]

    @property
    def card(self) -> Any:
        return self.source.card

    @property
    def kinds(self) -> tuple[str, ...]:
        """The layouts that the card claims."""
        return tuple(kind for kind in LAYOUTS if kind in self.card.layouts)

    @property
    def takes_weights(self) -> bool:
        return bool(self.card.takes_weights)

    @property
    def sizes(self) -> tuple[int, ...]:
        return SIZES if self.level == "quick" else SIZES + LARGE_SIZES

    def pool(self, dtype: torch.dtype = torch.float64) -> pp.Pooling:
        """A copy whose parameters have the dtype."""
        return copy.deepcopy(self.source).to(dtype)

    def answer(self, pool: pp.Pooling, elements: Tensor, weights: Tensor | None = None) -> Tensor | None:
        """The oracle's vector for one cell, `(C_out,)` float64; None without an oracle."""
        if self.oracle is None:
            return None
        w = None if weights is None else weights.detach().double().numpy()
        return torch.from_numpy(ask(self.oracle, elements.detach().double().numpy(), w, settings_of(pool)))

    def alone(self, pool: pp.Pooling, elements: Tensor, weights: Tensor | None = None) -> Tensor:
        """The operator on a batch of one cell, `(C_out,)`: no padding, and nothing beside it."""
        bags = Bags((elements,), None if weights is None else (weights,))
        sample = FORMS[self.kinds[0]][0](bags)
        rows = torch.zeros_like(sample.rows(sample.values)).index_add(0, sample.members[0], elements)
        values = rows.reshape(sample.values.movedim(sample.channel_dim, -1).shape)
        result: Tensor = pool(sample.layout(values.movedim(-1, sample.channel_dim)))
        return result[0]


def subject_of(
    pooling: pp.Pooling | type[pp.Pooling] | str,
    *,
    oracle: Oracle | None = None,
    channels: int | None = None,
    level: Literal["quick", "full"] = "quick",
) -> Subject:
    """Builds the operator where a class or a name is given, and randomises a copy of its parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same parameters every time, from a generator that is put back
        pool, label = built(pooling, channels or CHANNELS)
    if channels is None:
        channels = getattr(pool, "channels", None) or CHANNELS
    pool = randomised(pool)
    return Subject(label, pool, channels, oracle or oracle_for(pool.card.name), level)


def built(pooling: pp.Pooling | type[pp.Pooling] | str, channels: int) -> tuple[pp.Pooling, str]:
    if isinstance(pooling, str):
        return pp.build(pooling, channels=channels), pooling
    if isinstance(pooling, type) and issubclass(pooling, pp.Pooling):
        takes = inspect.signature(pooling.__init__).parameters
        return (pooling(channels=channels) if "channels" in takes else pooling()), pooling.__name__
    if isinstance(pooling, pp.Pooling):
        return pooling, pooling.card.name
    raise TypeError(
        f"pooling must be a name, a Pooling class or a Pooling; found {type(pooling).__name__}. "
        "Subclass polypool.Pooling to have an operator checked."
    )


def randomised(pool: pp.Pooling) -> pp.Pooling:
    """A copy with noise on every parameter, so that an initialisation with zeros or ones hides nothing."""
    pool = copy.deepcopy(pool)
    source = generator(7)
    with torch.no_grad():
        for parameter in pool.parameters():
            noise = torch.randn(parameter.shape, generator=source, dtype=torch.float64)
            parameter.add_(0.3 * noise.to(parameter))
    return pool
