"""Which cases there are, and that those beside the poolings run."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool import registry
from polypool.bench.contestant import Effort
from polypool.bench.pooled import Options
from polypool.bench.rivals import rival
from polypool.bench.suites import SUITES, cases, convolution, model, ops, scaling
from polypool.bench.suites import block as blocks
from polypool.bench.suites.case import Case
from polypool.bench.worker import rows
from tests.support import forgets

BRIEF = Options(scale=0.0, effort=Effort(seconds=0.0, least=3, most=3), kernels="reference")


@pytest.mark.parametrize("suite", SUITES)
def test_names_are_unique(suite: str) -> None:
    names = [case.name for case in cases(suite)]
    assert len(set(names)) == len(names)


def test_patterns_choose_cases() -> None:
    assert [case.name for case in cases("ops", ["ones/s"])] == ["ones/sum"]
    chosen = [case.name for case in cases("ops", ["grid-7/m*", "short/std"])]
    assert {"grid-7/mean", "grid-7/median", "short/std"} <= set(chosen)
    assert cases("ops", ["nonsense"]) == []


def test_what_is_registered_has_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    forgets(monkeypatch, registry._poolings)

    @pp.register("bench_middle", layouts=("grid", "packed"))
    class Middle(pp.Pooling):
        """The middle of the range."""

        stats = (pp.Max(), pp.Min())

    names = {case.name for case in ops.cases()}
    assert {"packed/bench_middle", "grid-56/bench_middle"} <= names
    assert "tokens/bench_middle" not in names
    assert {f"packed/{name}" for name in pp.names()} <= names


def test_a_fresh_gradient_needs_a_process_of_its_own() -> None:
    fresh = [case for case in ops.cases() if case.table == ops.FRESH]
    assert fresh
    assert all(case.alone and case.allocator == "default" for case in fresh)


def test_small_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polypool.bench.suites.small.CALLS", 3)
    for case in cases("ops", ["small/"]):
        (row,) = case.run(BRIEF)
        images = row.layout == "grid"
        assert [entry.status for entry in row.entries] == ["ok"] * (3 if images else 2)
        figures = [check.figure for check in row.ours.checks]
        assert figures == ([] if "backward" in case.name or not images else ["beyond_us"])


def test_small_calls_without_the_rival(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polypool.bench.suites.small.CALLS", 3)
    monkeypatch.setattr("polypool.bench.suites.small.find_spec", lambda package: None)
    (case,) = cases("ops", ["small/nodes-sum-without"])
    (row,) = case.run(BRIEF)
    assert [entry.status for entry in row.entries] == ["ok", "missing"]


def test_scaling_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "SIZES", (10**4,))
    monkeypatch.setattr(scaling, "COUNTS", (1, 100))
    monkeypatch.setattr(scaling, "SHARED", 10**4)
    found = [row for case in scaling.cases() for row in case.run(replace(BRIEF, scale=1.0))]
    assert {row.ours.status for row in found} == {"ok"}
    assert {(row.table, row.cells) for row in found} == {("elements", 1), ("cells", 1), ("cells", 100)}
    assert all(abs(row.elements - 10**4) < 100 for row in found)


@pytest.mark.parametrize("case", cases("models", ["convolution"]), ids=lambda case: case.name)
def test_convolutions(case: Case) -> None:
    (row,) = case.run(BRIEF)
    assert [entry.status for entry in row.entries] == ["ok", "ok"], [entry.why for entry in row.entries]
    assert row.entries[1].checks[0].limit > 1


def test_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "CHANNELS", 16)
    monkeypatch.setattr(blocks, "SQUEEZED", 4)
    (row,) = cases("models", ["block/14"])[0].run(BRIEF)
    assert [entry.status for entry in row.entries[:2]] == ["ok", "ok"]
    assert all(entry.status in ("ok", "missing") for entry in row.entries)


def test_a_wrong_network_is_found() -> None:
    class Wrong(torch.nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (1.0 if x.dtype == torch.float64 else 1.1)

    def call(module: torch.nn.Module, x: Tensor) -> Tensor:
        out: Tensor = module(x)
        return out

    x, g = torch.ones(2, 3), torch.ones(2, 3)
    wrong = Wrong(3, 3)
    assert model.judge(wrong, call, x, g)(model.step(wrong, call, x, g)()).startswith("result off by")


def test_without_packages_rows_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rival, "find_spec", lambda name: object() if name == "torch" else None)
    monkeypatch.setattr(model, "find_spec", lambda name: None)
    (row,) = cases("models", ["convolution/gen-unsorted"])[0].run(BRIEF)
    assert (row.ours.status, row.ours.why) == ("missing", "torch_geometric is not installed")
    (row, *_) = cases("ops", ["packed/softmax"])[0].run(BRIEF)
    absent = {entry.name: entry.why for entry in row.entries if entry.status == "missing"}
    assert absent == {"PyG SoftmaxAggregation": "torch_geometric is not installed"}
    assert row.ours.status == "ok"


def test_a_case_that_fails_is_a_row() -> None:
    def run(_: Options) -> object:
        raise RuntimeError("no memory for that")

    (row,) = rows(Case("packed/mean", ops.TABLE, run), BRIEF)  # type: ignore[arg-type]
    assert (row.ours.status, row.ours.why) == ("failed", "RuntimeError: no memory for that")
    assert row.operator == "mean"


def test_sorted_edges_are_sorted() -> None:
    edges = convolution.graph(50, 200, shuffled=False)
    assert bool((edges[1].diff() >= 0).all())
    assert not bool((convolution.graph(50, 200, shuffled=True)[1].diff() >= 0).all())
