"""The job from the input to the manifest: what it writes, what it refuses, and who makes the shards."""

from __future__ import annotations

import importlib
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from polypool.corpus import CorpusError, StoppedError, embed, open_embeddings
from polypool.corpus.adapter import Encoded, Tick
from polypool.corpus.plan import make_plan
from polypool.corpus.progress import Meter, clock
from polypool.corpus.stores import LocalStore
from polypool.corpus.texts import TextAdapter
from polypool.corpus.work import Job, packed, unpacked
from polypool.text import TextEncoder
from tests.corpus.stub import KIND, contents, lines, run
from tests.support import close
from tests.text import tiny

#: One of them is longer than the model reads.
TEXTS = [*tiny.TEXTS, "the cat and the dog " * 10] * 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.plain_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "docs.jsonl"
    path.write_text(
        "".join(json.dumps({"id": f"doc-{n}", "text": text}) + "\n" for n, text in enumerate(TEXTS)),
        encoding="utf-8",
    )
    return path


def text_job(corpus: Path, out: Path, model: Path, **settings: Any) -> Any:
    return embed(corpus, out, model, pool="mean", id_column="id", shard_rows=8, device="cpu", **settings)


def test_the_vectors_are_those_of_the_encoder(corpus: Path, model: Path, tmp_path: Path) -> None:
    done = text_job(corpus, tmp_path / "out", model, workers=1)
    found = open_embeddings(tmp_path / "out")
    encoder = TextEncoder.load(model, pool="mean", device="cpu")
    close(torch.from_numpy(found.matrix()), torch.from_numpy(encoder.encode(TEXTS, progress=False)))
    assert found.ids.tolist() == [f"doc-{n}" for n in range(32)]
    assert (done.rows, done.embedded, done.quarantined, done.shards, done.made) == (32, 32, 0, 4, 4)
    assert done.tokens == encoder.report.tokens
    assert done.truncated == encoder.report.truncated > 0
    table = pq.ParquetFile(tmp_path / "out" / "part-000000.parquet").read(use_threads=False)
    assert table.column_names == ["id", "vector", "n_tokens", "truncated", "finite"]
    assert max(table.column("n_tokens").to_pylist()) == tiny.LONGEST
    assert table.column("truncated").to_pylist() == [False] * 7 + [True]


def test_what_the_manifest_says(corpus: Path, model: Path, tmp_path: Path) -> None:
    text_job(corpus, tmp_path / "out", model, workers=1)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["counts"]["rows"] == 32
    assert manifest["inputs"] == [str(corpus)]
    assert len(manifest["fingerprint"]["model"]["sha256"]) == 64
    assert len(manifest["fingerprint"]["tokenizer"]["sha256"]) == 64
    assert manifest["fingerprint"]["pooling"]["pooling_mode"] == "mean"
    assert manifest["versions"][0]["torch"] == torch.__version__
    assert {"python", "polypool", "numpy", "pyarrow", "transformers", "tokenizers"} <= set(
        manifest["versions"][0]
    )
    assert [shard["file"] for shard in manifest["shards"]] == [f"part-{n:06d}.parquet" for n in range(4)]
    assert all(shard["vectors_at"] % 64 == 0 for shard in manifest["shards"])


def test_a_device_that_the_model_cannot_go_to(model: Path) -> None:
    adapter = TextAdapter(model, pool="mean")
    with pytest.raises(CorpusError, match="the model does not load: "):
        adapter.load("cuda:99")


def test_a_source_of_a_module_that_only_the_job_knows_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where modules are found arrives before what needs them."""
    (tmp_path / "own_rows.py").write_text("from polypool.corpus.lines import Lines\nclass Own(Lines): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    own = importlib.import_module("own_rows").Own(str(lines(tmp_path, 3)))
    plan, store, paths = make_plan([own], 2), LocalStore(tmp_path), (str(tmp_path),)
    job = Job("text", {}, {}, (own,), plan, store, "float32", "int64", "cpu", 1, paths)
    sent = packed(job)
    monkeypatch.undo()
    monkeypatch.delitem(sys.modules, "own_rows")
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(ModuleNotFoundError, match="own_rows"):
        unpacked(((), sent[1]))
    assert type(unpacked(sent).sources[0]).__module__ == "own_rows"


@pytest.mark.slow
def test_a_worker_that_cannot_read_its_job_says_so() -> None:
    """It ends the job and not the listening; when the parent is gone, it goes too, whatever it has been sent."""
    with _child() as (connection, process):
        connection.send(((), b"no job"))
        assert connection.poll(40)
        kind, why = connection.recv()
        assert (kind, why.partition(":")[0]) == ("failed", "UnpicklingError")
        assert process.wait(timeout=10) == 0
    with _child() as (connection, process):
        connection.send_bytes(b"nothing that can be unpickled")
        connection.close()
        assert process.wait(timeout=40) in (0, 1)


@contextmanager
def _child() -> Iterator[tuple[Connection, subprocess.Popen[bytes]]]:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "polypool.corpus.engines.child", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            start_new_session=True,
        )
    try:
        with Connection(ours.detach()) as connection:
            yield connection, process
    finally:
        process.kill()
        process.wait(timeout=10)


def test_a_process_that_dies_is_replaced(tmp_path: Path) -> None:
    """Two processes, one of which is killed in the middle, make the files of one."""
    source = lines(tmp_path, 18)
    with source.open("a") as file:
        file.write(f"DIE {tmp_path / 'died'}\nlast\n")
    threads = torch.get_num_threads()
    done = run(source, tmp_path / "two", workers=2)
    assert (tmp_path / "died").exists()
    assert done.made == 5
    run(source, tmp_path / "one")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert torch.get_num_threads() == threads


@pytest.mark.slow
def test_a_shard_that_always_kills_its_process_ends_the_job(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("DIE always\n" + "fine\n" * 9)
    with pytest.raises(StoppedError, match="shard 0 ended 3 workers, the last with signal 9"):
        run(tmp_path / "t.txt", tmp_path / "out", workers=2)


@pytest.mark.slow
def test_processes_make_the_same_files(corpus: Path, model: Path, tmp_path: Path) -> None:
    text_job(corpus, tmp_path / "one", model, workers=1)
    done = text_job(corpus, tmp_path / "two", model, workers=2)
    assert done.made == 4
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_half_precision_and_other_settings(corpus: Path, model: Path, tmp_path: Path) -> None:
    text_job(corpus, tmp_path / "out", model, workers=1, dtype="float16", normalize=True, prompt="query: ")
    found = open_embeddings(tmp_path / "out")
    encoder = TextEncoder.load(model, pool="mean", device="cpu")
    wanted = encoder.encode(TEXTS, prompt="query: ", normalize=True, progress=False)
    assert found.matrix().dtype == np.float16
    close(torch.from_numpy(found.matrix().astype(np.float16)), torch.from_numpy(wanted).half())


@pytest.mark.parametrize("text", ["word " * 60_000, "x" * 300_000, "käse" * 50_000, "日本" * 100_000])
def test_a_very_long_text_is_that_of_the_encoder(text: str, model: Path, tmp_path: Path) -> None:
    """It is not tokenized to its end; what the model reads of it is the same."""
    path = tmp_path / "long.txt"
    path.write_text(f"short\n{text}\n", encoding="utf-8")
    done = embed(path, tmp_path / "out", model, pool="mean", device="cpu", workers=1)
    encoder = TextEncoder.load(model, pool="mean", device="cpu")
    close(
        torch.from_numpy(open_embeddings(tmp_path / "out").matrix()),
        torch.from_numpy(encoder.encode(["short", text], progress=False)),
    )
    assert done.truncated == encoder.report.truncated
    assert done.tokens == encoder.report.tokens


def test_only_what_is_needed_of_a_long_text_is_tokenized(model: Path) -> None:
    from polypool.corpus.texts import _enough

    encoder = TextEncoder.load(model, pool="mean", device="cpu")
    text = "word " * 100_000
    assert len(_enough(encoder.tokenizer, text, 32, "right")) < len(text) / 3
    assert text.endswith(_enough(encoder.tokenizer, text, 32, "left"))
    assert _enough(encoder.tokenizer, "short", 32, "right") == "short"


def test_windows_are_part_of_the_shard(tmp_path: Path) -> None:
    """Three rows at most go to the encoder together, and none from two shards."""
    seen: list[int] = []
    from tests.corpus import stub

    original = stub.Stub.encode

    def encode(self: stub.Stub, rows: Sequence[str], tick: Tick) -> Encoded:
        seen.append(len(rows))
        return original(self, rows, tick)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stub.Stub, "encode", encode)
        run(lines(tmp_path, 10), tmp_path / "out", shard_rows=5)
        assert seen == [3, 2, 3, 2]
        seen.clear()
        patch.setattr(stub.Stub, "window_bytes", 30)
        run(lines(tmp_path, 10), tmp_path / "bytes", shard_rows=5)
    assert seen == [2, 2, 1, 2, 2, 1]


def test_ids(tmp_path: Path) -> None:
    """Row numbers leave out what is in the quarantine; integers of Parquet stay; all else is a string."""
    (tmp_path / "t.txt").write_text("a\nBAD\nc\n")
    run(tmp_path / "t.txt", tmp_path / "numbers")
    assert open_embeddings(tmp_path / "numbers").ids.tolist() == [0, 2]
    pq.write_table(pa.table({"key": [5, -6], "text": ["a", "b"]}), tmp_path / "t.parquet")
    run(tmp_path / "t.parquet", tmp_path / "integers", id_column="key")
    assert open_embeddings(tmp_path / "integers").ids.tolist() == [5, -6]
    (tmp_path / "t.csv").write_text("key,text\n007,a\n")
    run([tmp_path / "t.parquet", tmp_path / "t.csv"], tmp_path / "mixed", id_column="key")
    assert open_embeddings(tmp_path / "mixed").ids.tolist() == ["5", "-6", "007"]


def test_a_folder_behind_fsspec(tmp_path: Path) -> None:
    source = lines(tmp_path, 9)
    run(source, tmp_path / "local")
    remote = f"memory://corpus-{tmp_path.name}/out"
    embed([f"file://{source}"], remote, kind=KIND, shard_rows=4, workers=1, device="cpu")
    assert embed([f"file://{source}"], remote, kind=KIND, shard_rows=4, workers=1, device="cpu").made == 0
    near, far = open_embeddings(tmp_path / "local"), open_embeddings(remote)
    np.testing.assert_array_equal(near.matrix(), far.matrix())
    assert near.manifest["shards"] == far.manifest["shards"]


def test_a_glob_does_not_read_what_the_job_writes(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "in.parquet")
    for _ in range(2):
        done = run(str(tmp_path / "**" / "*.parquet"), tmp_path / "out")
    assert (done.rows, done.made) == (2, 0)


def test_events(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    run(lines(tmp_path, 10), tmp_path / "out", on_event=told.append)
    assert [event["event"] for event in told] == ["plan", "shard", "shard", "shard", "end"]
    assert [event["rows_done"] for event in told[1:4]] == [4, 8, 10]
    assert told[-1]["embedded"] == 10
    json.dumps(told)


def test_the_meter() -> None:
    now = [0.0]
    meter = Meter(100, done=20, clock=lambda: now[0])
    assert Meter(100).seconds_left is None
    now[0] = 2.0
    meter.tick(0, 10, 50)
    assert (meter.rows_now, meter.tokens_now) == (30, 50)
    assert meter.speed == (5.0, 25.0)
    assert meter.seconds_left == 14.0
    now[0] = 4.0
    meter.finish(0, 20, 100)
    assert (meter.rows_now, meter.done) == (40, 40)
    for second in range(5, 100):
        now[0] = float(second)
        meter.tick(1, 0, 0)
    assert meter.speed[0] == 0.0
    assert (clock(5), clock(3725)) == ("0:05", "1:02:05")


# What is refused, before anything is written.


def refused(said: str, out: Path, *arguments: Any, **settings: Any) -> None:
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} if out.exists() else None
    with pytest.raises(CorpusError, match=said) as error:
        run(*arguments, **{"out": out, **settings})
    assert "\n" not in str(error.value)
    if before is None:
        assert not out.exists(), "a job that did not begin left something"
    else:
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    refused("holds something else, thesis.tex for one", out, lines(tmp_path, 3))
    with pytest.raises(CorpusError, match=r"must be a folder; .*thesis.tex is a file"):
        run(lines(tmp_path, 3), out / "thesis.tex")
    assert (out / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"engine": "spark"}, "engine must be one of local, ray; found 'spark'"),
        ({"dtype": "int8"}, "dtype must be one of float32, float16; found 'int8'"),
        ({"workers": 0}, "workers must be an integer of at least 1; found 0"),
        ({"threads": True}, "threads must be an integer of at least 1; found True"),
        ({"shard_rows": 2.5}, "shard_rows must be an integer of at least 1; found 2.5"),
        ({"address": "auto"}, "address is that of a Ray cluster"),
        ({"device": "abacus"}, "device must be one of torch"),
        ({"kind": "sounds"}, "kind must be one of text, images, graphs, or module:Class"),
        ({"kind": "nothing_here:Stub"}, "cannot import nothing_here: ModuleNotFoundError"),
        ({"kind": "json:JSONDecoder"}, "json has no adapter 'JSONDecoder'"),
        ({"kind": ":Stub"}, "kind is written module:Class"),
        ({"nonsense": 1}, "has no setting 'nonsense'; it has model, dimension"),
        ({"model": "missing"}, "the model does not load"),
        ({"text_column": "text", "id_column": "key"}, "has lines and no columns"),
    ],
)
def test_settings_that_are_wrong(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    refused(said, tmp_path / "new" / "out", lines(tmp_path, 3), **settings)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "model must be named"),
        (
            {"model": "no-such-model-anywhere"},
            "the model does not load: 'no-such-model-anywhere' is no folder",
        ),
        ({"pool": "meen"}, "meen"),
        ({"pool": None}, "the model does not load: .* is a plain transformers folder"),
        ({"pool": "attention"}, "has weights to learn, which a name does not bring"),
        ({"max_tokens": 33}, "max_tokens must be at most 32"),
        ({"max_tokens": 0}, "max_tokens must be at least 1; found 0"),
        ({"max_tokens": 2}, "max_tokens must be >= 3, 2 special tokens"),
        ({"batch_tokens": 0}, "batch_tokens must be at least 1; found 0"),
        ({"precision": "int8"}, "precision must be float32, bfloat16 or float16"),
        ({"format": "xml"}, "format must be one of"),
    ],
)
def test_settings_of_texts_that_are_wrong(
    settings: dict[str, Any], said: str, model: Path, tmp_path: Path
) -> None:
    given = {"kind": "text", "model": model, "pool": "mean", **settings}
    if not settings:
        del given["model"]
    refused(said, tmp_path / "out", lines(tmp_path, 3), **given)


def test_input_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    refused("empty.txt is empty", tmp_path / "out", tmp_path / "empty.txt")
    refused("empty.txt is empty", tmp_path / "out", [lines(tmp_path, 3), tmp_path / "empty.txt"])
    refused("there is no file", tmp_path / "out", tmp_path / "nothing.txt")
    refused("there is no input", tmp_path / "out", [])


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CorpusError, match="cannot be read: Not a directory"):
        run(lines(tmp_path, 3), tmp_path / "file" / "out")


# Standard input.


def test_standard_input_is_kept_for_the_next_run(tmp_path: Path) -> None:
    text = "".join(f"text number {n}\n" for n in range(10)).encode()
    run("-", tmp_path / "out", stdin=io.BytesIO(text))
    run(lines(tmp_path, 10), tmp_path / "file")
    assert [shard["sha256"] for shard in open_embeddings(tmp_path / "out").manifest["shards"]] == [
        shard["sha256"] for shard in open_embeddings(tmp_path / "file").manifest["shards"]
    ]
    (tmp_path / "out" / "part-000001.parquet").unlink()
    assert run("-", tmp_path / "out", stdin=io.BytesIO(b"")).made == 1
    assert run("-", tmp_path / "out", stdin=io.BytesIO(text)).made == 0
    with pytest.raises(CorpusError, match="standard input is not what this job began with"):
        run("-", tmp_path / "out", stdin=io.BytesIO(text + b"more\n"))
    refused("standard input is empty", tmp_path / "new", "-", stdin=io.BytesIO(b""))
    refused("found - twice", tmp_path / "new", ["-", "-"], stdin=io.BytesIO(text))


def test_standard_input_in_another_format(tmp_path: Path) -> None:
    text = b'{"text": "a"}\n{"text": "b"}\n'
    assert run("-", tmp_path / "out", stdin=io.BytesIO(text), format="jsonl").embedded == 2


# What stops a job.


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from polypool.corpus import stores

    renamed: list[Path] = []

    def rename(temporary: Path, final: Path) -> None:
        if final.name == "part-000001.parquet" and final not in renamed:
            renamed.append(final)
            raise OSError(28, "No space left on device", str(final))
        temporary.replace(final)

    monkeypatch.setattr(stores, "rename", rename)
    with pytest.raises(StoppedError, match=r"part-000001.parquet: No space left on device"):
        run(lines(tmp_path, 10), tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not list((tmp_path / "out" / "_job" / "tmp").iterdir())
    assert run(lines(tmp_path, 10), tmp_path / "out").made == 2


def test_a_model_that_can_encode_nothing_is_not_the_fault_of_the_rows(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("BAD\n" * 40)
    from tests.corpus import stub

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stub.Stub, "window_rows", 20)
        with pytest.raises(
            StoppedError, match=r"none of 20 rows from line 1 of .* can be encoded: ValueError"
        ):
            run(tmp_path / "t.txt", tmp_path / "out", shard_rows=40)


def test_memory_that_runs_out_is_not_the_fault_of_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.corpus import stub

    def encode(*_: object) -> None:
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(stub.Stub, "encode", encode)
    with pytest.raises(StoppedError, match="OutOfMemoryError: no memory left"):
        run(lines(tmp_path, 3), tmp_path / "out")
