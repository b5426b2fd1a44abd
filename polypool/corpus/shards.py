"""The Parquet file of a shard.

One row group, uncompressed, one page for the vectors: their numbers lie in one piece in the file, which then is also a
memory map. Parquet allows bytes that nobody refers to between its opening mark and the first column; so many of them
are put there that the vectors begin at a multiple of 64. The manifest keeps where. Every reader of Parquet sees a
column of lists; `polypool.corpus.reading` maps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("id", "vector", "n_tokens", "truncated", "finite")
ALIGNMENT = 64
#: Arrow ends a page after so many rows, unless it is told.
_ROWS_OF_A_PAGE = 20_000
DTYPES = {"float32": np.float32, "float16": np.float16}


@dataclass(frozen=True)
class Rows:
    """What a shard holds.

    Attributes:
        ids: Of the rows, int64 or strings.
        vectors: `(n, dimension)`, float32 or float16.
        tokens: `(n,)`.
        truncated: `(n,)` bool.
    """

    ids: Sequence[str | int]
    vectors: NDArray[Any]
    tokens: NDArray[np.int64]
    truncated: NDArray[np.bool_]

    @property
    def finite(self) -> NDArray[np.bool_]:
        """`(n,)`: whether all numbers of a vector are finite."""
        found: NDArray[np.bool_] = np.isfinite(self.vectors).all(axis=1)
        return found


@dataclass(frozen=True)
class EncodedShard:
    """The file of a shard, in memory.

    Attributes:
        content: All of it.
        vectors_at: Where the vectors begin; None where they are not in one piece.
    """

    content: memoryview
    vectors_at: int | None


def file_name(number: int) -> str:
    """The file of a shard."""
    return f"part-{number:06d}.parquet"


def schema(dimension: int, dtype: str, id_type: str) -> Any:
    """The Arrow schema of all shards."""
    import pyarrow as pa

    element = pa.field("element", {"float32": pa.float32(), "float16": pa.float16()}[dtype], nullable=False)
    kinds = {
        "id": {"string": pa.string(), "int64": pa.int64()}[id_type],
        "vector": pa.list_(element, dimension),
        "n_tokens": pa.int32(),
        "truncated": pa.bool_(),
        "finite": pa.bool_(),
    }
    return pa.schema([pa.field(name, kinds[name], nullable=False) for name in COLUMNS])


def encode_shard(rows: Rows, id_type: str) -> EncodedShard:
    """The file of some rows: the same bytes for the same rows."""
    import pyarrow as pa

    flat = np.ascontiguousarray(rows.vectors)
    dtype = str(flat.dtype)
    form = schema(flat.shape[1], dtype, id_type)
    values = pa.array(flat.reshape(-1), type=form.field("vector").type.value_type)
    table = pa.Table.from_arrays(
        [
            pa.array(rows.ids, type=form.field("id").type),
            pa.FixedSizeListArray.from_arrays(values, type=form.field("vector").type),
            pa.array(rows.tokens.astype(np.int32)),
            pa.array(rows.truncated),
            pa.array(rows.finite),
        ],
        schema=form,
    )
    # Once without the bytes, to learn where the vectors will be.
    place = _write(table, pa.MockOutputStream(), flat.nbytes)
    sink = pa.BufferOutputStream()
    at = _write(table, sink, flat.nbytes, gap=0 if place is None else -place % ALIGNMENT)
    whole = memoryview(sink.getvalue()).cast("B")
    if at is not None and whole[at : at + flat.nbytes] != flat.data.cast("B"):
        at = None  # another version of Arrow may lay out its pages in another way
    return EncodedShard(whole, at)


def _write(table: Any, sink: Any, size: int, gap: int = 0) -> int | None:
    """Writes a table behind a gap, and tells where its vectors begin, if they are in one piece."""
    import pyarrow.parquet as pq

    rows = max(len(table), 1)
    seen: list[Any] = []
    # The values of a page stand at its end, behind the levels; with one page that is the end of the column.
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="none",
        use_dictionary=False,
        data_page_size=1 << 30,
        data_page_version="1.0",
        **_pages(rows),
        write_statistics=["id", "n_tokens"],
        metadata_collector=seen,
    ) as writer:
        sink.write(
            bytes(gap)
        )  # the opening mark is written already; offsets count from the start of the file
        writer.write_table(table, row_group_size=rows)
    if not len(table):
        return None
    group = seen[0].row_group(0)
    column = next(
        group.column(place)
        for place in range(group.num_columns)
        if group.column(place).path_in_schema.startswith("vector.")
    )
    end = column.data_page_offset + column.total_compressed_size
    return int(end - size) if size else None


def _pages(rows: int) -> dict[str, int]:
    """One page for many rows; the versions of Arrow that end a page after so many can be told another number."""
    import pyarrow.parquet as pq

    known = rows > _ROWS_OF_A_PAGE and "max_rows_per_page" in signature(pq.ParquetWriter).parameters
    return {"max_rows_per_page": rows} if known else {}


def read_columns(file: BinaryIO, columns: Sequence[str] | None = None) -> Any:
    """The columns of a shard as an Arrow table; all when None.

    Without threads: those that `pyarrow.parquet.read_table` starts end some processes with an abort at their exit.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(file, pre_buffer=False) as opened:
        return opened.read(columns=None if columns is None else list(columns), use_threads=False)
