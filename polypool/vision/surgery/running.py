"""The model before and after: the sample that it runs on, and whether it still gives what it gave."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from polypool.vision.surgery.trace import Sample, Trace, made_up, traced

#: What compiles a module or shares it among processes, and does not see that it changes.
WRAPPERS = ("OptimizedModule", "DistributedDataParallel", "FullyShardedDataParallel")
#: How far outputs may move where nothing but rounding changes, relative to the largest.
ROUNDING = {torch.float64: 1e-8, torch.float32: 1e-3}


def run(model: object, sample: Sample | None) -> tuple[Sample | None, Trace | None]:
    """The sample and what the model does with it; both None when nothing tells what it takes.

    Raises:
        TypeError: The model is no module.
        ValueError: It is wrapped in something that keeps what it was.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; found {type(model).__name__}.")
    wrapper = next((type(m).__name__ for m in model.modules() if type(m).__name__ in WRAPPERS), None)
    if wrapper is not None:
        raise ValueError(
            f"model must be the module itself; found {wrapper} in it, which keeps what the module was. Pass the "
            "module, and compile or wrap it afterwards."
        )
    if sample is not None:
        return sample, traced(model, sample)
    made = made_up(model)
    return (None, None) if made is None else made


def require_optimizer(optimizer: object, model: nn.Module) -> None:
    """An optimizer that has parameters of the model.

    Raises:
        TypeError: It is no optimizer.
        ValueError: It has none of the model's parameters.
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be a torch.optim.Optimizer; found {type(optimizer).__name__}.")
    own = {id(parameter) for parameter in model.parameters()}
    if not any(id(one) in own for group in optimizer.param_groups for one in group["params"]):
        raise ValueError(
            "optimizer must have parameters of the model; found none of them in it. Pass the optimizer that trains it."
        )


def change(before: list[Tensor], after: list[Tensor]) -> float:
    """The largest change of a number.

    Raises:
        ValueError: The outputs have other shapes than before.
    """
    shapes = [tuple(x.shape) for x in before], [tuple(x.shape) for x in after]
    if shapes[0] != shapes[1]:
        old, new = next((a, b) for a, b in zip(*shapes, strict=False) if a != b)
        raise ValueError(f"the model gives {new} where it gave {old}")
    gaps = [
        torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a.double() - b.double()).abs()).max().item()
        for a, b in zip(before, after, strict=True)
        if a.is_floating_point() and a.numel()
    ]
    return max(gaps, default=0.0)


def allowed(before: list[Tensor]) -> float:
    """How far they may move by rounding."""
    floating = [x for x in before if x.is_floating_point() and x.numel()]
    if not floating:
        return 0.0
    size = max(x.double().abs().nan_to_num(0.0, 0.0, 0.0).max().item() for x in floating)
    return max(ROUNDING.get(x.dtype, 0.1) for x in floating) * max(size, 1e-3)
