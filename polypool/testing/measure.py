"""What checks measure: values, gradients, and the same of every cell by itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import polypool as pp
from polypool.testing.bags import generator
from polypool.testing.samples import Sample
from polypool.testing.subject import Subject
from polypool.testing.tolerances import TOLERANCES, Tolerance, agree


@dataclass(frozen=True)
class Measured:
    """An operator's values on a sample, `(cells, C_out)`, and the gradients of one fixed combination of them.

    `rows` is the gradient of the values, as rows `(R, C)`; `parameters` those of the parameters, by name.
    """

    out: Tensor
    rows: Tensor
    parameters: dict[str, Tensor]


def pooled(pool: pp.Pooling, sample: Sample, values: Tensor | None = None) -> Tensor:
    """The result as `(cells, C_out)`."""
    result: Tensor = pool(sample.layout(values))
    return sample.matrix(result)


def cotangent(out: Tensor) -> Tensor:
    """What every gradient is taken with: numbers between 0.5 and 1.5 that depend on the place alone."""
    places = torch.arange(out.numel(), dtype=torch.float64).view(out.shape)
    return (0.5 + (places * 0.618034) % 1).to(out.dtype)


def measured(pool: pp.Pooling, sample: Sample, values: Tensor | None = None) -> Measured:
    """Values and gradients; what does not depend on an input has gradient 0."""
    values = (sample.values if values is None else values).detach().clone().requires_grad_()
    out = pooled(pool, sample, values)
    parameters = {name: p for name, p in pool.named_parameters() if p.requires_grad}
    inputs = [values, *parameters.values()]
    if out.requires_grad:
        grads = torch.autograd.grad(out, inputs, cotangent(out), allow_unused=True, materialize_grads=True)
    else:
        grads = tuple(torch.zeros_like(t) for t in inputs)
    return Measured(out.detach(), sample.rows(grads[0]), dict(zip(parameters, grads[1:], strict=True)))


def separately(subject: Subject, pool: pp.Pooling, sample: Sample) -> Measured:
    """The same from every cell by itself: what no layout and no neighbour may change."""
    bags = sample.cells()
    elements = [rows.detach().clone().requires_grad_() for rows in bags.elements]
    weights = bags.weights or (None,) * len(elements)
    outs = [subject.alone(pool, x, w) for x, w in zip(elements, weights, strict=True)]
    out = torch.stack(outs)
    parameters = {name: p for name, p in pool.named_parameters() if p.requires_grad}
    rows = torch.zeros_like(sample.rows(sample.values))
    if not out.requires_grad:
        return Measured(out, rows, {name: torch.zeros_like(p) for name, p in parameters.items()})
    inputs = [*elements, *parameters.values()]
    grads = torch.autograd.grad(out, inputs, cotangent(out), allow_unused=True, materialize_grads=True)
    for index, grad in zip(sample.members, grads, strict=False):
        rows.index_add_(0, index, grad)
    return Measured(out.detach(), rows, dict(zip(parameters, grads[len(elements) :], strict=True)))


def compare(found: Measured, wanted: Measured, where: str, tolerance: Tolerance | None = None) -> None:
    """Values, then gradients; gradients may be ten times as far off."""
    tolerance = tolerance or TOLERANCES[found.out.dtype]
    agree(found.out, wanted.out, where, tolerance)
    loose = Tolerance(10 * tolerance.relative, 10 * tolerance.absolute)
    agree(found.rows, wanted.rows, f"{where}, gradient of the values", loose)
    for name, grad in found.parameters.items():
        agree(grad, wanted.parameters[name], f"{where}, gradient of {name}", loose)


def touched(subject: Subject, pool: pp.Pooling, elements: Tensor, channel: int) -> Tensor:
    """Which outputs change when one channel of a cell does, `(C_out,)` bool."""
    other = elements.clone()
    other[:, channel] = 2 * torch.randn(elements.shape[0], generator=generator(11), dtype=torch.float64).to(
        other
    )
    return subject.alone(pool, elements) != subject.alone(pool, other)


def describe(sample: Sample, note: str = "") -> str:
    """A sample in a message: its form, shape and dtype."""
    dtype = str(sample.values.dtype).removeprefix("torch.")
    return f"{sample.label} {list(sample.values.shape)} {dtype}" + (f", {note}" if note else "")
