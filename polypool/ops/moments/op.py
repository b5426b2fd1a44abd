"""Moments as operations of torch: what a compiler sees, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from polypool.ops.again import through_definition
from polypool.ops.library import SOURCE, Operation
from polypool.ops.source import Source

CODES = ("sum", "mean", "m2", "m3", "m4", "max", "min")
_EXTREMES = (CODES.index("max"), CODES.index("min"))
Optional = Tensor | None


def _forward(
    values: Tensor, offsets: Optional, rows: Optional, weight: Optional, wanted: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    from polypool.ops.moments import cpu

    return cpu.forward(Source(values, offsets, rows, weight), wanted)


def _backward(
    grad: Tensor, values: Tensor, offsets: Optional, rows: Optional, weight: Optional, *known: Any
) -> Tensor:
    from polypool.ops.moments import cpu

    return cpu.backward(grad, Source(values, offsets, rows, weight), *known)


def _backward_of_weight(
    grad: Tensor, values: Tensor, offsets: Optional, rows: Optional, weight: Optional, *known: Any
) -> Tensor:
    from polypool.ops.moments import cpu

    return cpu.backward_of_weight(grad, Source(values, offsets, rows, weight), *known)


def _expand(y: Tensor, offsets: Tensor, rows: Optional, size: int) -> Tensor:
    from polypool.ops.moments import cpu

    return cpu.expand(y, offsets, rows, size)


def _fake(
    values: Tensor, offsets: Optional, rows: Optional, weight: Optional, wanted: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    cells = values.shape[0] if offsets is None else offsets.shape[0] - 1
    dtype = torch.promote_types(values.dtype, torch.float32)
    extremes = sum(code in _EXTREMES for code in wanted)
    stats = values.new_empty((len(wanted), cells, values.shape[-1]), dtype=dtype)
    places = values.new_empty((extremes, cells, values.shape[-1]), dtype=torch.int32)
    mass = values.new_empty((0,) if weight is None else (cells, weight.shape[-1]), dtype=dtype)
    return stats, places, mass


def _fake_backward(grad: Tensor, values: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(values)


def _fake_backward_of_weight(
    grad: Tensor, values: Tensor, offsets: Optional, rows: Optional, weight: Tensor, *known: Any
) -> Tensor:
    return torch.empty_like(weight, memory_format=torch.contiguous_format)


def _fake_expand(y: Tensor, offsets: Tensor, rows: Optional, size: int) -> Tensor:
    return y.new_empty((size, y.shape[-1]))


_KNOWN = "Tensor stats, Tensor places, Tensor mass, int[] wanted"
_MOMENTS = Operation("moments", f"({SOURCE}, int[] wanted) -> (Tensor, Tensor, Tensor)", _forward, _fake)
_BACKWARD = Operation(
    "moments_backward", f"(Tensor grad, {SOURCE}, {_KNOWN}) -> Tensor", _backward, _fake_backward
)
_BACKWARD_OF_WEIGHT = Operation(
    "moments_backward_of_weight",
    f"(Tensor grad, {SOURCE}, {_KNOWN}) -> Tensor",
    _backward_of_weight,
    _fake_backward_of_weight,
)
_EXPAND = Operation(
    "expand", "(Tensor y, Tensor offsets, Tensor? rows, SymInt size) -> Tensor", _expand, _fake_expand
)


def _remember(ctx: Any, inputs: Any, output: Any) -> None:
    values, offsets, rows, weight, ctx.wanted = inputs
    stats, places, mass = output
    ctx.save_for_backward(values, offsets, rows, weight, stats, places, mass)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, grad: Optional, *_: Any) -> tuple[Tensor | list[None] | None, ...]:
    values, offsets, rows, weight, stats, places, mass = ctx.saved_tensors
    source = Source(values, offsets, rows, weight)
    of_values, of_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[3]
    if grad is None:
        return None, None, None, None, None
    if torch.is_grad_enabled():
        inputs = [each for each, needed in ((values, of_values), (weight, of_weight)) if needed]
        # A sum under given weights is the definition's `apply`, in which weights of 0 have gradients too.
        weighed = weight is not None and [CODES[code] for code in ctx.wanted] == ["sum"]
        read = source._replace(weight=None) if weighed else source

        def define(cells: Any) -> list[Tensor]:
            if weighed:
                return [cells.apply(weight, cells.rows).unsqueeze(0)]
            return [_define(cells, ctx.wanted)]

        found = iter(through_definition(define, read, [grad], inputs))
        return next(found) if of_values else None, None, None, next(found) if of_weight else None, None
    known = (stats, places, mass, ctx.wanted)
    g_values = _BACKWARD(grad, *source, *known) if of_values else None
    g_weight = _BACKWARD_OF_WEIGHT(grad, *source, *known).to(weight.dtype) if of_weight else None
    return g_values, None, None, g_weight, None


def _define(cells: Any, wanted: Sequence[int]) -> Tensor:
    found = {
        statistic.key: value for statistic, value in cells.measured([CODES[code] for code in wanted]).items()
    }
    shape = torch.broadcast_shapes(*(value.shape for value in found.values()))
    return torch.stack([found[CODES[code]].expand(shape) for code in wanted])


_MOMENTS.differentiable(_remember, _differentiate)


def _remember_list(ctx: Any, inputs: Any, output: Any) -> None:
    _, offsets, rows, _ = inputs
    ctx.save_for_backward(offsets, rows)


def _gather(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
    offsets, rows = ctx.saved_tensors
    stats, _, _ = _MOMENTS(grad, offsets, rows, None, [CODES.index("sum")])
    return stats[0].to(grad.dtype), None, None, None


_EXPAND.differentiable(_remember_list, _gather)


def moments(source: Source, keys: Sequence[str]) -> tuple[dict[str, Tensor], Tensor]:
    """The statistics of each cell by name, `(K, C)`, and the masses `(K, H)`, empty without weights."""
    stats, _, mass = _MOMENTS(*source, [CODES.index(key) for key in keys])
    each = stats.unbind(0) if len(keys) > 1 else (stats.squeeze(0),)  # whose gradient copies nothing
    return dict(zip(keys, each, strict=True)), mass


def expand(y: Tensor, offsets: Tensor, rows: Tensor | None, size: int) -> Tensor:
    """Each cell's row to the rows that are listed for it, `(size, C)`; the others get 0. Its gradient is the sum."""
    return _EXPAND(y, offsets, rows, size)
