"""The page of the documentation is made from results: tables with every row, and charts."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from polypool.bench.record import Check, Entry, save
from tests.bench.test_record import RESULTS, ROW

ROOT = Path(__file__).parents[2]

WINNER = Entry(
    "PyG MeanAggregation",
    "ok",
    ms=1.0,
    samples=7,
    reads=0.5,
    faster=0.5,
    checks=(Check("faster", 0.5, 0.95),),
)
LOSING = replace(ROW, entries=(*ROW.entries, WINNER, Entry("F.embedding_bag", "wrong", "off by 1|2")))


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The extension, imported as Sphinx imports it."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    for name in ("benchmark_pages", "benchmark_charts", "operator_pages"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import benchmark_pages  # type: ignore[import-not-found]

    assert isinstance(benchmark_pages, ModuleType)
    return benchmark_pages


def test_losing_rows_are_in_the_tables(pages: ModuleType) -> None:
    results = replace(RESULTS, rows=(LOSING,))
    text = pages.tables(results)
    assert "| **mean** | 2.00 | 1.00 (≤ 1.4 ✓) |  | 0.0 |" in text
    assert "| PyG MeanAggregation | 1.00 | 0.50 | 0.50x (≥ 0.95 ✗) |  |" in text
    assert "| timm | missing: timm is not installed |" in text
    assert "wrong: off by 1\\|2" in text
    assert "1 of 2 targets are reached." in pages.missed([results])
    assert "0.50x as fast as PyG MeanAggregation, target ≥ 0.95x" in pages.missed([results])


def test_where_it_was_measured(pages: ModuleType) -> None:
    machine = dict.fromkeys(("cpu", "usable_cores", "vector", "cache", "memory_gb", "huge_pages"), "some")
    text = pages.conditions(replace(RESULTS, machine=machine, settings={"threads": 2, "in_force": "kernels"}))
    assert "| not installed | timm |" in text
    assert "| warning | busy |" in text


def test_charts_of_every_suite(pages: ModuleType, tmp_path: Path) -> None:
    both = replace(LOSING, direction="forward + backward")
    sizes = [
        replace(ROW, table=table, shape=(n, 8), cells=n)
        for table in ("elements", "cells")
        for n in (100, 1000)
    ]
    suites = {
        "ops": (LOSING, both),
        "models": (replace(LOSING, table="models"),),
        "scaling": tuple(sizes),
    }
    for suite, rows in suites.items():
        save(replace(RESULTS, suite=suite, rows=rows), tmp_path / f"{suite}.json")
    drawn = pages.charts(pages.stored(tmp_path), tmp_path / "charts")
    names = sorted(path.name for path in (tmp_path / "charts").iterdir())
    assert names == ["models.svg", "ops-packed.svg", "scaling-cells.svg", "scaling-elements.svg"]
    assert sorted(name for listed in drawn.values() for name, _ in listed) == names


def test_no_results_are_said_to_be_none(pages: ModuleType, tmp_path: Path) -> None:
    assert pages.stored(tmp_path) == {}
    assert pages.charts({}, tmp_path / "charts") == {}
    assert "0 of 0 targets" in pages.missed([])
