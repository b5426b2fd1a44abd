"""The contract, for every registered operator: each operator and each check is a test."""

from __future__ import annotations

import pytest

import polypool as pp
from polypool.testing import Result, check_names, check_pooling

OURS = [name for name in pp.names() if type(pp.build(name, channels=4)).__module__.startswith("polypool.")]
NAMES = (*OURS, "mean+max+std")
# Inductor takes half a minute per operator: one per family always, all of them in the long run.
FAMILIES = ("mean", "max", "logsumexp", "median", "attention")


def outcome(name: str, check: str, **options: str) -> Result:
    (result,) = check_pooling(name, only=check, raise_on_failure=False, **options)  # type: ignore[arg-type]
    assert result.status != "fail", f"{name}: {result.clause}\n{result}"
    return result


@pytest.mark.parametrize("check", check_names("quick"))
@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str, check: str) -> None:
    result = outcome(name, check)
    assert result.status == "skip" or not result.reason, f"our own operators refuse nothing: {result}"
    if check in ("card_source", "matches_oracle") and "+" not in name:
        assert result.status == "pass", result


@pytest.mark.parametrize("name", FAMILIES)
def test_inductor(name: str) -> None:
    outcome(name, "compile_inductor")


@pytest.mark.slow
@pytest.mark.parametrize("check", check_names("full"))
@pytest.mark.parametrize("name", NAMES)
def test_contract_at_full_size(name: str, check: str) -> None:
    outcome(name, check, level="full")
