"""Kernels keep the contract and agree with the definition, and the suite would notice if they did not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.ops.cpu import team
from polypool.ops.exponential import cpu as exponential
from polypool.ops.moments import cpu as moments
from polypool.ops.order import cpu as order
from polypool.ops.power import cpu as power
from polypool.testing import check_names, check_pooling
from polypool.testing.bags import Bags, draw
from polypool.testing.forms import all_forms, full_forms
from polypool.testing.measure import Measured, compare, describe, measured
from polypool.testing.subject import subject_of

# One of each family of kernels, and all.
FAMILIES = ("max", "mean+max+std", "softmax", "gem", "median", "attention")
OPERATORS = (*pp.names(), "mean+max+std")
KINDS = ("auto", "reference")
# What always runs by the definition and what computes nothing, the same with kernels as without; and what compiles,
# which takes as long as all the rest.
PLAIN = {
    "compile_aot_eager",
    "export",
    "torch_func",
    "forward_mode",
    "state_dict_pickle_deepcopy",
    "unsupported_layouts_refused",
    "out_channels",
    *(name for name in check_names() if name.startswith("card_")),
}
CONTRACT = tuple(name for name in check_names("quick") if name not in PLAIN)


def runs() -> int:
    """How often kernels have run."""
    return sum(team.launches().values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_contract(name: str, kind: str) -> None:
    before = runs()
    with pp.kernels(kind):
        report = check_pooling(name, only=CONTRACT)
    assert report.ok
    assert (runs() > before) == (kind == "auto")


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATORS)
def test_all_of_the_contract_by_the_definition(name: str) -> None:
    """With kernels it is what the other tests of the contract run."""
    with pp.kernels("reference"):
        assert check_pooling(name).ok


def cells() -> dict[str, Bags]:
    """Cells that are empty, single and around a block of 64, plain, weighted and with numbers that are not finite."""
    sizes = (31, 0, 2, 63, 1, 130)
    plain, weighted = draw(sizes, 4), draw(sizes, 4, weighted=True, seed=1)
    odd = draw(sizes, 4, seed=2)
    odd.elements[0][3, 1], odd.elements[3][5, 2], odd.elements[5][70, 0] = torch.nan, torch.inf, -torch.inf
    return {"plain": plain, "weighted": weighted, "odd": odd, "even": draw((65,) * 3, 4, seed=3)}


CELLS = cells()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("name", "bags"),
    [
        (name, bags)
        for name in OPERATORS
        for bags in CELLS
        if bags != "weighted" or subject_of(name).takes_weights
    ],
)
def test_kernels_agree_with_the_definition(name: str, bags: str, dtype: torch.dtype) -> None:
    """Values and gradients, on every form of every layout."""
    subject, given = subject_of(name), CELLS[bags].to(dtype)
    pool, forms = subject.pool(dtype), full_forms if bags == "even" else all_forms
    for sample in forms(subject.kinds, given):
        with pp.kernels("reference"):
            wanted = blurred(measured(pool, sample))
        compare(blurred(measured(pool, sample)), wanted, describe(sample, name))


def blurred(found: Measured) -> Measured:
    """Gradients that are not finite are all the same: an infinity far from the mean has no slope to agree on."""
    return replace(found, rows=found.rows.where(found.rows.isfinite(), torch.nan))


Tensors = tuple[Tensor, ...]


def off(found: Tensors) -> Tensors:
    """A little too large."""
    return found[0] * 1.001, *found[1:]


def finite(found: Tensors) -> Tensors:
    """NaN and infinities lost."""
    return found[0].nan_to_num(), *found[1:]


def elsewhere(found: Tensors) -> Tensors:
    """The extreme itself, but the place before it."""
    return found[0], (found[1] - 1).clamp(min=0), *found[2:]


def leaking(found: Tensors) -> Tensors:
    """Each cell sees its neighbour."""
    return found[0] + 1e-3 * found[0].nan_to_num().roll(1, -2), *found[1:]


def heavy(found: Tensors) -> Tensors:
    """Masses that are wrong, which only gradients use."""
    return *found[:-1], found[-1] * 2


def noisy(found: Tensors) -> Tensors:
    """Not the same twice."""
    noisy.calls += 1  # type: ignore[attr-defined]
    return found[0] + noisy.calls * 1e-6, *found[1:]  # type: ignore[attr-defined]


noisy.calls = 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("spoil", "kernel", "name", "check"),
    [
        (off, moments.forward, "std", "matches_oracle"),
        (finite, moments.forward, "max", "nan_stays_in_its_cell"),
        (finite, moments.forward, "max", "inf_is_a_value"),
        (elsewhere, moments.forward, "max", "ties"),
        (elsewhere, moments.forward, "mean+max+std", "gradients"),
        (leaking, moments.forward, "var", "other_cells"),
        (heavy, moments.forward, "mean", "weights"),
        (noisy, moments.forward, "std", "deterministic"),
        (off, exponential.average, "softmax", "matches_oracle"),
        (finite, exponential.average, "softmax", "nan_stays_in_its_cell"),
        (leaking, exponential.log_mean_exp, "logsumexp", "other_cells"),
        (off, power.forward, "gem", "matches_oracle"),
        (leaking, power.forward, "power", "other_cells"),
        (noisy, power.forward, "gem", "deterministic"),
        (off, order.quantiles, "median", "matches_oracle"),
        (finite, order.quantiles, "quantile", "nan_stays_in_its_cell"),
        (elsewhere, order.quantiles, "median", "gradients"),
        (off, order.trimmed, "trimmed", "matches_oracle"),
        (leaking, order.top, "top_k", "other_cells"),
    ],
)
def test_a_broken_kernel_is_noticed(
    spoil: Callable[[Tensors], Tensors],
    kernel: Callable[..., Tensors],
    name: str,
    check: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = sys.modules[kernel.__module__]
    monkeypatch.setattr(home, kernel.__name__, lambda *args, **how: spoil(kernel(*args, **how)))
    assert failures(name, check) == [check]
    with pp.kernels("reference"):
        assert not failures(name, check)


@pytest.mark.parametrize(
    ("kernel", "name", "check"),
    [
        (kernel, name, check)
        for kernel, name in (
            (moments.backward, "var"),
            (exponential.average_backward, "softmax"),
            (exponential.log_mean_exp_backward, "logsumexp"),
            (power.backward, "power"),
            (order.quantiles_backward, "median"),
            (order.trimmed_backward, "trimmed"),
            (order.top_backward, "top_k"),
        )
        for check in ("gradients", "weight_zero_never_read")
        if check == "gradients" or pp.card(name).takes_weights
    ],
)
def test_a_broken_gradient_is_noticed(
    kernel: Callable[..., Any], name: str, check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(*args: Any, **how: Any) -> Any:
        found = kernel(*args, **how)
        grad = found if isinstance(found, Tensor) else found[0]
        grad = grad * 1.01 if check == "gradients" else grad.masked_fill(grad == 0, 1e-3)
        return grad if isinstance(found, Tensor) else (grad, *found[1:])

    monkeypatch.setattr(sys.modules[kernel.__module__], kernel.__name__, spoiled)
    assert failures(name, check) == [check]


def failures(name: str, check: str) -> Sequence[str]:
    report = check_pooling(name, only=check, raise_on_failure=False)
    return [result.check for result in report.failures]
