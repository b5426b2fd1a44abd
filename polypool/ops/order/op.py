"""Order statistics as operations of torch: what a compiler sees, and their gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from polypool.ops.again import through_definition
from polypool.ops.library import SOURCE, Operation
from polypool.ops.order import reference
from polypool.ops.source import Source

Optional = Tensor | None
Three = tuple[Tensor, Tensor, Tensor]

#: What is asked for: several quantiles, or how much is cut off or kept.
_ASKED = {"quantiles": "float[] asked", "trimmed": "float asked", "top": "int asked"}


def _forward(name: str) -> Callable[..., Three]:
    def run(
        values: Tensor, offsets: Optional, rows: Optional, weight: Optional, asked: Any, keep: bool
    ) -> Three:
        from polypool.ops.order import cpu

        return tuple(getattr(cpu, name)(Source(values, offsets, rows, weight), asked, keep))

    return run


def _backward(name: str) -> Callable[..., Tensor]:
    def run(
        grad: Tensor,
        values: Tensor,
        offsets: Optional,
        rows: Optional,
        weight: Optional,
        asked: Any,
        *found: Tensor,
    ) -> Tensor:
        from polypool.ops.order import cpu

        return getattr(cpu, f"{name}_backward")(grad, Source(values, offsets, rows, weight), asked, found)

    return run


def _fake(name: str) -> Callable[..., Three]:
    def run(
        values: Tensor, offsets: Optional, rows: Optional, weight: Optional, asked: Any, keep: bool
    ) -> Three:
        cells = values.shape[0] if offsets is None else offsets.shape[0] - 1
        shape, dtype = (cells, values.shape[-1]), torch.promote_types(values.dtype, torch.float32)
        if name == "quantiles":
            first = values.new_empty((len(asked) if keep else 0, *shape), dtype=torch.int32)
            out = values.new_empty((len(asked), *shape), dtype=dtype)
        else:
            ends = 2 if name == "trimmed" else 1
            first = values.new_empty((ends if keep else 0, *shape), dtype=dtype)
            out = values.new_empty(shape, dtype=dtype)
        return out, first, torch.empty_like(first, dtype=torch.int32)

    return run


def _fake_backward(grad: Tensor, values: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(values)


_OPERATIONS = {
    name: Operation(
        name, f"({SOURCE}, {asked}, bool keep) -> (Tensor, Tensor, Tensor)", _forward(name), _fake(name)
    )
    for name, asked in _ASKED.items()
}
_BACKWARD = {
    name: Operation(
        f"{name}_backward",
        f"(Tensor grad, {SOURCE}, {asked}, Tensor out, Tensor first, Tensor second) -> Tensor",
        _backward(name),
        _fake_backward,
    )
    for name, asked in _ASKED.items()
}


def _remember(ctx: Any, inputs: Any, output: Any) -> None:
    values, offsets, rows, weight, ctx.asked, _ = inputs
    ctx.save_for_backward(values, offsets, rows, weight, *output)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _differentiate(name: str) -> Callable[..., Any]:
    def run(ctx: Any, grad: Optional, *_: Any) -> tuple[Optional, None, None, None, None, None]:
        values, offsets, rows, weight, *found = ctx.saved_tensors
        source, gradient = Source(values, offsets, rows, weight), None
        if grad is not None and ctx.needs_input_grad[0]:
            if torch.is_grad_enabled():

                def define(cells: Any) -> Sequence[Tensor]:
                    return [DEFINITIONS[name](_unweighted(cells), ctx.asked)]

                (gradient,) = through_definition(define, source, [grad], [values])
            else:
                if not found[1].shape[0]:  # nothing was kept
                    found = _OPERATIONS[name](*source, ctx.asked, True)
                gradient = _BACKWARD[name](grad, *source, ctx.asked, *found)
        return gradient, None, None, None, None, None

    return run


def _unweighted(cells: Any) -> Any:
    """The same cells: the weights of what a kernel reads say which members are real, and no more."""
    bare = copy.copy(cells)
    bare.weight = None
    return bare


DEFINITIONS: dict[str, Callable[[Any, Any], Tensor]] = {
    "quantiles": lambda cells, asked: torch.stack([reference.quantile(cells, q) for q in asked]),
    "trimmed": reference.trimmed,
    "top": reference.top,
}

for _name in _ASKED:
    _OPERATIONS[_name].differentiable(_remember, _differentiate(_name))


def quantiles(source: Source, q: Sequence[float]) -> Tensor:
    """Several quantiles of each cell and channel, `(Q, K, C)`, linear between ranks.

    Args:
        source: What is read. Where it has weights, of dense cells, they are 1 for members and 0 for padding.
        q: The quantiles, from 0 to 1.
    """
    return _call("quantiles", source, list(q))


def trimmed(source: Source, t: float) -> Tensor:
    """The mean of each cell and channel without its `floor(t n)` smallest and largest members, `(K, C)`."""
    return _call("trimmed", source, t)


def top(source: Source, k: int) -> Tensor:
    """The mean of the `min(k, n)` largest members of each cell and channel, ties to the first, `(K, C)`."""
    return _call("top", source, k)


def _call(name: str, source: Source, asked: Any) -> Tensor:
    keep = torch.is_grad_enabled() and source.values.requires_grad
    return _OPERATIONS[name](*source, asked, keep)[0]
