"""The parts of a logit: what comes through each pooling, position by position, and what passes it by."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from polypool.explain.affine import DROPOUTS, MOVES, sources
from polypool.explain.contributions import contributions
from polypool.explain.decision import Decision
from polypool.explain.tail import Pooled, has_places
from polypool.explain.tape import Step


def per_row(x: Tensor) -> Tensor:
    """`(B, ...)` added up to `(B,)`, in float64."""
    return x.detach().double().flatten(1).sum(1)


def through(pooled: Pooled, direction: Tensor) -> Tensor:
    """What a pooling adds to the logit of each row, `(B,)`: the pooled tensor times the direction of the head."""
    return per_row(pooled.after.detach().double() * direction.double())


def positions(pooled: Pooled, direction: Tensor) -> Tensor:
    """The same position by position, without the channels, float64."""
    if pooled.pooling is not None:
        pool, layout = pooled.pooling
        return contributions(pool, layout, layout.rows_of(direction)).values.double()
    dims = () if pooled.reduction is None else pooled.reduction.dims
    (gradient,) = torch.autograd.grad(pooled.after, pooled.before, direction, retain_graph=True)
    return activation(pooled.before, gradient, dims)


def activation(features: Tensor, gradient: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Gradient times activation, added up over all dimensions but the first and the given ones; float64."""
    channels = [d for d in range(1, features.dim()) if d not in dims]
    product = features.detach().double() * gradient.double()
    return product.sum(channels) if channels else product


def beside(
    decision: Decision, others: list[Tensor], pooled: list[Pooled], directions: list[Tensor]
) -> Tensor:
    """What reaches the logits of each row past the poolings, `(B,)`."""
    total = torch.zeros_like(decision.chosen.detach(), dtype=torch.float64)
    for tensor in others:
        if not tensor.requires_grad:
            continue
        past = decision.gradients([tensor])[0].double()
        for one, direction in zip(pooled, directions, strict=True):
            (inside,) = torch.autograd.grad(
                one.after, tensor, direction, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            past = past - inside.double()
        total = total + per_row(past * tensor.detach().double())
    return total


def origins(decision: Decision, tensor: Tensor) -> Iterator[tuple[Tensor, Step | None]]:
    """A tensor and those before it that hold its numbers in another shape, order, or with more beside them.

    Each comes with the step that made it, None for what was given.
    """
    number: int | None = None
    dependent = decision.dependent()
    while True:
        number = decision.tape.maker(tensor, number)
        step = None if number is None else decision.tape.steps[number]
        yield tensor, step
        if step is None:
            return
        found = sources(step, dependent) if step.name in MOVES | DROPOUTS else None
        if not found or len(found) > 1:
            return
        tensor = found[0]


def layer_of(decision: Decision, tensor: Tensor) -> str:
    """The name of the module that gave a tensor, before it was reshaped."""
    layers = decision.tape.layers
    named = [layers[id(one)] for one, _ in origins(decision, tensor) if id(one) in layers]
    return named[0] if named else "no module"


def given_by_a_module(decision: Decision, tensor: Tensor) -> Tensor:
    """The map that a module gave and that a tensor was computed from; the tensor itself when there is none.

    A pooling that is written out (clamp, power, mean, root) is passed: its parts are maps of no module.
    """
    tape, dependent, found = decision.tape, decision.dependent(), tensor
    number: int | None = None
    while id(found) not in tape.layers:
        number = tape.maker(found, number)
        step = None if number is None else tape.steps[number]
        maps = [] if step is None else [t for t in step.inputs if id(t) in dependent and has_places(t)]
        if not maps:
            return tensor
        found = maps[0]
    return found


def head_bias(decision: Decision) -> Tensor:
    """The bias of the last layer for the target of each row; 0 when the logits are no layer's result."""
    *_, (_, step) = origins(decision, decision.chosen)
    bias = None
    if step is not None and step.name in ("linear", "conv1d", "conv2d", "conv3d", "addmm"):
        bias = step.argument(0, "input") if step.name == "addmm" else step.argument(2, "bias")
    if isinstance(bias, Tensor) and bias.dim() == 1:
        return bias.detach()[decision.target].double()
    return torch.zeros_like(decision.chosen.detach(), dtype=torch.float64)
