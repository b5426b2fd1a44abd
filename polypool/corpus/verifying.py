"""What has happened to a finished folder since it was written.

Each file against its checksum, its counts and its columns; ids that occur twice; vectors that are not finite; files
that are missing or too many; and, where input and model are at hand, a sample of rows encoded again. A shard that was
changed and can still be read is made again and compared row by row, so that the rows that changed are named.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polypool._errors import first_line
from polypool.corpus.duplicates import Duplicates
from polypool.corpus.errors import CorpusError, StoppedError
from polypool.corpus.manifest import COUNTS, FILE, QUARANTINE
from polypool.corpus.reading import finished
from polypool.corpus.remaking import Remaker, kept_threads
from polypool.corpus.shards import file_name, read_columns, schema
from polypool.corpus.stores import Store
from polypool.corpus.verdict import Problem, Verdict

_CHUNK = 1 << 20
#: Of one kind in one file, no more than this are listed one by one.
_LISTED = 20
#: How far a row may be from itself encoded again, alone or in another batch, as a share of its length.
TOLERANCES = {"float32": 1e-4, "float16": 2e-3, "bfloat16": 3e-2}


def verify(
    out: str | Path,
    *,
    sample: int = 32,
    model: str | Path | None = None,
    device: str | None = None,
    each: Callable[[int, int], object] | None = None,
) -> Verdict:
    r"""Checks a finished folder; nothing in it is changed.

    To mend it, remove the files that are named and call `embed` as before: it makes them again, the same.

    Args:
        out: The folder, or its URL for fsspec.
        sample: How many rows to encode again; 0 needs neither input nor model.
        model: Where the model is now; where it was, when None.
        device: Where the model runs; as it was, when None.
        each: Called with the shards checked so far, and all.

    Raises:
        CorpusError: The folder holds no finished job, or the sample is negative.

    Example:
        >>> import pathlib, tempfile
        >>> from polypool.corpus import embed, verify
        >>> from polypool.demo.encoder import find_model
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "texts.txt").write_text("A cat sleeps.\nStocks fell.\n")
        >>> _ = embed(folder / "texts.txt", folder / "vectors", find_model(None), device="cpu")
        >>> verify(folder / "vectors").ok
        True
        >>> with (folder / "vectors" / "part-000000.parquet").open("r+b") as file:
        ...     _ = file.truncate(1000)
        >>> print(verify(folder / "vectors").problems[0])
        part-000000.parquet: checksum: ... bytes were written, there are 1000
    """
    if sample < 0:
        raise CorpusError(f"sample must be at least 0; found {sample}.")
    store, manifest = finished(out)
    check = _Check(store, manifest)
    check.manifest_itself()
    check.strange_files()
    with Duplicates(sum(record["rows"] for record in manifest["shards"])) as seen:
        for number, record in enumerate(manifest["shards"]):
            check.shard(record, seen)
            if each is not None:
                each(number + 1, len(manifest["shards"]))
        check.duplicates(seen)
    check.quarantine()
    if sample:
        with kept_threads():
            check.again(sample, model, device)
    return Verdict(
        store.url,
        tuple(check.problems),
        check.rows,
        len(manifest["shards"]),
        check.encoded_again,
        tuple(check.not_checked),
    )


@dataclass
class _Check:
    """One look at a folder."""

    store: Store
    manifest: dict[str, Any]
    problems: list[Problem] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    rows: int = 0
    encoded_again: int = 0
    changed: list[dict[str, Any]] = field(default_factory=list)
    sound: list[dict[str, Any]] = field(default_factory=list)
    _begins: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    def say(
        self, what: str, message: str, file: str | None = None, row: int | None = None, id: Any = None
    ) -> None:
        self.problems.append(Problem(what, message, file, row, id))

    def manifest_itself(self) -> None:
        """The manifest must agree with itself."""
        counts, records = self.manifest["counts"], self.manifest["shards"]
        begin = 0
        for place, record in enumerate(records):
            if record["shard"] != place or record["file"] != file_name(place):
                self.say(
                    "manifest", f"shard {place} must be {file_name(place)}; found {record['file']}", FILE
                )
            if record["first_row"] != begin:
                self.say(
                    "manifest",
                    f"shard {place} must begin with row {begin}; found {record['first_row']}",
                    FILE,
                )
            begin += record["rows"] + record["quarantined"]
        for key in COUNTS:
            if counts[key] != sum(record[key] for record in records):
                self.say(
                    "manifest", f"{key} is {counts[key]}; the shards add up to {_sum(records, key)}", FILE
                )
        rows = sum(file["rows"] for file in self.manifest["input"]["files"])
        if rows != _sum(records, "rows") + _sum(records, "quarantined"):
            self.say(
                "manifest",
                f"the input has {rows} rows; {_sum(records, 'rows')} are embedded and {_sum(records, 'quarantined')} "
                "quarantined",
                FILE,
            )

    def strange_files(self) -> None:
        """Shards that the manifest does not know: readers of the folder would take them in."""
        known = {record["file"] for record in self.manifest["shards"]}
        for name in self.store.names():
            if name.endswith(".parquet") and name not in known:
                self.say(
                    "unexpected", "the manifest has no such file; readers of the folder would read it", name
                )

    def shard(self, record: dict[str, Any], seen: Duplicates) -> None:
        """One file: its bytes, then what it holds."""
        name = record["file"]
        size = self.store.size(name)
        if size is None:
            self.say("missing", "there is no such file", name)
            return
        if size != record["bytes"]:
            self.say("checksum", f"{record['bytes']} bytes were written, there are {size}", name)
        elif self._sha256(name) != record["sha256"]:
            self.say("checksum", "its bytes are not those that were written", name)
        else:
            self.sound.append(record)
        table = self._table(name)
        if table is None:
            return
        if not self.sound or self.sound[-1] is not record:
            self.changed.append(record)
        self._contents(record, table)
        self._place(record, table)
        ids = table.column("id").to_numpy()
        self._begins.append((self.rows, record))
        self.rows += len(ids)
        seen.add(ids)

    def _sha256(self, name: str) -> str:
        digest = hashlib.sha256()
        with self.store.open(name) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def _table(self, name: str) -> Any:
        """The columns; None where they cannot be read, or are others."""
        import pyarrow as pa

        vectors = self.manifest["vectors"]
        try:
            with self.store.open(name) as file:
                table = read_columns(file)
            table.validate(full=True)  # whether ids are UTF-8, too
            found = ", ".join(f"{column.name} {column.type}" for column in table.schema)
        except (OSError, pa.ArrowException, ValueError) as error:
            self.say("unreadable", first_line(error), name)
            return None
        wanted = schema(vectors["dimension"], vectors["dtype"], vectors["id"])
        if not table.schema.equals(wanted):
            self.say("columns", f"must be {', '.join(wanted.names)} as written; found {found}", name)
            return None
        return table

    def _contents(self, record: dict[str, Any], table: Any) -> None:
        """Counts, and vectors that are not finite."""
        name = record["file"]
        vectors = matrix_of(table)
        finite = np.isfinite(vectors).all(axis=1)
        said = table.column("finite").to_numpy()
        ids = table.column("id")
        for row in np.flatnonzero(~finite)[:_LISTED]:
            self.say("not finite", "its vector holds NaN or infinity", name, int(row), ids[int(row)].as_py())
        for row in np.flatnonzero(finite != said)[:_LISTED]:
            message = f"finite is {bool(said[row])}, its vector is not so"
            self.say("flag", message, name, int(row), ids[int(row)].as_py())
        counts = {
            "rows": len(table),
            "tokens": int(table.column("n_tokens").to_numpy().astype(np.int64).sum()),
            "truncated": int(table.column("truncated").to_numpy().sum()),
            "nonfinite": int((~said).sum()),
        }
        for key, found in counts.items():
            if found != record[key]:
                self.say("counts", f"the manifest says {record[key]} {key}; found {found}", name)

    def _place(self, record: dict[str, Any], table: Any) -> None:
        """The vectors must be where the manifest says: there they are mapped into memory."""
        name, at = record["file"], record["vectors_at"]
        if at is None:
            return
        wanted = np.ascontiguousarray(matrix_of(table)).data.cast("B")
        with self.store.open(name) as file:
            file.seek(max(at, 0))
            found = file.read(len(wanted))
        if at < 0 or found != wanted:
            self.say("manifest", f"the vectors of {name} do not begin at byte {at}", FILE)

    def duplicates(self, seen: Duplicates) -> None:
        """Ids that occur more than once."""
        for listed, (first, second) in enumerate(seen.found(lambda place: self._at(place)[2])):
            if listed >= 100:
                self.say("duplicate id", "there are more than 100; the rest is not listed")
                return
            before, row, name = self._at(first)
            after, other, _ = self._at(second)
            self.say("duplicate id", f"{before} has it in row {row} too", after, other, name)

    def _at(self, place: int) -> tuple[str, int, Any]:
        """The file, the row in it, and the id of a row by its place among all that were read."""
        begin, record = max((pair for pair in self._begins if pair[0] <= place), key=lambda pair: pair[0])
        with self.store.open(record["file"]) as file:
            name = read_columns(file, ["id"]).column("id")[place - begin].as_py()
        return record["file"], place - begin, name

    def quarantine(self) -> None:
        """One line for each row that has no vector, and no other."""
        wanted = _sum(self.manifest["shards"], "quarantined")
        text = self.store.read(QUARANTINE)
        if text is None:
            if wanted:
                self.say("missing", f"{wanted} rows are quarantined, and there is no such file", QUARANTINE)
            return
        rows = []
        for place, line in enumerate(text.splitlines()):
            try:
                rows.append(int(json.loads(line)["row"]))
            except (ValueError, KeyError, TypeError):
                self.say("quarantine", "is no line of a quarantine", QUARANTINE, place)
        if len(rows) != wanted or len(set(rows)) != wanted:
            self.say(
                "quarantine",
                f"{wanted} rows are quarantined; found {len(set(rows))} in {len(rows)} lines",
                QUARANTINE,
            )

    def again(self, sample: int, model: str | Path | None, device: str | None) -> None:
        """Encodes rows again: a sample, and all of each file that was changed."""
        try:
            remaker = Remaker(self.store, self.manifest, model, device)
        except (CorpusError, StoppedError) as error:
            self.not_checked.append(f"no row was encoded again: {error}")
            return
        for record in self.changed:
            self._compare(record, None, remaker)
        per_shard = _spread([record["rows"] for record in self.sound], sample)
        for record, places in zip(self.sound, per_shard, strict=True):
            if places:
                self._compare(record, places, remaker)

    def _compare(self, record: dict[str, Any], places: list[int] | None, remaker: Remaker) -> None:
        name = record["file"]
        table = self._table(name)
        try:
            rows = remaker.rows(record["shard"], places)
        except (CorpusError, StoppedError, OSError) as error:
            self.not_checked.append(f"{name} was not encoded again: {error}")
            return
        stored, ids = matrix_of(table), table.column("id")
        chosen = list(range(len(stored))) if places is None else places
        limit = self.tolerance
        self.encoded_again += len(rows.ids)
        if places is None and len(rows.ids) != len(stored):
            self.say("another vector", f"made again it has {len(rows.ids)} rows; found {len(stored)}", name)
            return
        listed = 0
        for new, old in enumerate(chosen):
            if ids[old].as_py() != rows.ids[new]:
                self.say("another id", f"made again it is {rows.ids[new]!r}", name, old, ids[old].as_py())
                listed += 1
            elif not alike(stored[old], rows.vectors[new], limit):
                self.say("another vector", "encoded again it is another one", name, old, ids[old].as_py())
                listed += 1
            if listed >= _LISTED:
                return

    @property
    def tolerance(self) -> float:
        """What rounding explains, as a share of a vector's length."""
        precision = self.manifest.get("settings", {}).get("precision", "float32")
        return max(TOLERANCES[self.manifest["vectors"]["dtype"]], TOLERANCES.get(precision, 0.0))


def alike(stored: NDArray[Any], made: NDArray[Any], tolerance: float) -> bool:
    """Whether two vectors differ by rounding alone."""
    a, b = stored.astype(np.float64), made.astype(np.float64)
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return False
    a, b = np.nan_to_num(a, posinf=0, neginf=0), np.nan_to_num(b, posinf=0, neginf=0)
    return bool(np.linalg.norm(a - b) <= tolerance * max(float(np.linalg.norm(b)), 1e-12))


def matrix_of(table: Any) -> NDArray[Any]:
    """The vectors of a table, `(n, dimension)`."""
    column = table.column("vector").combine_chunks()
    size = column.type.list_size
    found: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, size)
    return found


def _sum(records: list[dict[str, Any]], key: str) -> int:
    return sum(record[key] for record in records)


def _spread(rows: list[int], sample: int) -> Iterator[list[int]]:
    """Which rows of each shard are in the sample: a few from a few shards, the same every time."""
    chance = random.Random(0)
    filled = [place for place, count in enumerate(rows) if count]
    chosen = set(chance.sample(filled, min(len(filled), 4)))
    left = len(chosen)
    for place, count in enumerate(rows):
        if place not in chosen:
            yield []
            continue
        share = -(-sample // left)
        left, sample = left - 1, sample - min(share, count)
        yield sorted(chance.sample(range(count), min(share, count)))
