"""Exponential operations as operations of torch: what a compiler sees, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from polypool.ops.again import through_definition
from polypool.ops.exponential import reference
from polypool.ops.library import SOURCE, Operation
from polypool.ops.source import Source

Optional = Tensor | None

#: k or t: a number, or a tensor of one or C in its place.
_PARAMETER = "float number, Tensor? learned"


def _forward(name: str) -> Callable[..., tuple[Tensor, Tensor]]:
    def run(
        values: Tensor,
        offsets: Optional,
        rows: Optional,
        weight: Optional,
        number: float,
        learned: Optional,
        keep: bool,
        slope: bool,
    ) -> tuple[Tensor, Tensor]:
        from polypool.ops.exponential import cpu

        source = Source(values, offsets, rows, weight)
        return getattr(cpu, name)(source, number if learned is None else learned, keep, slope)

    return run


def _backward(name: str) -> Callable[..., Tensor]:
    def run(
        grad: Tensor,
        values: Tensor,
        offsets: Optional,
        rows: Optional,
        weight: Optional,
        number: float,
        learned: Optional,
        known: Tensor,
    ) -> Tensor:
        from polypool.ops.exponential import cpu

        source = Source(values, offsets, rows, weight)
        return getattr(cpu, name)(grad, source, number if learned is None else learned, known)

    return run


def _softmax(
    values: Tensor,
    offsets: Optional,
    rows: Optional,
    weight: Optional,
    number: float,
    learned: Optional,
) -> Tensor:
    from polypool.ops.exponential import cpu

    return cpu.softmax(Source(values, offsets, rows, weight), number if learned is None else learned)


def _computed(values: Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)


def _fake_forward(kept: int) -> Callable[..., tuple[Tensor, Tensor]]:
    def run(values: Tensor, offsets: Optional, *rest: Any) -> tuple[Tensor, Tensor]:
        *_, keep, slope = rest
        cells = values.shape[0] if offsets is None else offsets.shape[0] - 1
        shape, dtype = (cells, values.shape[-1]), _computed(values)
        count = kept * keep + slope
        return values.new_empty(shape, dtype=dtype), values.new_empty((count, *shape), dtype=dtype)

    return run


def _fake_backward(grad: Tensor, values: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(values)


def _fake_softmax(values: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(values, dtype=_computed(values))


def _fake_softmax_backward(grad: Tensor, values: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(rest[-1])


_OPERATIONS = {
    name: Operation(
        name,
        f"({SOURCE}, {_PARAMETER}, bool keep, bool slope) -> (Tensor, Tensor)",
        _forward(name),
        _fake_forward(kept),
    )
    for name, kept in (("average", 3), ("log_mean_exp", 2))
}
_SOFTMAX = Operation("softmax", f"({SOURCE}, {_PARAMETER}) -> Tensor", _softmax, _fake_softmax)
_BACKWARD = {
    name: Operation(
        f"{name}_backward",
        f"(Tensor grad, {SOURCE}, {_PARAMETER}, Tensor kept) -> Tensor",
        _backward(f"{name}_backward"),
        fake,
    )
    for name, fake in (
        ("average", _fake_backward),
        ("log_mean_exp", _fake_backward),
        ("softmax", _fake_softmax_backward),
    )
}


def _define_average(cells: Any, k: float | Tensor) -> Tensor:
    return reference.attend(cells, cells.rows, cells.rows, 1 / k)


def _define_log_mean_exp(cells: Any, t: float | Tensor) -> Tensor:
    return reference.log_mean_exp(cells, cells.rows, t)


def _remember(ctx: Any, inputs: Any, output: Any) -> None:
    values, offsets, rows, weight, ctx.number, learned, ctx.keep, ctx.slope = inputs
    ctx.save_for_backward(values, offsets, rows, weight, learned, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _differentiate(name: str, define: Callable[[Any, Any], Tensor]) -> Callable[..., Any]:
    def run(ctx: Any, grad: Optional, *_: Any) -> tuple[Any, ...]:
        values, offsets, rows, weight, learned, kept = ctx.saved_tensors
        source = Source(values, offsets, rows, weight)
        of_values, of_learned = ctx.needs_input_grad[0], ctx.needs_input_grad[5]
        g_values, g_learned = None, None
        if grad is None:
            pass
        elif torch.is_grad_enabled():
            inputs = [each for each, needed in ((values, of_values), (learned, of_learned)) if needed]
            parameter = ctx.number if learned is None else learned
            found = iter(through_definition(lambda cells: [define(cells, parameter)], source, [grad], inputs))
            g_values = next(found) if of_values else None
            g_learned = next(found) if of_learned else None
        else:
            if of_values:
                g_values = _BACKWARD[name](grad, *source, ctx.number, learned, kept)
            if of_learned:
                g_learned = gradient_of_parameter(grad, kept[-1], learned)
        return g_values, None, None, None, None, g_learned, None, None

    return run


def gradient_of_parameter(grad: Tensor, slope: Tensor, parameter: Tensor) -> Tensor:
    """The gradient of k or t, in a sum that is the same for any number of threads."""
    product = grad * slope
    if product.shape[1] == 1:  # torch would cut the sum of one column between threads
        product = product.expand(-1, 2)
    columns = product.sum(0)[: slope.shape[1]]
    return (columns.sum() if parameter.numel() == 1 else columns).reshape(parameter.shape).to(parameter.dtype)


def _remember_softmax(ctx: Any, inputs: Any, output: Any) -> None:
    values, offsets, rows, weight, ctx.number, learned = inputs
    ctx.save_for_backward(values, offsets, rows, weight, learned, output)


def _differentiate_softmax(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    values, offsets, rows, weight, learned, density = ctx.saved_tensors
    source = Source(values, offsets, rows, weight)
    of_learned = ctx.needs_input_grad[5]
    g_values, g_learned = None, None
    if torch.is_grad_enabled() or of_learned:
        parameter = ctx.number if learned is None else learned
        inputs = [values, learned] if of_learned else [values]
        found = iter(
            through_definition(
                lambda cells: [_define_softmax(cells, parameter, source)], source, [grad], inputs
            )
        )
        g_values, g_learned = next(found), next(found, None)
    else:
        gradient = _BACKWARD["softmax"](grad, *source, ctx.number, learned, density)
        # What has no share, or all of it at infinity, keeps that wherever it moves, be its gradient as it may.
        settled = (density == 0) | values.isinf()
        g_values = gradient.masked_fill_(settled, 0.0).to(values.dtype)
    return g_values, None, None, None, None, g_learned


def _define_softmax(cells: Any, k: float | Tensor, source: Source) -> Tensor:
    """Densities where the values are, while cells have them in the order of their list."""
    density = reference.softmax(cells, cells.rows, 1 / k)
    if source.rows is None:
        return density
    return density.new_zeros(source.values.shape).index_copy(0, source.rows, density)


for _name, _define in (("average", _define_average), ("log_mean_exp", _define_log_mean_exp)):
    _OPERATIONS[_name].differentiable(_remember, _differentiate(_name, _define))
_SOFTMAX.differentiable(_remember_softmax, _differentiate_softmax)


def average(source: Source, k: float | Tensor) -> Tensor:
    """`sum w e^(k x) x / sum w e^(k x)` of each cell and channel, k one number or a tensor of one or C."""
    return _call("average", source, k)


def log_mean_exp(source: Source, t: float | Tensor) -> Tensor:
    """`t log(sum w e^(x / t) / sum w)` of each cell and channel, t one number or a tensor of one or C."""
    return _call("log_mean_exp", source, t)


def softmax(source: Source, k: float | Tensor) -> Tensor:
    """`e^(k x) / sum w e^(k x)`, shaped as the values and where they are; 0 of what is in no cell or has no weight."""
    learned = k if isinstance(k, Tensor) else None
    return _SOFTMAX(*source, 1.0 if learned is not None else k, learned)


def _call(name: str, source: Source, parameter: float | Tensor) -> Tensor:
    learned = parameter if isinstance(parameter, Tensor) else None
    number = 1.0 if learned is not None else parameter
    tracked = torch.is_grad_enabled()
    slope = tracked and learned is not None and learned.requires_grad
    keep = tracked and source.values.requires_grad
    return _OPERATIONS[name](*source, number, learned, keep, slope)[0]
