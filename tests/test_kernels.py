"""Kernels keep the contract and agree with the definition, and the suite would notice if they did not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.ops.cpu import team
from polypool.ops.moments import cpu
from polypool.testing import check_names, check_pooling
from polypool.testing.bags import Bags, draw
from polypool.testing.forms import all_forms, full_forms
from polypool.testing.measure import Measured, compare, describe, measured
from polypool.testing.subject import subject_of

OPERATORS = ("sum", "mean", "mean_sqrt_len", "var", "std", "moments", "max", "min", "mean+max+std")
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
@pytest.mark.parametrize("name", ["max", "mean+max+std"])
def test_the_contract(name: str, kind: str) -> None:
    before = runs()
    with pp.kernels(kind):
        report = check_pooling(name, only=CONTRACT)
    assert report.ok
    assert (runs() > before) == (kind == "auto")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPERATORS)
def test_all_of_the_contract(name: str, kind: str) -> None:
    with pp.kernels(kind):
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
@pytest.mark.parametrize("bags", CELLS)
@pytest.mark.parametrize("name", OPERATORS)
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


Forward = Callable[..., tuple[Tensor, Tensor, Tensor]]


def off(stats: Tensor, places: Tensor, mass: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A little too large."""
    return stats * 1.001, places, mass


def finite(stats: Tensor, places: Tensor, mass: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """NaN and infinities lost."""
    return stats.nan_to_num(), places, mass


def elsewhere(stats: Tensor, places: Tensor, mass: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The extreme itself, but the place before it."""
    return stats, (places - 1).clamp(min=0), mass


def leaking(stats: Tensor, places: Tensor, mass: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each cell sees its neighbour."""
    return stats + 1e-3 * stats.nan_to_num().roll(1, 1), places, mass


def heavy(stats: Tensor, places: Tensor, mass: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Masses that are wrong, which only gradients use."""
    return stats, places, mass * 2


def noisy(stats: Tensor, places: Tensor, mass: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Not the same twice."""
    noisy.calls += 1  # type: ignore[attr-defined]
    return stats + noisy.calls * 1e-6, places, mass  # type: ignore[attr-defined]


noisy.calls = 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("spoil", "name", "check"),
    [
        (off, "std", "matches_oracle"),
        (finite, "max", "nan_stays_in_its_cell"),
        (finite, "max", "inf_is_a_value"),
        (elsewhere, "max", "ties"),
        (elsewhere, "mean+max+std", "gradients"),
        (leaking, "var", "other_cells"),
        (heavy, "mean", "weights"),
        (noisy, "std", "deterministic"),
    ],
)
def test_a_broken_kernel_is_noticed(
    spoil: Any, name: str, check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward: Forward = cpu.forward
    monkeypatch.setattr(cpu, "forward", lambda *args: spoil(*forward(*args)))
    assert failures(name, check) == [check]
    with pp.kernels("reference"):
        assert not failures(name, check)


@pytest.mark.parametrize("check", ["gradients", "weight_zero_never_read"])
def test_a_broken_gradient_is_noticed(check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backward = cpu.backward

    def spoiled(grad: Tensor, source: Any, *known: Any) -> Tensor:
        found = backward(grad, source, *known)
        if check == "gradients":
            return found * 1.01
        return torch.where(found == 0, torch.full_like(found, 1e-3), found)

    monkeypatch.setattr(cpu, "backward", spoiled)
    assert failures("var", check) == [check]


def failures(name: str, check: str) -> Sequence[str]:
    report = check_pooling(name, only=check, raise_on_failure=False)
    return [result.check for result in report.failures]
