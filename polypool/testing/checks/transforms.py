"""torch.func and forward mode: correct, or an error; never a silent zero."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad

from polypool.testing.bags import draw, generator
from polypool.testing.check import check, summary
from polypool.testing.forms import one_of_each
from polypool.testing.measure import cotangent, describe, pooled
from polypool.testing.samples import Sample
from polypool.testing.subject import Subject
from polypool.testing.tolerances import CheckFailure, agree

Function = Callable[[Tensor], Tensor]


@check()
def torch_func(subject: Subject) -> str:
    """torch.func's grad, jvp, jacrev and vmap agree with autograd, or raise."""
    refusals: dict[str, str] = {}
    for sample in small(subject):
        for name, (transform, wanted) in transforms(subject, sample).items():
            try:
                found = transform()
            except (NotImplementedError, RuntimeError) as error:
                refusals.setdefault(name, f"{name} is refused on {sample.label} ({summary(error)[:120]})")
                continue
            agree(found, wanted, describe(sample, f"torch.func.{name}"))
    return "; ".join(refusals.values())


def transforms(subject: Subject, sample: Sample) -> dict[str, tuple[Callable[[], Tensor], Tensor]]:
    """Each transform on a sample, and what plain autograd says that it should give."""
    function, jacobian, tangent = reference(subject, sample)
    values = sample.values
    batch = torch.stack([values, values.flip(0), values * 0.5])

    def scalar(values: Tensor) -> Tensor:
        out = function(values)
        return (out * cotangent(out)).sum()

    gradient = torch.einsum("ab,ab...->...", cotangent(function(values)), jacobian)
    return {
        "grad": (lambda: torch.func.grad(scalar)(values), gradient),
        "jvp": (lambda: torch.func.jvp(function, (values,), (tangent,))[1], push(jacobian, tangent)),
        "jacrev": (lambda: torch.func.jacrev(function)(values), jacobian),
        "vmap": (lambda: torch.func.vmap(function)(batch), torch.stack([function(v) for v in batch])),
    }


@check()
def forward_mode(subject: Subject) -> str:
    """Forward-mode derivatives agree with backward ones, or raise."""
    refusals = []
    for sample in small(subject):
        function, jacobian, tangent = reference(subject, sample)
        wanted = push(jacobian, tangent)
        try:
            with forward_ad.dual_level():
                dual = function(forward_ad.make_dual(sample.values, tangent))
                found = forward_ad.unpack_dual(dual).tangent
        except (NotImplementedError, RuntimeError) as error:
            refusals.append(f"refused on {sample.label} ({summary(error)[:120]})")
            continue
        if found is None and bool((wanted != 0).any()):
            raise CheckFailure(f"{describe(sample)}: the tangent is silently lost")
        agree(torch.zeros_like(wanted) if found is None else found, wanted, describe(sample, "forward mode"))
    return "; ".join(refusals[:1])


def small(subject: Subject) -> list[Sample]:
    return list(one_of_each(subject.kinds, draw((3, 0, 7), subject.channels, seed=29)))


def reference(subject: Subject, sample: Sample) -> tuple[Function, Tensor, Tensor]:
    """The pooling as a function of the values, its jacobian by plain autograd, and a tangent."""
    pool = subject.pool().requires_grad_(False)

    def function(values: Tensor) -> Tensor:
        return pooled(pool, sample, values)

    values = sample.values.clone().requires_grad_()
    out = function(values)
    rows = [
        torch.autograd.grad(number, values, retain_graph=True, allow_unused=True, materialize_grads=True)[0]
        for number in out.flatten()
    ]
    jacobian = torch.stack(rows).view(*out.shape, *values.shape)
    tangent = torch.randn(values.shape, generator=generator(30), dtype=values.dtype)
    return function, jacobian, tangent


def push(jacobian: Tensor, tangent: Tensor) -> Tensor:
    """The jacobian times a tangent, `(cells, C_out)`."""
    return (jacobian * tangent).flatten(2).sum(dim=2)
