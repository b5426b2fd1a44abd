"""The numbers behind a map: exactly through a linear head, or by gradient times activation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from polypool.explain.decision import Decision, NotExplained
from polypool.explain.places import spatial_dims, to_map
from polypool.explain.shares import (
    activation,
    beside,
    given_by_a_module,
    head_bias,
    layer_of,
    origins,
    positions,
    through,
)
from polypool.explain.tail import Pooled


@dataclass(frozen=True)
class Parts:
    """The numbers of a map, float64: `(B, *S)`, and one per row for the others."""

    maps: Tensor
    score: Tensor
    outside: Tensor
    layer: str


def exactly(
    decision: Decision,
    pixels: Tensor,
    features: Tensor | None,
    layer: str | None,
    grid: tuple[int, ...] | None,
) -> Parts:
    """Through the poolings that the head is linear in."""
    tail = decision.tail()
    shown = _shown(decision, tail.pooled, features, layer)
    directions = decision.gradients([one.after for one in tail.pooled])
    outside = beside(decision, [tensor for tensor, _ in tail.others], tail.pooled, directions)
    score, maps = outside, torch.zeros((), dtype=torch.float64)
    for one, direction in zip(tail.pooled, directions, strict=True):
        part = through(one, direction)
        score = score + part
        if one not in shown:
            outside = outside + part
            continue
        inside, prefix = to_map(positions(one, direction), pixels, decision.tape, grid)
        maps, outside = maps + inside, outside + prefix
    return Parts(maps, score, outside, layer or layer_of(decision, shown[0].before))


def by_gradient(
    decision: Decision,
    pixels: Tensor,
    features: Tensor | None,
    layer: str | None,
    grid: tuple[int, ...] | None,
) -> Parts:
    """Gradient times activation of a layer, whatever comes behind it."""
    if features is None:
        last = decision.last_pooling()
        if last is None:
            raise NotExplained("no pooling of a whole map leads to the logits. Name a layer: layer=.")
        features = given_by_a_module(decision, last.before)
    (gradient,) = decision.gradients([features])
    values = activation(features, gradient, spatial_dims(features, pixels))
    maps, outside = to_map(values, pixels, decision.tape, grid)
    score = decision.chosen.detach().double() - head_bias(decision)
    return Parts(maps, score, outside, layer or layer_of(decision, features))


def _shown(
    decision: Decision, found: list[Pooled], features: Tensor | None, layer: str | None
) -> list[Pooled]:
    """The poolings whose maps are shown; what comes through others is outside the map."""
    read = ", ".join(sorted({layer_of(decision, one.before) for one in found}))
    if features is not None:
        shown = [one for one in found if any(x is features for x, _ in origins(decision, one.before))]
        if not shown:
            raise NotExplained(
                f"the head does not pool the output of {layer!r} but that of {read}. Leave layer out, or name "
                'method="gradient".'
            )
        return shown
    if len({tuple(one.before.shape[1:]) for one in found}) > 1:
        raise NotExplained(
            f"the head pools maps of several sizes, the outputs of {read}. Name one of them: layer=."
        )
    return found
