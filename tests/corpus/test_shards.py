"""Shard files: what every reader of Parquet sees, where the vectors lie, and stores that show whole files alone."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polypool.corpus import stores
from polypool.corpus.errors import CorpusError
from polypool.corpus.lock import locked
from polypool.corpus.shards import ALIGNMENT, Rows, encode_shard, read_columns
from polypool.corpus.stores import LocalStore, RemoteStore, Store, open_store


def rows(count: int, dimension: int = 5, dtype: str = "float32", strings: bool = False) -> Rows:
    numbers = np.random.default_rng(count).standard_normal((count, dimension)).astype(dtype)
    ids: list[str | int] = [f"id-{n}" * (n % 7) if strings else n for n in range(count)]
    tokens = np.arange(count, dtype=np.int64)
    return Rows(ids, numbers, tokens, tokens % 2 == 0)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize(("count", "dimension"), [(1, 1), (3, 5), (100, 384), (25_000, 3)])
def test_the_vectors_lie_in_one_aligned_piece(count: int, dimension: int, strings: bool, dtype: str) -> None:
    own = rows(count, dimension, dtype, strings)
    found = encode_shard(own, "string" if strings else "int64")
    assert found.vectors_at is not None
    assert found.vectors_at % ALIGNMENT == 0
    mapped = np.frombuffer(found.content, dtype, count * dimension, offset=found.vectors_at)
    np.testing.assert_array_equal(mapped.reshape(count, dimension), own.vectors)
    table = read_columns(io.BytesIO(found.content))
    assert table.column("id").to_pylist() == list(own.ids)
    assert table.column("n_tokens").to_pylist() == own.tokens.tolist()
    assert table.column("truncated").to_pylist() == own.truncated.tolist()
    assert table.schema.field("vector").type.list_size == dimension
    np.testing.assert_array_equal(np.array(table.column("vector").to_pylist(), dtype), own.vectors)
    assert pq.ParquetFile(pa.BufferReader(found.content)).num_row_groups == 1


def test_the_same_rows_are_the_same_bytes() -> None:
    assert bytes(encode_shard(rows(50), "int64").content) == bytes(encode_shard(rows(50), "int64").content)


def test_a_shard_without_rows() -> None:
    found = encode_shard(rows(0), "string")
    assert found.vectors_at is None
    assert read_columns(io.BytesIO(found.content)).num_rows == 0


def test_rows_that_are_not_finite_are_marked() -> None:
    own = rows(4)
    own.vectors[1, 2] = np.nan
    own.vectors[3, 0] = -np.inf
    assert own.finite.tolist() == [True, False, True, False]
    assert encode_shard(own, "int64").vectors_at is not None


def test_another_layout_is_seen_and_not_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that ends early, as another version of Arrow may write it."""
    original = pq.ParquetWriter

    def small_pages(*arguments: object, **settings: object) -> pq.ParquetWriter:
        return original(*arguments, **{**settings, "data_page_size": 64, "write_batch_size": 8})

    monkeypatch.setattr(pq, "ParquetWriter", small_pages)
    found = encode_shard(rows(500), "int64")
    assert found.vectors_at is None
    np.testing.assert_array_equal(
        np.array(read_columns(io.BytesIO(found.content)).column("vector").to_pylist(), np.float32),
        rows(500).vectors,
    )


# Stores.


@pytest.fixture(params=["local", "file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        found: Store = LocalStore(tmp_path / "out")
    else:
        found = RemoteStore(f"{request.param}://{tmp_path}/out")
    found.prepare()
    return found


def test_files_of_a_store(store: Store) -> None:
    assert store.size("a.bin") is None
    assert store.read("a.bin") is None
    store.write("a.bin", [b"one ", memoryview(b"two")])
    assert store.read("a.bin") == b"one two"
    assert store.size("a.bin") == 7
    store.write("a.bin", iter([b"new"]))
    with store.open("a.bin") as file:
        assert file.read() == b"new"
    store.write("_job/shards/x.json", [b"{}"])
    assert store.names("_job/shards") == ["x.json"]
    assert store.names() == ["_job", "a.bin"]
    assert store.names("nothing") == []
    store.remove("a.bin")
    store.remove("a.bin")
    assert store.names() == ["_job"]
    again = pickle.loads(pickle.dumps(store))
    assert again.names() == ["_job"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.prepare()
    store.write("a.bin", [b"old"])

    def broken() -> object:
        yield b"new"
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        store.write("a.bin", broken())  # type: ignore[arg-type]
    assert store.read("a.bin") == b"old"
    assert store.names("_job/tmp") == []


def test_a_file_is_synced_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.prepare()
    done: list[str] = []
    original, place = os.fsync, stores.rename

    def sync(handle: int) -> None:
        done.append("sync")
        original(handle)

    def rename(temporary: Path, final: Path) -> None:
        done.append("rename")
        place(temporary, final)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(stores, "rename", rename)
    store.write("a.bin", [b"x"])
    assert done == ["sync", "rename", "sync"]


def test_what_a_killed_job_left_is_cleared(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.prepare()
    (tmp_path / "_job" / "tmp" / "part.123").write_bytes(b"half")
    store.prepare()
    assert store.names("_job/tmp") == []


def test_an_output_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CorpusError, match=r"must be a folder; .*file is a file"):
        open_store(tmp_path / "file")
    with pytest.raises(CorpusError, match="cannot be opened"):
        open_store("nonsense://bucket/folder")


# The lock.

HOLDER = """
import sys
from pathlib import Path
from polypool.corpus.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_at_a_time_and_free_after_a_kill(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "_job"
    folder.mkdir(parents=True)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(CorpusError, match=rf"another job \(process {holder.pid}\) is writing to .*out"),
        locked(folder),
    ):
        pass
    holder.kill()
    holder.communicate()
    with locked(folder), pytest.raises(CorpusError, match="another job"), locked(folder):
        pass
    with locked(folder):
        pass
