"""Processes that were told what computes, and processes without numba."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import polypool as pp
from tests.ops.cpu.test_team import child


@pytest.fixture(scope="module")
def plain() -> Any:
    return child("reference", POLYPOOL_KERNELS="reference")


def test_the_definition_needs_no_numba(plain: Any) -> None:
    assert not plain["numba"]
    assert plain["launches"], "a block overrules the environment"


def test_kernels_agree_with_it(plain: Any) -> None:
    for found, wanted in zip(plain["kernels"], plain["answer"], strict=True):
        assert found == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_an_unknown_choice() -> None:
    message = child("unknown", POLYPOOL_KERNELS="fast")
    assert message == "POLYPOOL_KERNELS must be one of auto, reference, numba, triton; found 'fast'."


def test_a_numba_that_cannot_be_imported(plain: Any, tmp_path: Path) -> None:
    """It refuses a newer numpy in this way; then it is as if it were not there."""
    broken = tmp_path / "numba"
    broken.mkdir()
    (broken / "__init__.py").write_text('raise ImportError("Numba needs another NumPy")\n')
    root = str(Path(pp.__file__).parents[1])
    found = child("broken_numba", PYTHONPATH=os.pathsep.join([str(tmp_path), root]))
    assert found["answer"] == found["again"] == plain["answer"]
    assert len(found["warnings"]) == 1


def test_without_numba(plain: Any) -> None:
    """The same numbers as the definition, eager and compiled; one warning; an error where it was asked for."""
    found = child("without_numba")
    assert found["answer"] == found["again"] == plain["answer"]
    assert len(found["compiled"]) == 4
    (said,) = found["warnings"]
    assert said.startswith("polypool runs without its CPU kernels, which are many times faster")
    assert said.endswith("pip install polypool[fast].")
    assert "numba is not installed" in found["numba"]
    assert found["suite"] == ["pass"] * 3
