"""`polypool bench` as a user runs it, with its worker processes."""

import json
import os
import sys
from pathlib import Path

import pytest

from polypool.bench import runner
from polypool.bench.record import load
from polypool.bench.suites import cases
from polypool.bench.worker import Request
from polypool.cli import main

Capture = pytest.CaptureFixture[str]

ANNOUNCE = (
    "import sys, json; r = json.load(sys.stdin); print(json.dumps({'start': r['names'][0]}), flush=True)\n"
)


def test_a_small_run(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "ops.json"
    words = [
        "--quick",
        "--kernels",
        "reference",
        "--only",
        "small/without",
        "--only",
        "grid-14/mean",
        "--json",
        str(path),
    ]
    assert main(["bench", *words]) == 0
    out = capsys.readouterr().out
    assert "one small call" in out
    assert "forward + backward · grid, 14 x 14" in out
    assert "our side is the reference in plain torch; the allocator" in out
    results = load(path)
    assert results.suite == "ops"
    assert results.settings["quick"] is True
    assert results.settings["threads"]
    assert {row.case for row in results.rows} == {
        "small/without-gradients",
        "grid-14/mean",
        "grid-14/mean+max+min+std",
    }
    assert all(row.ours.status == "ok" and row.ours.ms for row in results.rows)
    assert not any(
        entry.checks for row in results.rows for entry in row.entries
    )  # not the sizes of the targets


def test_cases_are_listed(capsys: Capture) -> None:
    assert main(["bench", "--suite", "scaling", "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == [case.name for case in cases("scaling")]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--suite", "everything"], "--suite must be one of ops, models, scaling"),
        (["--allocator", "cold"], "--allocator must be one of warm, default"),
        (["--kernels", "magic"], "found 'magic'"),
        (["--only", "nonsense"], "no case of ops has nonsense in its name"),
        (["--threads", "0"], "--threads"),
        (["--json", "."], "--json must be a file"),
    ],
)
def test_mistakes(words: list[str], part: str, capsys: Capture) -> None:
    assert main(["bench", *words]) == 2
    said = capsys.readouterr()
    assert part in said.err
    assert said.out == ""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script that runs in place of the worker."""
    script = tmp_path / "worker.py"
    executable = tmp_path / "python"
    executable.write_text(f"#!{sys.executable}\nimport runpy\nrunpy.run_path({str(script)!r})\n")
    executable.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(executable))
    return script


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_case_that_kills_its_process_is_a_row(worker: Path) -> None:
    """Another process takes over after it."""
    worker.write_text(
        ANNOUNCE
        + "import os\nif len(r['names']) > 1: os.kill(os.getpid(), 9)\nprint(json.dumps({'done': True}))\n"
    )
    chosen = cases("ops", ["ones/"])
    events = list(runner.run(Request("ops", ()), chosen))
    assert [event.start for event in events if event.start] == ["ones/sum", "ones/mean"]
    (row,) = [event.row for event in events if event.row]
    assert row.case == "ones/sum"
    assert row.ours.why == "the process was killed by SIGKILL, perhaps for its memory"


def test_a_worker_that_does_not_start_is_an_error(worker: Path) -> None:
    worker.write_text("import sys; sys.stdin.read(); sys.exit('no torch here')\n")
    with pytest.raises(runner.WorkerError, match="ended with code 1 before its first case: no torch here"):
        list(runner.run(Request("ops", ()), cases("ops", ["ones/"])))


def test_a_wrong_result_of_ours_makes_it_fail(worker: Path, capsys: Capture) -> None:
    entry: dict[str, object] = {
        "name": "polypool", "status": "wrong", "why": "result off by 1.0e+00", "ms": None, "spread": None,
        "samples": 0, "reads": None, "faster": None, "extra": None, "checks": [],
    }  # fmt: skip
    row = {
        "table": "pooling", "case": "ones/sum", "workload": "ones", "operator": "sum", "layout": "packed",
        "shape": [3, 1], "dtype": "float32", "cells": 1, "direction": "forward", "allocator": "warm",
        "checked": 1.0, "read_ms": 1.0, "read_spread": 0.0, "others": None, "entries": [entry], "note": "",
    }  # fmt: skip
    facts = {"threads": 2, "allocator": "default", "kernels": "compiled kernels"}
    reports = [facts, {"warning": "numba is missing"}, {"row": row}]
    printed = "".join(f"print({json.dumps(json.dumps(report))})\n" for report in reports)
    worker.write_text(ANNOUNCE + printed)
    assert main(["bench", "--only", "ones/sum"]) == 1
    out = capsys.readouterr().out
    assert "ones/sum forward: wrong: result off by 1.0e+00" in out
    assert "Warning: numba is missing" in out
    assert "Warning: malloc was told to be warm and is default" in out
    assert "2 threads; our side is compiled kernels; the allocator gives freed memory back" in out
