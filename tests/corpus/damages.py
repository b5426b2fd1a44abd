"""What may happen to the files of a finished job, and what `verify` has to call it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Damage: TypeAlias = Callable[[Path], None]


def cut_off(out: Path) -> None:
    with (out / "part-000002.parquet").open("r+b") as file:
        file.truncate(500)


def empty_file(out: Path) -> None:
    (out / "part-000002.parquet").write_bytes(b"")


def flip(place: float) -> Damage:
    def damage(out: Path) -> None:
        path = out / "part-000002.parquet"
        data = bytearray(path.read_bytes())
        data[int(place * len(data))] ^= 0x10
        path.write_bytes(data)

    return damage


def no_unicode(out: Path) -> None:
    path = out / "part-000002.parquet"
    path.write_bytes(path.read_bytes().replace(b"row 8", b"row \xff"))


def removed(out: Path) -> None:
    (out / "part-000002.parquet").unlink()


def one_too_many(out: Path) -> None:
    (out / "part-000099.parquet").write_bytes((out / "part-000001.parquet").read_bytes())


def exchanged(out: Path) -> None:
    one, two = out / "part-000001.parquet", out / "part-000002.parquet"
    one.rename(out / "x")
    two.rename(one)
    (out / "x").rename(two)


def rewritten(change: Callable[[pa.Table], pa.Table]) -> Damage:
    def damage(out: Path) -> None:
        path = out / "part-000002.parquet"
        pq.write_table(change(pq.read_table(path)), path)

    return damage


def with_vector(table: pa.Table, change: Callable[[np.ndarray[Any, Any]], None]) -> pa.Table:
    column = table.column("vector").combine_chunks()
    values = column.flatten().to_numpy(zero_copy_only=False).copy()
    change(values)
    new = pa.FixedSizeListArray.from_arrays(pa.array(values), type=column.type)
    return table.set_column(table.schema.get_field_index("vector"), table.schema.field("vector"), new)


def with_nan(values: np.ndarray[Any, Any]) -> None:
    values[5] = np.nan


def with_another_number(values: np.ndarray[Any, Any]) -> None:
    values[5] += 0.5


def with_first_id_twice(table: pa.Table) -> pa.Table:
    ids = table.column("id").to_pylist()
    ids[1] = ids[0]
    return table.set_column(0, table.schema.field("id"), pa.array(ids))


def as_if_written(damage: Damage) -> Damage:
    """With the manifest changed to agree: only the vectors themselves can tell."""

    def both(out: Path) -> None:
        damage(out)
        data = (out / "part-000002.parquet").read_bytes()
        manifest = json.loads((out / "manifest.json").read_text())
        manifest["shards"][2] |= {
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "vectors_at": None,
        }
        (out / "manifest.json").write_text(json.dumps(manifest))

    return both


def another_count(out: Path) -> None:
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["shards"][2]["rows"] -= 1
    (out / "manifest.json").write_text(json.dumps(manifest))


def another_place(out: Path) -> None:
    """Where readers map the vectors from."""
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["shards"][2]["vectors_at"] += 4
    (out / "manifest.json").write_text(json.dumps(manifest))


def shorter_quarantine(out: Path) -> None:
    path = out / "quarantine.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


def no_quarantine(out: Path) -> None:
    (out / "quarantine.jsonl").unlink()


DAMAGES: dict[str, tuple[Damage, str]] = {
    "cut off": (cut_off, "checksum"),
    "empty": (empty_file, "checksum"),
    "one bit of the start": (flip(0.0), "checksum"),
    "one bit of the middle": (flip(0.5), "checksum"),
    "one bit of the end": (flip(0.99), "checksum"),
    "an id that is no text": (no_unicode, "checksum"),
    "removed": (removed, "missing"),
    "one too many": (one_too_many, "unexpected"),
    "exchanged": (exchanged, "checksum"),
    "a row less": (rewritten(lambda table: table.slice(1)), "counts"),
    "a row twice": (rewritten(lambda table: pa.concat_tables([table, table.slice(1, 1)])), "duplicate id"),
    "an id twice": (rewritten(with_first_id_twice), "duplicate id"),
    "a column less": (rewritten(lambda table: table.drop_columns(["finite"])), "columns"),
    "NaN": (rewritten(lambda table: with_vector(table, with_nan)), "not finite"),
    "another number": (rewritten(lambda table: with_vector(table, with_another_number)), "another vector"),
    "another number, covered up": (
        as_if_written(rewritten(lambda table: with_vector(table, with_another_number))),
        "another vector",
    ),
    "NaN, covered up": (as_if_written(rewritten(lambda table: with_vector(table, with_nan))), "not finite"),
    "an id twice, covered up": (as_if_written(rewritten(with_first_id_twice)), "duplicate id"),
    "another count": (another_count, "manifest"),
    "another place of the vectors": (another_place, "manifest"),
    "a shorter quarantine": (shorter_quarantine, "quarantine"),
    "no quarantine": (no_quarantine, "missing"),
}
