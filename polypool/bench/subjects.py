"""What is computed: every registered pooling, and some that need settings or belong together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import polypool as pp

# A power that is not an integer: the general one is not computed by multiplying.
SETTINGS: dict[str, dict[str, float]] = {"gem": {"p": 2.5}}
FUSED = "mean+max+min+std"
QUANTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Subject:
    """An operator.

    Attributes:
        name: For `--only`.
        make: The module, for a number of channels.
        scored: Whether it takes scores beside the values, one for each element.
        kinds: The kinds of layout that it can pool.
    """

    name: str
    make: Callable[[int], nn.Module]
    scored: bool = False
    kinds: tuple[str, ...] = ("grid", "tokens", "packed", "nodes", "clusters")


class GivenScores(nn.Module):
    """Attention without the network that scores: `sum e^s x / sum e^s`."""

    def forward(self, layout: pp.Layout, scores: Tensor) -> Tensor:
        pooled = layout.cells.attend(layout.with_values(scores).cells.rows)
        return layout.arrange(pooled.to(layout.values.dtype))


def _registered(name: str) -> Subject:
    def make(channels: int) -> nn.Module:
        torch.manual_seed(0)  # of the parameters
        return pp.build(name, channels=channels, **SETTINGS.get(name, {}))

    return Subject(name, make, kinds=pp.card(name).layouts)


def subjects() -> dict[str, Subject]:
    """All of them, by name; what is registered appears by itself."""
    listed = [_registered(name) for name in pp.names()]
    listed += [
        Subject(FUSED, lambda _: pp.build(FUSED)),
        Subject("gem3", lambda _: pp.build("gem", p=3.0, learn=False)),
        Subject("scores", lambda _: GivenScores(), scored=True),
        Subject(
            "quantiles",
            lambda _: pp.build("concat", pools=[pp.build("quantile", q=q) for q in QUANTILES]),
        ),
    ]
    return {subject.name: subject for subject in listed}


#: What a table calls them, where the name says too little.
TITLES = {
    "gem": "gem (any p, learned)",
    "gem3": "gem (p = 3)",
    "scores": "attention, scores given",
    "attention": "attention (linear scores)",
    "quantiles": "three quantiles",
    "softmax": "softmax (by its own values)",
}


def title(name: str) -> str:
    """The name of a subject in a table."""
    return TITLES.get(name, name)
