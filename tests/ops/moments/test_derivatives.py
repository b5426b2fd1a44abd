"""First and second derivatives through operators and layouts, against differences and against the definition."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck

import polypool as pp
from polypool.ops.cpu import team
from tests.ops.moments.forms import FORMS, OPERATORS, Form
from tests.support import close, normal

every_form = pytest.mark.parametrize("form", FORMS)
every_operator = pytest.mark.parametrize("name", OPERATORS)
# Extremes do not depend on weights, which then have no gradient at all.
WEIGHED = tuple(name for name in OPERATORS if name not in ("max", "min"))


def function(name: str, form: Form) -> Callable[..., Tensor]:
    """From values, or values and weights, to the result."""
    pool = pp.build(name)

    def call(x: Tensor, w: Tensor | None = None) -> Tensor:
        y: Tensor = pool(form.make(x, w))
        return y

    return call


def inputs(form: Form, learned: bool) -> tuple[Tensor, ...]:
    values = form.values.clone().requires_grad_()
    return (values, form.weight.clone().requires_grad_()) if learned else (values,)


@every_form
@every_operator
def test_first_derivatives(name: str, form: str) -> None:
    before = sum(team.launches().values())
    assert gradcheck(function(name, FORMS[form]), inputs(FORMS[form], False), fast_mode=True)
    assert sum(team.launches().values()) > before or name in ("sum", "mean")
    fixed = FORMS[form].weight
    assert gradcheck(
        lambda x: function(name, FORMS[form])(x, fixed), inputs(FORMS[form], False), fast_mode=True
    )


@every_form
@pytest.mark.parametrize("name", WEIGHED)
def test_first_derivatives_by_weights(name: str, form: str) -> None:
    assert gradcheck(function(name, FORMS[form]), inputs(FORMS[form], True), fast_mode=True)


@every_form
@every_operator
def test_second_derivatives(name: str, form: str) -> None:
    assert gradgradcheck(function(name, FORMS[form]), inputs(FORMS[form], False), fast_mode=True)
    if name in WEIGHED:
        assert gradgradcheck(function(name, FORMS[form]), inputs(FORMS[form], True), fast_mode=True)


@pytest.mark.parametrize("form", ["nodes", "tokens, mask", "grid", "channels_last"])
@pytest.mark.parametrize("name", ["mean", "var", "max", "moments"])
def test_every_entry(name: str, form: str) -> None:
    """Slowly, entry by entry."""
    learned = name != "max"
    assert gradcheck(function(name, FORMS[form]), inputs(FORMS[form], learned))
    assert gradgradcheck(function(name, FORMS[form]), inputs(FORMS[form], learned))


@every_form
@every_operator
def test_as_by_definition(name: str, form: str) -> None:
    """First derivatives, with a graph of themselves and without, and second ones."""
    found = {}
    for kind in ("reference", "auto"):
        given = inputs(FORMS[form], name in WEIGHED)
        with pp.kernels(kind):
            y = function(name, FORMS[form])(*given)
            g = normal(*y.shape, seed=5)
            once = torch.autograd.grad(y, given, g, retain_graph=True)
            again = torch.autograd.grad(y, given, g, create_graph=True)
            curved = [t.square().sum() for t in again if t.requires_grad]
            twice = torch.autograd.grad(curved, given) if curved else ()
        found[kind] = (y, *once, *again, *twice)
    for i, (ours, wanted) in enumerate(zip(found["auto"], found["reference"], strict=True)):
        close(ours, wanted, f"{name} of {form}, {i}")


@every_form
@pytest.mark.parametrize("name", ["var", "std", "max", "mean+max+std"])
def test_transforms(name: str, form: str) -> None:
    """torch.func and forward mode give what autograd gives."""
    f, (x,) = function(name, FORMS[form]), inputs(FORMS[form], False)
    y = f(x)
    g, v = normal(*y.shape, seed=6), normal(*x.shape, seed=7)
    (wanted,) = torch.autograd.grad(y, x, g)
    jacobian = torch.autograd.functional.jacobian(f, x.detach())
    given = x.detach()
    close(torch.func.grad(lambda x: (f(x) * g).sum())(given), wanted, "grad")
    close(torch.func.vjp(f, given)[1](g)[0], wanted, "vjp")
    close(torch.func.jacrev(f)(given), jacobian, "jacrev")
    close(torch.func.jvp(f, (given,), (v,))[1], (jacobian * v).flatten(y.dim()).sum(-1), "jvp")
    several = torch.stack([given, 2 * given, -given])
    close(torch.func.vmap(f)(several), torch.stack([f(each) for each in several]), "vmap")
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(f(forward_ad.make_dual(given, v)))
    assert dual.tangent is not None
    close(dual.tangent, (jacobian * v).flatten(y.dim()).sum(-1), "forward mode")


@pytest.mark.parametrize("form", ["nodes", "tokens, mask", "grid"])
@pytest.mark.parametrize("name", ["mean", "std", "max"])
def test_many_gradients_at_once(name: str, form: str) -> None:
    """What torch computes by vmap over a backward pass, of a result that a kernel gave."""
    f, (x,) = function(name, FORMS[form]), inputs(FORMS[form], False)
    y = f(x)
    g = normal(4, *y.shape, seed=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = torch.autograd.grad(y, x, g, is_grads_batched=True, retain_graph=True)
    close(found, torch.stack([torch.autograd.grad(y, x, each, retain_graph=True)[0] for each in g]), "all")
    close(
        torch.autograd.functional.jacobian(f, x.detach(), vectorize=True),
        torch.autograd.functional.jacobian(f, x.detach()),
        "jacobian",
    )
    close(
        torch.autograd.functional.hessian(lambda x: f(x).sin().sum(), x.detach(), vectorize=True),
        torch.autograd.functional.hessian(lambda x: f(x).sin().sum(), x.detach()),
        "hessian",
    )


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("form", ["nodes", "tokens"])
def test_a_density_of_0_has_a_gradient(form: str, create_graph: bool) -> None:
    """What it would change if it were not 0; with a graph of the gradient as without."""
    x, d = normal(5, 2).requires_grad_(), torch.tensor([[0.5], [0.0], [2.0], [0.0], [1.0]]).double()
    for density in (d, torch.where(d == 0, -1.0, d)):
        learned = density.clone().requires_grad_()
        if form == "nodes":
            y = pp.Nodes(x).cells.apply(learned)
        else:
            y = pp.Tokens(x[None]).cells.apply(learned[None])
        found = torch.autograd.grad(y.sum(), (x, learned), create_graph=create_graph)
        close(found[0], density.expand(5, 2), "values")
        close(found[1], x.sum(1, keepdim=True), "density")


@pytest.mark.parametrize("form", ["nodes", "tokens", "grid"])
@pytest.mark.parametrize("density", [[1.0, -1.0, 0.0], [2.0, -1.0, -1.0], [-1.0, -2.0, -3.0]])
def test_a_density_of_either_sign(form: str, density: list[float]) -> None:
    """A weighted sum is one whatever the weights add up to."""
    x, d = normal(3, 2), torch.tensor(density).double()[:, None]
    cells = {
        "nodes": lambda: pp.Nodes(x).cells,
        "tokens": lambda: pp.Tokens(x[None]).cells,
        "grid": lambda: pp.Grid(x.T.contiguous()[None]).cells,
    }[form]()
    close(cells.apply(d if form == "nodes" else d[None]), (d * x).sum(0, keepdim=True), "sum")


def test_a_gradient_of_a_gradient_in_float32() -> None:
    """The penalty on a gradient that a training step differentiates."""
    x = normal(60, 4, dtype=torch.float32).requires_grad_()
    for name in ("std", "mean+max+std"):
        found = []
        for kind in ("reference", "auto"):
            with pp.kernels(kind):
                y = pp.build(name)(pp.Nodes(x, torch.arange(60) % 3))
                (g,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
                found.append(torch.autograd.grad(g.square().sum(), x)[0])
        close(found[1], found[0], name)
