"""The property card against what the operator does."""

from __future__ import annotations

import re

import torch

from polypool.testing.bags import constant, draw
from polypool.testing.check import check, summary
from polypool.testing.forms import LAYOUTS, one_of_each
from polypool.testing.measure import describe, pooled
from polypool.testing.subject import Subject
from polypool.testing.tolerances import CheckFailure, Skip, agree, require

SCALES = (0.25, 2.0, 3.7)


@check()
def card_layouts(subject: Subject) -> None:
    """The card's layouts exist and the operator pools each of them."""
    unknown = sorted(set(subject.card.layouts) - set(LAYOUTS))
    require(
        not unknown and bool(subject.card.layouts),
        f"layouts must be among {', '.join(LAYOUTS)}; found {unknown}",
    )
    pool = subject.pool()
    for sample in one_of_each(subject.kinds, draw((3, 2), subject.channels)):
        try:
            pool(sample.layout())
        except NotImplementedError as error:
            raise CheckFailure(
                f"the card claims {sample.kind}, the operator refuses it: {summary(error)}"
            ) from error


@check()
def card_permutation_invariant(subject: Subject) -> None:
    """`permutation_invariant=True`: reversing the elements of a cell changes nothing."""
    if not subject.card.permutation_invariant:
        raise Skip("the card does not claim it")
    pool = subject.pool()
    for elements in draw((2, 9, 40), subject.channels, seed=40).elements:
        for mixed in (elements.flip(0), elements.roll(1, 0)):
            agree(
                subject.alone(pool, mixed),
                subject.alone(pool, elements),
                "the elements of a cell in another order",
            )


@check()
def card_homogeneity(subject: Subject) -> None:
    """`homogeneity=k`: pool(a x) = a^k pool(x) for a > 0, in cells with some positive element."""
    degree = subject.card.homogeneity
    if degree is None:
        raise Skip("the card claims no degree")
    pool = subject.pool()
    for elements in draw((1, 9, 40), subject.channels, seed=41).elements:
        elements[0] = elements[0].abs() + 0.1  # operators on positive numbers clip the others
        for scale in SCALES:
            scaled, plain = subject.alone(pool, scale * elements), subject.alone(pool, elements)
            agree(scaled, scale**degree * plain, f"degree {degree} claimed, elements times {scale}")


@check()
def card_constant_preserving(subject: Subject) -> None:
    """`constant_preserving=True`: equal elements, if positive, give that element."""
    if not subject.card.constant_preserving:
        raise Skip("the card does not claim it")
    pool = subject.pool()
    for value in (0.5, 1.0, 50.0):
        for elements in constant(value, (1, 2, 31), subject.channels, torch.float64).elements:
            agree(subject.alone(pool, elements), elements[0], f"{elements.shape[0]} elements, all {value}")


@check()
def card_learnable(subject: Subject) -> None:
    """`learnable` says whether there are parameters, and each of them takes part."""
    pool = subject.pool()
    parameters = dict(pool.named_parameters())
    found = ", ".join(parameters) or "none"
    claim = subject.card.learnable
    require(claim == bool(parameters), f"learnable={claim}, parameters: {found}")
    if not parameters:
        return
    kind = subject.kinds[0]
    out = pooled(pool, next(one_of_each([kind], draw((9, 40), subject.channels, seed=42))))
    places = torch.arange(out.numel(), dtype=out.dtype).view(out.shape)
    for name, grad in zip(
        parameters,
        torch.autograd.grad((out * places).sum(), list(parameters.values()), allow_unused=True),
        strict=True,
    ):
        require(grad is not None, f"parameter {name} takes no part in the result")


@check()
def card_decomposable(subject: Subject) -> None:
    """`decomposable` says whether `state` works."""
    claims_method(subject, subject.card.decomposable, "state", "decomposable")


@check()
def card_has_weights(subject: Subject) -> None:
    """`has_weights` says whether `weights` works."""
    claims_method(subject, subject.card.has_weights, "weights", "has_weights")


def claims_method(subject: Subject, claimed: bool, method: str, field: str) -> None:
    pool = subject.pool()
    for sample in one_of_each(subject.kinds, draw((3, 2), subject.channels)):
        try:
            getattr(pool, method)(sample.layout())
        except (NotImplementedError, AttributeError) as error:
            require(not claimed, f"{field}=True, but {method} raises {summary(error)}")
        else:
            require(claimed, f"{field}=False, but {method} gives numbers on {describe(sample)}")


@check()
def card_source(subject: Subject) -> None:
    """`source` names authors and year, where it is given."""
    source = subject.card.source
    if not source:
        raise Skip("the card gives no source")
    require(bool(re.search(r"\b1[89]\d\d\b|\b20\d\d\b", source)), f"source has no year: {source!r}")
