"""Every check catches the operator that breaks its clause, and lets correct operators pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import polypool as pp
from polypool.cells import Cells
from polypool.testing import ConformanceError, check_names, check_pooling
from polypool.testing.oracle import oracle_for
from tests.testing.broken import BROKEN
from tests.testing.broken.cells import DividesByPlaces
from tests.testing.broken.numerics import AddsNoise, DetachesHalf

CASES = [pytest.param(check, cls, id=f"{check}-{cls.__name__}") for check in BROKEN for cls in BROKEN[check]]


@pytest.mark.parametrize(("check", "operator"), CASES)
def test_the_named_check_catches_it(check: str, operator: type[pp.Pooling]) -> None:
    oracle = oracle_for("var") if check == "matches_oracle" else None
    report = check_pooling(operator, oracle=oracle, only=check, raise_on_failure=False)
    assert report[check].status == "fail", str(report)
    assert report[check].reason


def test_every_check_has_an_operator_that_breaks_it() -> None:
    assert sorted(BROKEN) == sorted(check_names("full"))


class Midrange(pp.Pooling):
    stats = (pp.Max(), pp.Min())

    def finish(self, s: Any) -> Tensor:
        return (s[pp.Max()] + s[pp.Min()]) / 2


class Scored(pp.Pooling):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.score = nn.Linear(channels, 1)
        self.card = pp.PropertyCard("scored", has_weights=True, learnable=True, constant_preserving=True)

    def weigh(self, cells: Cells) -> Tensor:
        return cells.softmax(pp.run(self.score, cells.rows))


class MeanSquare(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return cells.mean(cells.rows**2)


@pytest.mark.parametrize("operator", [Midrange, Scored, MeanSquare])
def test_correct_operators_pass(operator: type[pp.Pooling]) -> None:
    report = check_pooling(operator)
    assert report.ok
    assert len(report) == len(check_names("quick"))
    assert not [r for r in report if r.status == "pass" and r.reason], str(report)


def test_an_oracle_is_asked() -> None:
    def oracle(x: Any, w: Any, settings: Any) -> Any:
        share = 1 / len(x) if w is None else w[:, None] / w.sum()
        return (share * x**2).sum(axis=0)

    assert check_pooling(MeanSquare, oracle=oracle, only="matches_oracle")["matches_oracle"].status == "pass"
    assert check_pooling(MeanSquare, only="matches_oracle")["matches_oracle"].status == "skip"


def test_failures_are_raised_with_the_report() -> None:
    with pytest.raises(ConformanceError, match=r"gradients: .*Packed \[15, 2\] float64, gradient") as caught:
        check_pooling(DetachesHalf, only=("gradients", "out_channels"))
    report = caught.value.report
    assert [result.check for result in report.failures] == ["gradients"]
    assert "1 passed, 1 failed, 0 skipped" in str(report)


def test_the_reason_tells_layout_shapes_and_difference() -> None:
    report = check_pooling(DividesByPlaces, only="padding_amount_and_side", raise_on_failure=False)
    reason = report["padding_amount_and_side"].reason
    for part in ("Tokens, right padding", "[4, 11, 4]", "float64", "largest difference", "allowed"):
        assert part in reason


def test_unknown_checks_and_subjects_are_errors() -> None:
    with pytest.raises(ValueError, match="only must name checks; found 'nonsense'"):
        check_pooling("mean", only="nonsense")
    with pytest.raises(KeyError, match="no check 'gradients' in this report"):
        check_pooling("mean", only="out_channels")["gradients"]
    with pytest.raises(TypeError, match="a name, a Pooling class or a Pooling; found int"):
        check_pooling(3)  # type: ignore[arg-type]


def test_nothing_of_the_callers_changes() -> None:
    pool = pp.build("attention", channels=6)
    before = {key: tensor.clone() for key, tensor in pool.state_dict().items()}
    state = torch.random.get_rng_state()
    check_pooling(pool, channels=6, only=("matches_oracle", "to_dtype", "deterministic"))
    check_pooling("attention", only="out_channels")
    check_pooling(AddsNoise, only="deterministic", raise_on_failure=False)
    assert torch.equal(torch.random.get_rng_state(), state)
    for key, tensor in pool.state_dict().items():
        assert torch.equal(tensor, before[key])
