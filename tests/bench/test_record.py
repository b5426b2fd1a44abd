"""Results go to JSON and come back."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from polypool.bench.record import Check, Entry, Results, Row, load, parse, save, to_json

ROOT = Path(__file__).parents[2]

ROW = Row(
    table="pooling",
    case="packed/mean",
    workload="packed, cells of about 200 rows",
    operator="mean",
    layout="packed",
    shape=(200, 8),
    dtype="float32",
    cells=1,
    direction="forward",
    allocator="warm",
    checked=0.25,
    read_ms=2.0,
    read_spread=0.1,
    others=None,
    entries=(
        Entry("polypool", "ok", ms=2.0, samples=7, reads=1.0, extra=7, checks=(Check("reads", 1.0, 1.4),)),
        Entry("timm", "missing", "timm is not installed"),
    ),
)
RESULTS = Results(
    suite="ops",
    started="2020-01-01T00:00:00+00:00",
    seconds=1.5,
    machine={"cpu": "some", "cores": 2, "cache": None},
    versions={"torch": "2", "timm": None},
    settings={"quick": False, "threads": 2, "kernels": "auto"},
    warnings=("busy",),
    rows=(ROW,),
)


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ops.json"
    save(RESULTS, path)
    assert load(path) == RESULTS
    assert ROW.elements == 1600
    assert ROW.ours.name == "polypool"


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"cells": "one"}, "row.cells must be"),
        ({"cells": True}, "row.cells must be"),
        ({"others": "many"}, "row.others must be"),
        ({"shape": [1.5]}, "row.shape[0] must be"),
        ({"extra": 1}, "unknown: ['extra']"),
        ({"entries": [{}]}, "row.entries[0] must have its fields"),
        ({"entries": {}}, "row.entries must be"),
    ],
)
def test_another_form_is_an_error(change: dict[str, object], part: str) -> None:
    data = json.loads(to_json(ROW)) | change
    with pytest.raises(ValueError, match=re.escape(part)):
        parse(Row, data, "row")


def test_a_status_is_one_of_four() -> None:
    data = json.loads(to_json(ROW.ours)) | {"status": "great"}
    with pytest.raises(ValueError, match="status must be"):
        parse(Entry, data)


def test_another_schema_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text("[]")
    with pytest.raises(ValueError, match="must hold results of schema 1; found list"):
        load(path)
    path.write_text(json.dumps({"schema": 0}))
    with pytest.raises(ValueError, match="found 0"):
        load(path)


def test_infinity_is_no_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(replace(ROW, read_ms=float("inf")))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "benchmarks" / "results").glob("*.json")), ids=lambda p: p.stem
)
def test_what_is_stored_can_be_read(path: Path) -> None:
    results = load(path)
    assert results.suite == path.stem
    assert results.rows
    assert results.settings["quick"] is False
