"""Who is right: the definition of an operator in plain torch and float64, on cells spread over the whole tensor.

Cells do not see each other, so a quarter of them is computed, some million numbers at a time, and everybody is compared
on those; `thorough` takes all. The gradient is that of one fixed combination of the results. What parameters get is for
the conformance suite.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import polypool as pp
from polypool.bench.data import Data, Part, generator
from polypool.testing.tolerances import TOLERANCES, Tolerance

AT_ONCE = 2_000_000  # numbers

#: What is true, from the layout of some cells in float64 and its inputs: values, and scores where there are any.
Definition = Callable[[pp.Layout, Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Truth:
    """The results of some cells, `(cells, C_out)`, and the gradients of their elements.

    Attributes:
        cells: Which cells.
        part: Their elements.
        out: In float64.
        grads: Of each input; in float32 at least, which is finer than the tolerance.
        share: How many of the cells these are.
    """

    cells: Tensor
    part: Part
    out: Tensor
    grads: tuple[Tensor, ...]
    share: float

    def judge(self, results: Sequence[Tensor]) -> str:
        """Why results are wrong, or an empty string: the output, then the gradients of the inputs if there are any."""
        out, *grads = results
        whole = (round(len(self.cells) / self.share), *self.out.shape[1:])
        if out.shape != whole:
            return f"shape {list(out.shape)} instead of {list(whole)}"
        tolerance = TOLERANCES[out.dtype]
        if wrong := apart(out[self.cells], self.out, tolerance, floor=1.0):
            return f"result {wrong}"
        loose = Tolerance(10 * tolerance.relative, 10 * tolerance.absolute)
        for found, wanted in zip(grads, self.grads, strict=False):
            if wrong := apart(self.part.take(found), wanted, loose, floor=0.0):
                return f"gradient {wrong}"
        return ""


def cotangent(cells: int, channels: int, dtype: torch.dtype) -> Tensor:
    """What gradients are taken with: numbers between 0.5 and 1.5."""
    return (torch.rand(cells, channels, generator=generator(4)) + 0.5).to(dtype)


def of_module(module: nn.Module) -> Definition:
    """What a pooling is defined as: the reference implementation in float64."""
    wide = copy.deepcopy(module).double()

    def definition(layout: pp.Layout, inputs: Sequence[Tensor]) -> Tensor:
        with pp.kernels("reference"):
            out: Tensor = wide(layout, *inputs[1:])
        return out

    return definition


def find(
    definition: Definition, data: Data, inputs: Sequence[Tensor], g: Tensor | None, *, thorough: bool = False
) -> Truth:
    """Computes what is true.

    Args:
        definition: What is computed.
        data: The cells.
        inputs: The values, and scores where there are any.
        g: The cotangent, one row for each cell; None where no gradients are wanted.
        thorough: Take every cell.
    """
    some = spread_out(data.cells, thorough=thorough)
    outs, grads = [], []
    for cells in _portions(some, data):
        part = data.part(cells)
        wide = [part.take(t).double().requires_grad_(g is not None) for t in inputs]
        with torch.set_grad_enabled(g is not None):
            out = definition(part.layout(wide[0]), wide)
        if g is not None:
            found = torch.autograd.grad(out, wide, g[cells].double())
            grads.append(
                [
                    t.to(torch.promote_types(x.dtype, torch.float32))
                    for t, x in zip(found, inputs, strict=True)
                ]
            )
        outs.append(out.detach())
    return Truth(
        some,
        data.part(some),
        torch.cat(outs),
        tuple(torch.cat(each) for each in zip(*grads, strict=True)),
        len(some) / data.cells,
    )


def spread_out(cells: int, *, thorough: bool = False) -> Tensor:
    """Every fourth cell, and the last; all of a few."""
    if thorough or cells <= 8:
        return torch.arange(cells)
    every = torch.arange(0, cells, 4)
    last = torch.tensor([cells - 1])
    return torch.cat([every, last]) if every[-1] != last else every


def _portions(cells: Tensor, data: Data) -> Sequence[Tensor]:
    """The cells in portions of at most `AT_ONCE` numbers, if they are of about equal size."""
    numbers = data.values.numel() / data.cells
    return cells.split(max(1, int(AT_ONCE / numbers)))


def apart(found: Tensor, wanted: Tensor, tolerance: Tolerance, floor: float) -> str:
    """How far results are from the truth if that is too far, or an empty string.

    The absolute tolerance is relative to the largest number of the truth, or to `floor` if that is larger.
    """
    if found.shape != wanted.shape:
        return f"has shape {list(found.shape)} instead of {list(wanted.shape)}"
    a, b = found.detach().double(), wanted.double()
    largest = (
        b.abs().nan_to_num(nan=0.0, posinf=0.0).amax().clamp(min=floor) if b.numel() else b.new_zeros(())
    )
    allowed = b.abs().mul_(tolerance.relative).add_(tolerance.absolute * largest)
    gap = (a - b).abs()
    same = (a == b) | (a.isnan() & b.isnan())
    far = ~(same | (gap <= allowed))
    if not bool(far.any()):
        return ""
    worst = torch.where(far, gap.nan_to_num(nan=torch.inf), 0.0).amax()
    return f"off by {float(worst):.1e} ({float(far.double().mean()):.0%} of it), tolerance {float(allowed.amax()):.1e}"
