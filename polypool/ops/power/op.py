"""Power means as an operation of torch: what a compiler sees, and its gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from polypool.ops.again import through_definition
from polypool.ops.library import SOURCE, Operation
from polypool.ops.power import definition
from polypool.ops.source import Source

Optional = Tensor | None

#: p: a number, or a tensor of one or C in its place.
_POWER = "float number, Tensor? learned, bool signed, float? floor"


def _forward(
    values: Tensor,
    offsets: Optional,
    rows: Optional,
    weight: Optional,
    number: float,
    learned: Optional,
    signed: bool,
    floor: float | None,
) -> tuple[Tensor, Tensor]:
    from polypool.ops.power import cpu

    source, p = Source(values, offsets, rows, weight), number if learned is None else learned
    if definition.needed(p):
        return definition.forward(source, p, signed, floor)
    return cpu.forward(source, p, signed, floor)


def _backward(
    grad: Tensor,
    values: Tensor,
    offsets: Optional,
    rows: Optional,
    weight: Optional,
    number: float,
    learned: Optional,
    signed: bool,
    floor: float | None,
    out: Tensor,
    mass: Tensor,
    of_power: bool,
) -> tuple[Tensor, Tensor]:
    from polypool.ops.power import cpu

    source, p = Source(values, offsets, rows, weight), number if learned is None else learned
    if definition.needed(p):
        return definition.backward(grad, source, p, signed, floor, of_power)
    return cpu.backward(grad, source, out, mass, p, signed, floor, of_power)


def _fake(
    values: Tensor, offsets: Optional, rows: Optional, weight: Optional, *rest: Any
) -> tuple[Tensor, Tensor]:
    cells = values.shape[0] if offsets is None else offsets.shape[0] - 1
    dtype = torch.promote_types(values.dtype, torch.float32)
    mass = values.new_empty((0,) if weight is None else (cells, 1), dtype=dtype)
    return values.new_empty((cells, values.shape[-1]), dtype=dtype), mass


def _fake_backward(grad: Tensor, values: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    learned, of_power = rest[4], rest[-1]
    return torch.empty_like(values), torch.empty_like(learned) if of_power else values.new_empty((0,))


_POWER_MEAN = Operation("power_mean", f"({SOURCE}, {_POWER}) -> (Tensor, Tensor)", _forward, _fake)
_BACKWARD = Operation(
    "power_mean_backward",
    f"(Tensor grad, {SOURCE}, {_POWER}, Tensor out, Tensor mass, bool of_power) -> (Tensor, Tensor)",
    _backward,
    _fake_backward,
)


def _remember(ctx: Any, inputs: Any, output: Any) -> None:
    values, offsets, rows, weight, ctx.number, learned, ctx.signed, ctx.floor = inputs
    out, mass = output
    ctx.save_for_backward(values, offsets, rows, weight, learned, out, mass)
    ctx.mark_non_differentiable(mass)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, grad: Optional, *_: Any) -> tuple[Any, ...]:
    values, offsets, rows, weight, learned, out, mass = ctx.saved_tensors
    source = Source(values, offsets, rows, weight)
    of_values, of_power = ctx.needs_input_grad[0], ctx.needs_input_grad[5]
    g_values, g_power = None, None
    if grad is not None and torch.is_grad_enabled():
        p = ctx.number if learned is None else learned
        inputs = [each for each, needed in ((values, of_values), (learned, of_power)) if needed]
        define = definition.define(p, ctx.signed, ctx.floor)
        found = iter(through_definition(define, source, [grad], inputs))
        g_values = next(found) if of_values else None
        g_power = next(found) if of_power else None
    elif grad is not None:
        power = (ctx.number, learned, ctx.signed, ctx.floor)
        g_values, g_power = _BACKWARD(grad, *source, *power, out, mass, of_power)
    return g_values, None, None, None, None, g_power if of_power else None, None, None


_POWER_MEAN.differentiable(_remember, _differentiate)


def power_mean(source: Source, p: float | Tensor, signed: bool = False, floor: float | None = None) -> Tensor:
    """`reference.power_mean` of the values, but for a p of 1 that keeps signs: that is the mean."""
    learned = p if isinstance(p, Tensor) else None
    number = 1.0 if learned is not None else float(p)
    return _POWER_MEAN(*source, number, learned, signed, floor)[0]
