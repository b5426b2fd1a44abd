"""`polypool embed` and `polypool verify`: lines, exit codes, and mistakes."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from polypool.cli import main
from polypool.text import open_embeddings
from tests.corpus.stub import KIND, contents, lines, run
from tests.text import tiny

STUB = ("--kind", KIND, "--workers", "1", "--shard-rows", "4", "--device", "cpu")


def embed(*words: object) -> int:
    return main(["embed", *map(str, words)])


def test_a_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert embed(lines(tmp_path, 10), "-o", out, *STUB) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == f"10 of 10 rows embedded, 30 tokens, 3 shards (3 made now) in {out}"
    assert said.err == ""
    assert main(["verify", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 10 rows in 3 shards, 10 encoded again: as it was written\n"


def test_a_real_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny.plain_folder(tmp_path / "model")
    source = tmp_path / "t.csv"
    source.write_text('key,body\na,The cat sleeps.\nb,"Water boils, and bread."\n')
    capsys.readouterr()
    words = (
        "--model",
        model,
        "--pool",
        "mean+max",
        "--text-column",
        "body",
        "--id-column",
        "key",
        "--normalize",
    )
    assert (
        embed(source, "-o", tmp_path / "out", *words, "--dtype", "float16", "--device", "cpu", "--threads", 1)
        == 0
    )
    said = capsys.readouterr()
    assert "2 of 2 rows embedded" in said.out
    assert said.err == "", "the loading of weights has no bar of its own"
    found = open_embeddings(tmp_path / "out")
    assert found.ids.tolist() == ["a", "b"]
    assert (found.dimension, str(found.dtype)) == (2 * tiny.HIDDEN, "float16")


def test_lines_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.txt").write_text("a\nBAD\nc\nd\ne\n")
    out = tmp_path / "out"
    assert embed(tmp_path / "t.txt", "-o", out, *STUB, "--json") == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in told] == ["plan", "shard", "shard", "end"]
    assert told[-1]["quarantined"] == 1
    assert main(["verify", str(out), "--json", "--sample", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    (out / "part-000000.parquet").unlink()
    assert main(["verify", str(out), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(problem["what"], problem["file"]) for problem in found["problems"]] == [
        ("missing", "part-000000.parquet")
    ]


def test_quarantined_rows_are_exit_code_1_every_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.txt").write_text("a\nBAD\n")
    for _ in range(2):
        assert embed(tmp_path / "t.txt", "-o", tmp_path / "out", *STUB) == 1
        assert "1 quarantined, see quarantine.jsonl" in capsys.readouterr().out


def test_what_is_wrong_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    run(lines(tmp_path, 10), out)
    os.truncate(out / "part-000001.parquet", 200)
    assert main(["verify", str(out)]) == 1
    said = capsys.readouterr().out
    assert "part-000001.parquet: checksum: " in said
    assert "there are 200\n" in said
    assert said.endswith(": 2 problems\n")
    assert embed(tmp_path / "texts.txt", "-o", out, *STUB) == 0, "the same command mends it"
    assert main(["verify", str(out)]) == 0


def test_what_could_not_be_checked_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(lines(tmp_path, 3), tmp_path / "out")
    (tmp_path / "texts.txt").unlink()
    assert main(["verify", str(tmp_path / "out")]) == 0
    assert "not checked: no row was encoded again: there is no file" in capsys.readouterr().out


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Standard(io.StringIO):
        buffer = io.BytesIO(b'{"text": "a"}\n{"text": "b"}\n')

    monkeypatch.setattr("sys.stdin", Standard())
    assert embed("-", "-o", tmp_path / "out", *STUB, "--format", "jsonl") == 0
    assert len(open_embeddings(tmp_path / "out")) == 2


def test_settings_of_any_kind(tmp_path: Path) -> None:
    words = (*STUB, "--set", "dimension=6", "--set", "model=mine")
    assert embed(lines(tmp_path, 3), "-o", tmp_path / "out", *words) == 0
    found = open_embeddings(tmp_path / "out")
    assert (found.dimension, found.manifest["model_path"]) == (6, "mine")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["embed"], "Missing argument"),
        (["embed", "x.txt"], "Missing option"),
        (["embed", "nothing.txt", "-o", "out", *STUB], "there is no file nothing.txt"),
        (["embed", "{texts}", "-o", "out", "--workers", "1"], "model must be named"),
        (["embed", "{texts}", "-o", "out", "--model", "no-such-model"], "the model does not load"),
        (["embed", "{texts}", "-o", "{texts}", *STUB], "must be a folder"),
        (["embed", "{texts}", "-o", "{folder}", *STUB], "holds something else, texts.txt for one"),
        (["embed", "{texts}", "-o", "out", *STUB, "--id-column", "key"], "has lines and no columns"),
        (["embed", "{texts}", "-o", "out", *STUB, "--set", "dimension"], "--set is written NAME=VALUE"),
        (["embed", "{texts}", "-o", "out", *STUB, "--set", "colour=red"], "has no setting 'colour'"),
        (["embed", "{texts}", "-o", "out", *STUB, "--engine", "spark"], "engine must be one of local, ray"),
        (
            ["embed", "{texts}", "-o", "out", *STUB, "--device", "cuda:99"],
            "device cuda:99 cannot be used here",
        ),
        (["verify"], "Missing argument"),
        (["verify", "{folder}"], "there is no manifest.json in it"),
        (["verify", "{folder}", "--sample", "-1"], "--sample"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = lines(tmp_path, 3)
    assert main([word.format(texts=texts, folder=tmp_path) for word in words]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("polypool: ")
    assert told.err.count("\n") == 1
    assert said in told.err
    assert list(tmp_path.iterdir()) == [texts], "something was left"


def test_another_job_in_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(lines(tmp_path, 10), tmp_path / "out")
    before = contents(tmp_path / "out")
    assert embed(tmp_path / "texts.txt", "-o", tmp_path / "out", *STUB, "--model", "other") == 2
    assert "was begun as another job: model.sha256 was" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before


def test_a_job_that_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from polypool.corpus import stores

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "out/part-000000.parquet")

    with monkeypatch.context() as patch:
        patch.setattr(stores, "rename", full)
        assert embed(lines(tmp_path, 10), "-o", tmp_path / "out", *STUB) == 3
    assert capsys.readouterr().err == (
        "polypool: stopped: out/part-000000.parquet: No space left on device. The same command continues.\n"
    )
    assert embed(tmp_path / "texts.txt", "-o", tmp_path / "out", *STUB) == 0


def test_a_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(lines(tmp_path, 10), tmp_path / "out", progress=True)
    run(lines(tmp_path, 10), tmp_path / "quiet", progress=False)
    assert contents(tmp_path / "out").keys() == contents(tmp_path / "quiet").keys()
    from polypool.corpus.progress import Display, Meter

    meter = Meter(10)
    with Display(True) as display:
        display.show(meter)
        meter.finish(0, 4, 12)
        display.show(meter)
        assert display._bar.tasks[0].completed == 4
        assert display._bar.tasks[0].fields["counts"].startswith("4/10 rows")
