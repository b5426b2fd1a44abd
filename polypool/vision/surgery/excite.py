"""Squeeze-and-Excitation blocks that pool by a function: their layers, kept under their names around a pooling."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polypool.vision.global_pool import GlobalPool
from polypool.vision.surgery.reads import HANDED_ON, MULTIPLY, Read
from polypool.vision.surgery.trace import Trace

#: What may stand between the layers of a gate.
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu_": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "silu_": F.silu,
    "gelu": F.gelu,
    "hardswish": F.hardswish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "sigmoid_": torch.sigmoid,
    "hardsigmoid": F.hardsigmoid,
    "hard_sigmoid": F.hardsigmoid,
}


class Excite(nn.Module):
    """`x * gate(pool(x))` with the layers of another block, under the names that they had.

    Args:
        block: The block whose children become those of this one.
        order: The names of children, and of functions with `()`, that make the gate, in their order.
    """

    #: A trace looks into it: its pooling is a site.
    is_open = True

    def __init__(self, block: nn.Module, order: list[str]) -> None:
        super().__init__()
        self._modules.update(block._modules)
        self.order = list(order)

    def forward(self, x: Tensor) -> Tensor:
        pool = self._modules["pool"]
        scale = x if pool is None else pool(x)
        for name in self.order:
            scale = FUNCTIONS[name[:-2]](scale) if name.endswith("()") else getattr(self, name)(scale)
        return x * scale

    def pooled_by(self, pool: GlobalPool) -> None:
        """Puts the pooling in."""
        self.add_module("pool", pool)


def order_of(model: nn.Module, trace: Trace, read: Read) -> list[str] | None:
    """The children and functions that make the gate of a block from what it pools; None when it is no row of these."""
    name = trace.steps[read.number].inside
    block = model.get_submodule(name)
    calls = trace.of(block)
    if not name or not calls or "pool" in block._modules or read.form != "first" or read.operator != "mean":
        return None
    call = calls[0]
    if call.start != read.number or not call.args or call.args[0] is not read.before:
        return None
    if len(call.args) + len(call.kwargs) != 1 or read.after.dim() != read.before.dim():
        return None
    order: list[str] = []
    now, number = read.after, read.number + 1
    while number < call.stop:
        step = trace.steps[number]
        if not any(one is now for one in step.inputs):
            return None
        if step.operator in MULTIPLY and number == call.stop - 1:
            others = [one for one in step.inputs if one is not now]
            ends = call.output is step.outputs[0] and len(others) == 1 and others[0] is read.before
            return order if ends else None
        key = step.inside.removeprefix(f"{name}.").partition(".")[0]
        if step.inside != name and key in block._modules:
            own = trace.of(block.get_submodule(key))
            if len(own) != len(calls) or not isinstance(own[0].output, Tensor):
                return None
            order.append(key)
            now, number = own[0].output, own[0].stop
            continue
        if step.operator in FUNCTIONS and len(step.inputs) == 1:
            order.append(f"{step.operator}()")
        elif not (step.operator in HANDED_ON and step.outputs[0] is now):
            return None
        now, number = step.outputs[0], number + 1
    return None
