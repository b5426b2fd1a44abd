"""The definition in the place of kernels, which know positive powers alone: a learned p may cross 0."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polypool.ops.again import through_definition
from polypool.ops.dispatch import kernels
from polypool.ops.power import reference
from polypool.ops.source import Source

if TYPE_CHECKING:
    from polypool.cells import Cells


def needed(p: float | Tensor) -> bool:
    """Whether some p is not positive and finite."""
    low, high = (p, p) if isinstance(p, float) else p.detach().aminmax()
    return not (low > 0 and high < inf)


def define(p: float | Tensor, signed: bool, floor: float | None) -> Callable[[Cells], list[Tensor]]:
    """The definition as a function of cells."""
    return lambda cells: [reference.power_mean(cells, cells.rows, p, signed, floor)]


def forward(source: Source, p: float | Tensor, signed: bool, floor: float | None) -> tuple[Tensor, Tensor]:
    """As `cpu.forward`; without masses, which are not used again."""
    from polypool.cells.listed import cells_of  # definitions are written on cells, which stand on operations

    with kernels("reference"):
        (out,) = define(p, signed, floor)(cells_of(source))
    return out, out.new_zeros((0,) if source.weight is None else (out.shape[0], 1))


def backward(
    grad: Tensor, source: Source, p: float | Tensor, signed: bool, floor: float | None, of_power: bool
) -> tuple[Tensor, Tensor]:
    """As `cpu.backward`."""
    inputs = [source.values.detach().requires_grad_()]
    if isinstance(p, Tensor):
        p = p.detach().requires_grad_()
        inputs.append(p)
    given = source._replace(values=inputs[0])
    found = through_definition(define(p, signed, floor), given, [grad], inputs)
    gradients = [torch.zeros_like(x) if g is None else g.detach() for x, g in zip(inputs, found, strict=True)]
    return gradients[0], gradients[-1] if of_power else grad.new_empty((0,))
