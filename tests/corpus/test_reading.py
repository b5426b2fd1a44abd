"""Vectors read back: mapped and not copied, in order, searchable."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from polypool.corpus import CorpusError
from polypool.text import open_embeddings
from tests.corpus.stub import lines, run


@pytest.fixture
def out(tmp_path: Path) -> Path:
    run(lines(tmp_path, 11), tmp_path / "out")
    return tmp_path / "out"


def test_shards_are_memory_maps(out: Path) -> None:
    found = open_embeddings(out)
    assert (len(found), found.shape, found.dimension, found.dtype) == (11, (11, 4), 4, np.dtype(np.float32))
    for shard in found.shards:
        matrix = shard.matrix
        base: object = matrix
        while not isinstance(base, np.memmap):
            assert isinstance(base, np.ndarray), "a copy"
            base = base.base
        assert matrix.ctypes.data % 64 == 0
        stored = np.array(shard.column("vector").to_pylist(), np.float32)
        np.testing.assert_array_equal(matrix, stored)


def test_torch_takes_a_map_without_a_warning_and_the_file_stays(out: Path) -> None:
    before = (out / "part-000000.parquet").read_bytes()
    shard = open_embeddings(out).shards[0]
    tensor = torch.from_numpy(shard.matrix)
    tensor.zero_()
    assert (out / "part-000000.parquet").read_bytes() == before
    assert shard.matrix.any()


@pytest.mark.parametrize("count", [3, 11])
def test_everything_at_once(count: int, tmp_path: Path) -> None:
    run(lines(tmp_path, count), tmp_path / "out")
    found = open_embeddings(tmp_path / "out")
    parts = list(found.batches())
    np.testing.assert_array_equal(found.matrix(), np.concatenate([matrix for _, matrix in parts]))
    np.testing.assert_array_equal(found.ids, np.concatenate([ids for ids, _ in parts]))


def test_rows_by_place(out: Path) -> None:
    found = open_embeddings(out)
    whole = found.matrix()
    np.testing.assert_array_equal(found[5], whole[5])
    np.testing.assert_array_equal(found[-1], whole[-1])
    np.testing.assert_array_equal(found[2:9:3], whole[2:9:3])
    np.testing.assert_array_equal(found[[10, 0, -11, 4]], whole[[10, 0, -11, 4]])
    assert found[[]].shape == (0, 4)
    assert sum(1 for _ in found) == 11
    for place in (11, -12, [0, 99]):
        with pytest.raises(IndexError, match="there are 11 rows"):
            found[place]


@pytest.mark.parametrize("k", [1, 3, 11, 50])
def test_nearest(k: int, out: Path) -> None:
    found = open_embeddings(out)
    queries = found[[3, 7]]
    products, ids = found.nearest(queries, k)
    every = queries @ found.matrix().T
    order = np.argsort(-every, axis=1, kind="stable")[:, :k]
    np.testing.assert_allclose(products, np.take_along_axis(every, order, 1), rtol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(every, ids, 1), products, rtol=1e-6)
    one, names = found.nearest(torch.from_numpy(queries[0]), k)
    np.testing.assert_array_equal(one, products[0])
    np.testing.assert_array_equal(names, ids[0])


def test_nearest_leaves_out_what_is_not_finite(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a\nNAN\nb\n")
    run(tmp_path / "t.txt", tmp_path / "out")
    found = open_embeddings(tmp_path / "out")
    assert sorted(found.nearest(found[0], 2)[1].tolist()) == [0, 2]


def test_queries_that_do_not_fit(out: Path) -> None:
    found = open_embeddings(out)
    with pytest.raises(ValueError, match=r"queries must be \(q, 4\) or \(4,\); found \(2, 3\)"):
        found.nearest(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="k must be at least 1"):
        found.nearest(np.zeros(4), 0)


def test_a_shard_that_changed_its_size_is_not_mapped(out: Path) -> None:
    os.truncate(out / "part-000001.parquet", 200)
    found = open_embeddings(out)
    assert found.shards[0].matrix.shape == (4, 4)
    with pytest.raises(CorpusError, match=r"part-000001.parquet is missing or has another size"):
        found.shards[1].matrix  # noqa: B018 - reading it is the test
    with pytest.raises(CorpusError, match=r"part-000001.parquet cannot be read"):
        found.shards[1].ids  # noqa: B018


def test_a_layout_that_cannot_be_mapped_is_read(out: Path) -> None:
    found = open_embeddings(out)
    wanted = found.matrix()
    for shard in found.shards:
        shard.record["vectors_at"] = None
    np.testing.assert_array_equal(found.matrix(), wanted)


def test_no_finished_job(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"holds no finished embeddings: there is no manifest.json"):
        open_embeddings(tmp_path)
