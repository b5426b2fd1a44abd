"""`verify`: each corruption that is planted is named, with its file and, where there is one, its row."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from polypool.corpus import CorpusError, embed, open_embeddings, verify
from polypool.corpus import duplicates as duplicates_module
from polypool.corpus.duplicates import Duplicates
from polypool.corpus.verdict import Problem
from polypool.corpus.verifying import alike
from tests.corpus.stub import lines, run
from tests.text import tiny


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Eleven rows in three shards, the fifth in the quarantine."""
    source = lines(tmp_path, 11)
    source.write_text(source.read_text().replace("number 5", "number 5 BAD"))
    run(source, tmp_path / "out")
    return tmp_path / "out"


def kinds(problems: tuple[Problem, ...]) -> set[tuple[str, str | None, int | None]]:
    return {(problem.what, problem.file, problem.row) for problem in problems}


def shard(out: Path, number: int) -> Path:
    return out / f"part-{number:06d}.parquet"


def vectors_at(out: Path, number: int) -> int:
    manifest = json.loads((out / "manifest.json").read_text())
    return int(manifest["shards"][number]["vectors_at"])


def put(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def test_nothing_is_wrong(out: Path) -> None:
    found = verify(out, sample=100)
    assert found.ok
    assert (found.rows, found.shards, found.encoded_again, found.not_checked) == (10, 3, 10, ())


def test_it_changes_nothing(out: Path) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in out.rglob("*")}
    threads = torch.get_num_threads()
    verify(out)
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in out.rglob("*")}
    assert torch.get_num_threads() == threads


def test_a_number_that_changed(out: Path) -> None:
    """By its checksum the file, and by encoding it again the row."""
    put(shard(out, 1), vectors_at(out, 1) + 2 * 4 * 4, np.float32(99.0).tobytes())
    assert kinds(verify(out).problems) == {
        ("checksum", "part-000001.parquet", None),
        ("another vector", "part-000001.parquet", 2),
    }
    assert kinds(verify(out, sample=0).problems) == {("checksum", "part-000001.parquet", None)}


def test_a_number_that_is_not_finite(out: Path) -> None:
    put(shard(out, 2), vectors_at(out, 2) + 4 * 4, np.float32("nan").tobytes())
    found = verify(out, sample=0)
    assert kinds(found.problems) == {
        ("checksum", "part-000002.parquet", None),
        ("not finite", "part-000002.parquet", 1),
        ("flag", "part-000002.parquet", 1),
    }
    assert [problem.id for problem in found.problems] == [None, 9, 9]


def test_a_vector_that_came_out_so(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a\nNAN\n")
    assert run(tmp_path / "t.txt", tmp_path / "out").nonfinite == 1
    assert kinds(verify(tmp_path / "out").problems) == {("not finite", "part-000000.parquet", 1)}


def missing(out: Path) -> None:
    shard(out, 1).unlink()


def cut(out: Path) -> None:
    os.truncate(shard(out, 0), 300)


def longer(out: Path) -> None:
    with shard(out, 0).open("ab") as file:
        file.write(b"x")


def stranger(out: Path) -> None:
    (out / "part-000009.parquet").write_bytes(shard(out, 0).read_bytes())


def other_columns(out: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), shard(out, 0))


def no_quarantine(out: Path) -> None:
    (out / "quarantine.jsonl").unlink()


def long_quarantine(out: Path) -> None:
    with (out / "quarantine.jsonl").open("a") as file:
        file.write('{"row": 7}\nnonsense\n')


def exchanged(out: Path) -> None:
    first, second = shard(out, 0).read_bytes(), shard(out, 2).read_bytes()
    shard(out, 0).write_bytes(second)
    shard(out, 2).write_bytes(first)


def change(out: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((out / "manifest.json").read_text())
    edit(manifest)
    (out / "manifest.json").write_text(json.dumps(manifest))


def wrong_counts(out: Path) -> None:
    change(out, lambda manifest: manifest["counts"].update(tokens=1))


def lost_shard(out: Path) -> None:
    change(out, lambda manifest: manifest["shards"].pop(1))


FIRST = "part-000000.parquet"


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (missing, {("missing", "part-000001.parquet", None)}),
        (cut, {("checksum", FIRST, None), ("unreadable", FIRST, None)}),
        (longer, {("checksum", FIRST, None), ("unreadable", FIRST, None)}),
        (stranger, {("unexpected", "part-000009.parquet", None)}),
        (other_columns, {("checksum", FIRST, None), ("columns", FIRST, None)}),
        (no_quarantine, {("missing", "quarantine.jsonl", None)}),
        (long_quarantine, {("quarantine", "quarantine.jsonl", 2), ("quarantine", "quarantine.jsonl", None)}),
        (wrong_counts, {("manifest", "manifest.json", None)}),
        (
            lost_shard,  # with the row that it quarantined
            {
                ("manifest", "manifest.json", None),
                ("unexpected", "part-000001.parquet", None),
                ("quarantine", "quarantine.jsonl", None),
            },
        ),
    ],
)
def test_damage_is_named(
    damage: Callable[[Path], None], expected: set[tuple[str, str | None, int | None]], out: Path
) -> None:
    damage(out)
    assert kinds(verify(out, sample=0).problems) == expected


def as_text(key: str) -> Callable[[dict[str, Any]], None]:
    """A number of the second shard has become a string."""
    return lambda manifest: manifest["shards"][1].update({key: str(manifest["shards"][1][key])})


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (as_text("rows"), r"must have an integer of at least 0 as 'shards\[1\]\.rows', and has '3'"),
        (as_text("vectors_at"), r"an integer of at least 0, or null as 'shards\[1\]\.vectors_at'"),
        (as_text("first_row"), r"as 'shards\[1\]\.first_row'"),
        (lambda manifest: manifest["shards"][1].update(rows=-3), "and has -3"),
        (lambda manifest: manifest["shards"][1].update(rows=True), "and has True"),
        (lambda manifest: manifest["shards"][1].pop("sha256"), r"lacks 'shards\[1\]\.sha256'"),
        (lambda manifest: manifest.update(shards={}), "must have a list as 'shards'"),
        (lambda manifest: manifest.update(input=None), "must have an object as 'input', and has None"),
        (lambda manifest: manifest["input"].update(shard_rows=0), "an integer of at least 1 as"),
        (lambda manifest: manifest["vectors"].update(dtype="int8"), "one of float16, float32 as"),
        (lambda manifest: manifest["counts"].update(tokens="27"), "as 'counts.tokens', and has '27'"),
    ],
)
def test_a_manifest_that_has_another_form(
    edit: Callable[[dict[str, Any]], None], said: str, out: Path
) -> None:
    change(out, edit)
    for look in (verify, open_embeddings):
        with pytest.raises(CorpusError, match=said) as error:
            look(out)
        assert "\n" not in str(error.value)


def test_a_first_row_that_is_another(out: Path) -> None:
    change(out, lambda manifest: manifest["shards"][1].update(first_row=3))
    assert [str(problem) for problem in verify(out, sample=0).problems] == [
        "manifest.json: manifest: shard 1 must begin with row 4; found 3"
    ]


def test_ids_that_are_no_text(tmp_path: Path) -> None:
    """pyarrow reads them, and fails where they are looked at."""
    source = tmp_path / "t.csv"
    source.write_text("key,text\none,a\ntwo,b\n")
    run(source, tmp_path / "out", id_column="key")
    path = shard(tmp_path / "out", 0)
    path.write_bytes(path.read_bytes().replace(b"two", b"t\xffo"))
    assert kinds(verify(tmp_path / "out").problems) == {
        ("checksum", FIRST, None),
        ("unreadable", FIRST, None),
    }
    with pytest.raises(CorpusError, match=r"part-000000.parquet cannot be read: .*; run polypool verify"):
        _ = open_embeddings(tmp_path / "out").ids


def test_a_device_that_is_not_there(out: Path) -> None:
    found = verify(out, device="cuda:99")
    assert found.ok
    assert "no row was encoded again: device cuda:99 cannot be used here: " in found.not_checked[0]


def test_files_that_were_exchanged(out: Path) -> None:
    exchanged(out)
    found = kinds(verify(out).problems)
    assert {("checksum", FIRST, None), ("checksum", "part-000002.parquet", None)} <= found


def test_a_whole_shard_that_was_forged(out: Path) -> None:
    """Every checksum fits, and the vectors are another model's: only encoding them again tells."""
    at = vectors_at(out, 0)
    content = bytearray(shard(out, 0).read_bytes())
    content[at : at + 64] = np.ones((4, 4), np.float32).tobytes()
    shard(out, 0).write_bytes(content)
    change(out, lambda manifest: manifest["shards"][0].update(sha256=hashlib.sha256(content).hexdigest()))
    assert verify(out, sample=0).ok
    assert kinds(verify(out, sample=100).problems) == {("another vector", FIRST, row) for row in range(4)}


def test_ids_that_occur_twice(tmp_path: Path) -> None:
    names = [f"n{n}" for n in range(12)]
    names[9] = names[2]
    names[3] = names[2]
    source = tmp_path / "t.csv"
    source.write_text("key,text\n" + "".join(f"{name},text {n}\n" for n, name in enumerate(names)))
    done = run(source, tmp_path / "out", id_column="key")
    assert (done.embedded, done.quarantined) == (12, 0)
    found = verify(tmp_path / "out")
    assert kinds(found.problems) == {
        ("duplicate id", "part-000000.parquet", 3),
        ("duplicate id", "part-000002.parquet", 1),
    }
    assert str(found.problems[0]) == (
        "part-000000.parquet, row 3 (id 'n2'): duplicate id: part-000000.parquet has it in row 2 too"
    )


def test_duplicates_over_several_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates_module, "_SHARE", 10)
    ids = np.random.default_rng(0).integers(0, 60, 100)
    wanted = {(int(np.flatnonzero(ids == ids[n])[0]), n) for n in range(100) if (ids[:n] == ids[n]).any()}
    for kind in (ids, [f"id {n}" for n in ids]):
        with Duplicates(100) as seen:
            seen.add(kind[:37])
            seen.add(kind[37:])
            assert set(seen.found(kind.__getitem__)) == wanted


def test_equal_hashes_are_no_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates_module, "_hashes", lambda ids: np.zeros(len(ids), np.uint64))
    with Duplicates(4) as seen:
        seen.add(["a", "b", "a", "c", "b", "a"])
        assert list(seen.found(lambda place: "abacba"[place])) == [(0, 2), (1, 4), (0, 5)]


# What cannot be checked is said.


def test_the_input_is_gone(out: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").unlink()
    found = verify(out)
    assert found.ok
    assert found.not_checked == (f"no row was encoded again: there is no file {tmp_path / 'texts.txt'}.",)


def test_the_input_has_changed(out: Path, tmp_path: Path) -> None:
    lines(tmp_path, 11)
    assert verify(out).not_checked == ("no row was encoded again: the input has changed since.",)


def test_the_model_is_another_one(out: Path) -> None:
    found = verify(out, model="other")
    assert "the model is another one now: model.sha256 was" in found.not_checked[0]


def test_folders_without_a_finished_job(tmp_path: Path, out: Path) -> None:
    with pytest.raises(CorpusError, match=r"there is no manifest.json in it"):
        verify(tmp_path)
    with pytest.raises(CorpusError, match="sample must be at least 0"):
        verify(out, sample=-1)
    (out / "manifest.json").unlink()
    with pytest.raises(CorpusError, match="its job is not finished; the same polypool embed continues it"):
        verify(out)
    (out / "manifest.json").write_text("{")
    with pytest.raises(CorpusError, match=r"manifest.json in .* is no JSON"):
        verify(out)
    (out / "manifest.json").write_text('{"format": 7, "shards": []}')
    with pytest.raises(CorpusError, match="must have format 1; found 7"):
        verify(out)
    (out / "manifest.json").write_text('{"format": 1, "shards": []}')
    with pytest.raises(CorpusError, match="lacks 'kind': it is not as it was written"):
        verify(out)


@pytest.mark.parametrize("settings", [{}, {"dtype": "float16"}, {"precision": "bfloat16"}])
def test_real_rows_are_alike_in_another_batch(settings: dict[str, Any], tmp_path: Path) -> None:
    model = tiny.plain_folder(tmp_path / "model")
    source = tmp_path / "t.txt"
    source.write_text("".join(f"{text}\n" for text in [*tiny.TEXTS, "cat " * 99] * 3))
    embed(source, tmp_path / "out", model, pool="mean", workers=1, shard_rows=10, device="cpu", **settings)
    found = verify(tmp_path / "out", sample=12)
    assert found.ok, found.problems
    assert found.encoded_again == 12


def test_alike() -> None:
    a = np.array([3.0, 4.0], np.float32)
    assert alike(a, a + 1e-5, 1e-4)
    assert not alike(a, a + 1e-3, 1e-4)
    assert not alike(np.array([np.nan, 1.0]), a, 1.0)
    assert alike(np.array([np.nan, 1.0]), np.array([np.nan, 1.0]), 1e-6)
    assert alike(np.zeros(2), np.zeros(2), 1e-4)
