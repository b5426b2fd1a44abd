"""First and second derivatives against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError
from torch.func import functional_call

import polypool as pp
from polypool.testing.bags import draw
from polypool.testing.check import check, summary
from polypool.testing.forms import one_of_each
from polypool.testing.measure import describe
from polypool.testing.samples import Sample
from polypool.testing.subject import Subject
from polypool.testing.tolerances import CheckFailure
from polypool.testing.written import soft

SIZES = (3, 0, 1, 11)


@check()
def gradients(subject: Subject) -> None:
    """Gradients of values, parameters and weights are those of finite differences."""
    for sample in differentiable(subject):
        function, inputs = as_function(subject.pool(), sample)
        against_differences(torch.autograd.gradcheck, function, inputs, describe(sample, "gradient"))


@check()
def second_derivatives(subject: Subject) -> None:
    """Gradients of gradients are those of finite differences."""
    samples = list(differentiable(subject))
    for sample in samples if subject.level == "full" else samples[:2] + samples[-1:]:
        function, inputs = as_function(subject.pool(), sample)
        against_differences(
            torch.autograd.gradgradcheck, function, inputs, describe(sample, "second derivative")
        )


def differentiable(subject: Subject) -> Iterator[Sample]:
    """One sample per layout; with weights the last ones, hard and soft."""
    channels = subject.channels if any(True for _ in subject.source.parameters()) else 2
    yield from one_of_each(subject.kinds, draw(SIZES, channels, seed=27))
    if subject.takes_weights:
        bags = draw(SIZES, channels, seed=28)
        positive = replace(
            bags, weights=tuple(0.5 + torch.arange(n, dtype=torch.float64) % 3 for n in bags.sizes)
        )
        yield from list(one_of_each(subject.kinds, positive))[:2]
        if "clusters" in subject.kinds:
            small = replace(bags, elements=tuple(x[:4] for x in bags.elements), weights=None)
            yield soft(small, fill=0.7)  # a share of 0.25 makes members of them too, and 0 is a kink of some


def as_function(pool: pp.Pooling, sample: Sample) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    """The pooling as a function of everything that may have a gradient."""
    parameters = {name: p.detach().clone() for name, p in pool.named_parameters()}
    # A soft assignment of 0 lies on the edge of what is allowed: finite differences would step over it.
    weights = {
        k: t.clone() + 0.25 * ("soft" in sample.label)
        for k, t in sample.structure.items()
        if t.is_floating_point()
    }
    names = [*parameters, *weights]

    def function(values: Tensor, *rest: Tensor) -> Tensor:
        given = dict(zip(names, rest, strict=True))
        structure = sample.structure | {key: given[key] for key in weights}
        layout = sample.make(values, **structure)
        out: Tensor = functional_call(pool, {key: given[key] for key in parameters}, (layout,))
        return out

    inputs = (sample.values.clone(), *parameters.values(), *weights.values())
    return function, tuple(t.requires_grad_() for t in inputs)


def against_differences(
    verify: Callable[..., bool], function: Callable[..., Tensor], inputs: tuple[Tensor, ...], where: str
) -> None:
    if not function(*inputs).requires_grad:
        raise CheckFailure(f"{where}: the result has no gradient at all")
    try:
        verify(function, inputs)
    except GradcheckError as error:
        raise CheckFailure(f"{where}: {summary(error)}") from error
