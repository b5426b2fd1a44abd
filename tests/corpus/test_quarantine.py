"""Rows that cannot be read or encoded: named, left out, and nothing else with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polypool.corpus import open_embeddings, verify
from polypool.corpus.adapter import Encoded, no_tick
from polypool.corpus.work import encode_apart
from tests.corpus.stub import Stub, contents, run


def quarantine(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()]


def test_each_row_is_there_or_there(tmp_path: Path) -> None:
    rows = [b'{"id": "%d", "text": "text %d"}' % (n, n) for n in range(12)]
    rows[1] = b"{broken"
    rows[6] = b'{"id": "6", "text": "BAD"}'
    rows[7] = b'{"id": "7", "text": "b\xffd"}'
    rows[11] = b'{"id": "11"}'
    source = tmp_path / "t.jsonl"
    source.write_bytes(b"\n".join(rows))
    done = run(source, tmp_path / "out", id_column="id")
    assert (done.rows, done.embedded, done.quarantined, done.complete) == (12, 8, 4, False)
    found = quarantine(tmp_path / "out")
    assert [(each["shard"], each["row"], each["position"], each["id"]) for each in found] == [
        (0, 1, "line 2", None),
        (1, 6, "line 7", "6"),
        (1, 7, "line 8", None),
        (2, 11, "line 12", "11"),
    ]
    assert found[0]["reason"].startswith("no JSON: ")
    assert found[1]["reason"] == "ValueError: this row is bad"
    assert found[2]["reason"] == "invalid UTF-8: byte 22 is 0xff"
    assert {each["file"] for each in found} == {str(source)}
    assert open_embeddings(tmp_path / "out").ids.tolist() == ["0", "2", "3", "4", "5", "8", "9", "10"]
    assert verify(tmp_path / "out", sample=100).ok


def test_a_shard_of_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a\nb\nc\nd\nBAD\nBAD\nBAD\nBAD\ne\n")
    done = run(tmp_path / "t.txt", tmp_path / "out")
    assert (done.embedded, done.quarantined) == (5, 4)
    found = open_embeddings(tmp_path / "out")
    assert [len(shard) for shard in found.shards] == [4, 0, 1]
    assert found.ids.tolist() == [0, 1, 2, 3, 8]
    assert found.matrix().shape == (5, 4)
    assert found[4].tolist() == found.shards[2].matrix[0].tolist()
    assert verify(tmp_path / "out", sample=100).ok


def test_a_second_run_says_so_again(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a\nBAD\n")
    run(tmp_path / "t.txt", tmp_path / "out")
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "quarantine.jsonl").unlink()
    done = run(tmp_path / "t.txt", tmp_path / "out")
    assert (done.made, done.quarantined) == (0, 1)
    assert contents(tmp_path / "out") == before


def test_names_that_are_no_unicode(tmp_path: Path) -> None:
    source = tmp_path / "caf\udce9.txt"
    try:
        source.write_text("a\nBAD\n")
    except OSError:
        pytest.skip("this file system takes no such names")
    run(source, tmp_path / "out")
    assert quarantine(tmp_path / "out")[0]["file"] == str(source)
    assert verify(tmp_path / "out", sample=2).ok


@pytest.mark.parametrize("bad", [set(), {0}, {3}, {1, 2, 6}, set(range(7))])
def test_halves_find_the_rows_that_fail(bad: set[int]) -> None:
    stub = Stub()
    rows = [f"BAD {n}" if n in bad else f"text {n}" for n in range(7)]
    found = encode_apart(stub, rows, no_tick)
    assert set(found.failed) == bad
    good = [n for n in range(7) if n not in bad]
    if good:
        wanted = stub.encode([rows[n] for n in good], no_tick)
        np.testing.assert_array_equal(found.vectors[good], wanted.vectors)


def test_rows_that_an_adapter_names_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Stub.encode

    def encode(self: Stub, rows: Any, tick: Any) -> Encoded:
        found = original(self, rows, tick)
        return Encoded(found.vectors, found.tokens, found.truncated, {1: "too odd"} if len(rows) > 1 else {})

    monkeypatch.setattr(Stub, "encode", encode)
    (tmp_path / "t.txt").write_text("a\nb\nc\n")
    run(tmp_path / "t.txt", tmp_path / "out")
    assert [(each["row"], each["reason"]) for each in quarantine(tmp_path / "out")] == [(1, "too odd")]
    assert open_embeddings(tmp_path / "out").ids.tolist() == [0, 2]
