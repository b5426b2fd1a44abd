"""One shard: a pure function of the plan and of its number, wherever it is made.

Its rows are read in order and encoded in windows, of as many rows as the adapter takes at once, within the shard.
The threads of torch are part of the job, because sums of another number of threads may round in another way.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
import torch

from polypool._errors import first_line
from polypool.corpus.adapter import Adapter, Encoded, Row, Source, Tick, Unreadable, no_tick
from polypool.corpus.errors import StoppedError
from polypool.corpus.kinds import make_adapter
from polypool.corpus.manifest import as_bytes, record_name
from polypool.corpus.plan import Plan, read_shard
from polypool.corpus.shards import DTYPES, Rows, encode_shard, file_name
from polypool.corpus.stores import Store

#: Where so many rows are encoded together and none can be, it is not the rows' fault.
_HOPELESS = 16
#: What the content of a row may raise. Memory and disks are no one row's fault.
_OF_ROWS = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError)


@dataclass(frozen=True)
class Job:
    """Everything that a worker has to know. It is pickled.

    Attributes:
        kind: Of the adapter.
        settings: Of the adapter.
        fingerprint: What its model must be.
        sources: The input.
        plan: Which rows make which shard.
        store: Where shards go.
        dtype: Of the vectors in the files.
        id_type: Of the ids in the files.
        device: Where the model runs.
        threads: Of torch, in each worker.
        paths: Where modules are imported from.
    """

    kind: str
    settings: dict[str, Any]
    fingerprint: dict[str, Any]
    sources: tuple[Source, ...]
    plan: Plan
    store: Store
    dtype: str
    id_type: str
    device: str
    threads: int
    paths: tuple[str, ...]


#: A job on its way to another process, as bytes, with the folders in which its modules are found.
Packed: TypeAlias = tuple[tuple[str, ...], bytes]


def packed(job: Job) -> Packed:
    """A job to be sent; `unpacked` makes one of it again."""
    return job.paths, pickle.dumps(job)


def unpacked(sent: Packed) -> Job:
    """A job that was sent. Its sources may be of classes that only its own folders hold, so these come first."""
    paths, content = sent
    sys.path.extend(path for path in paths if path not in sys.path)
    job: Job = pickle.loads(content)
    return job


@dataclass(frozen=True)
class Made:
    """A finished shard.

    Attributes:
        record: Its counts, its checksum and what it quarantined, as they are in its record.
        seconds: How long it took.
        encoding: How much of that was the adapter's `encode`.
    """

    record: dict[str, Any]
    seconds: float
    encoding: float


class Worker:
    """Makes shards; the model is loaded once.

    Args:
        job: Whose shards.
        adapter: Loaded already, where there is one.

    Raises:
        StoppedError: The model here is another one than where the job was planned.
    """

    def __init__(self, job: Job, adapter: Adapter | None = None) -> None:
        torch.set_num_threads(job.threads)
        self.job = job
        if adapter is None:
            adapter = make_adapter(job.kind, job.settings)
            adapter.load(job.device)
            if adapter.fingerprint() != job.fingerprint:
                raise StoppedError(
                    "a worker found another model than the job began with; give all the same files."
                )
        self.adapter = adapter
        self._encoding = 0.0

    def make(self, number: int, tick: Tick = no_tick) -> Made:
        """Makes a shard: its file, and its record, which comes first, so that a file without one is no shard.

        Raises:
            StoppedError: No row of many can be encoded.
            OSError: The input is gone, or the output cannot be written.
        """
        start, self._encoding = perf_counter(), 0.0
        rows, lost = self.rows(number, tick)
        job, name = self.job, file_name(number)
        shard = encode_shard(rows, job.id_type)
        record = {
            "shard": number,
            "file": name,
            "first_row": job.plan.shards[number].first_row,
            "rows": len(rows.ids),
            "quarantined": len(lost),
            "tokens": int(rows.tokens.sum()),
            "truncated": int(rows.truncated.sum()),
            "nonfinite": int((~rows.finite).sum()),
            "bytes": len(shard.content),
            "sha256": hashlib.sha256(shard.content).hexdigest(),
            "vectors_at": shard.vectors_at,
            "reasons": [{"shard": number, **each} for each in lost],
        }
        job.store.write(record_name(number), [as_bytes(record)])
        job.store.write(name, [shard.content])
        return Made(record, perf_counter() - start, self._encoding)

    def rows(self, number: int, tick: Tick = no_tick) -> tuple[Rows, list[dict[str, Any]]]:
        """What a shard holds, and what of it goes to the quarantine."""
        shard = self.job.plan.shards[number]
        gathered = _Gathered(shard.first_row)
        window: list[tuple[int, str, Row]] = []
        held = 0
        for place, (source, row) in enumerate(read_shard(self.job.sources, shard)):
            if isinstance(row, Unreadable):
                gathered.lose(place, source, row.position, row.id, row.reason)
                continue
            full = len(window) >= self.adapter.window_rows or held + row.size > self.adapter.window_bytes
            if window and full:
                self._encode(window, gathered, tick)
                window, held = [], 0
            window.append((place, source, row))
            held += row.size
        if window:
            self._encode(window, gathered, tick)
        return gathered.finish(self.adapter.dimension, self.job)

    def _encode(self, window: list[tuple[int, str, Row]], gathered: _Gathered, tick: Tick) -> None:
        start = perf_counter()
        found = encode_apart(self.adapter, [row.content for _, _, row in window], tick)
        self._encoding += perf_counter() - start
        if len(found.failed) == len(window) >= _HOPELESS:
            raise StoppedError(
                f"none of {len(window)} rows from {window[0][2].position} of {window[0][1]} on can be encoded: "
                f"{found.failed[0]}."
            )
        gathered.take(window, found)


def encode_apart(adapter: Adapter, rows: Sequence[Any], tick: Tick) -> Encoded:
    """Encodes rows; where that raises, in halves, until the rows that cannot be encoded stand alone."""
    try:
        return adapter.encode(rows, tick)
    except torch.OutOfMemoryError:
        raise
    except _OF_ROWS as error:
        if len(rows) == 1:
            vectors = np.zeros((1, adapter.dimension), dtype=np.float32)
            reason = f"{type(error).__name__}: {first_line(error)}"
            return Encoded(vectors, np.zeros(1, np.int64), np.zeros(1, np.bool_), {0: reason})
        middle = len(rows) // 2
        first = encode_apart(adapter, rows[:middle], no_tick)
        second = encode_apart(adapter, rows[middle:], no_tick)
        return Encoded(
            np.concatenate([first.vectors, second.vectors]),
            np.concatenate([first.tokens, second.tokens]),
            np.concatenate([first.truncated, second.truncated]),
            first.failed | {middle + place: reason for place, reason in second.failed.items()},
        )


class _Gathered:
    """The rows of a shard as they come."""

    def __init__(self, first_row: int) -> None:
        self._first = first_row
        self._names: list[tuple[int, str | int | None]] = []
        self._parts: list[Encoded] = []
        self._lost: list[tuple[int, dict[str, Any]]] = []

    def lose(self, place: int, source: str, position: str, name: str | int | None, reason: str) -> None:
        entry = {
            "row": self._first + place,
            "file": source,
            "position": position,
            "id": name,
            "reason": reason,
        }
        self._lost.append((place, entry))

    def take(self, window: Sequence[tuple[int, str, Row]], found: Encoded) -> None:
        if not len(window) == len(found.vectors) == len(found.tokens) == len(found.truncated):
            raise StoppedError(
                f"encode must give one vector for each of {len(window)} rows; found {len(found.vectors)}."
            )
        for place, reason in found.failed.items():
            at, source, row = window[place]
            self.lose(at, source, row.position, row.id, reason)
        kept = [place for place in range(len(window)) if place not in found.failed]
        self._names += [(window[place][0], window[place][2].id) for place in kept]
        self._parts.append(
            found
            if len(kept) == len(window)
            else Encoded(found.vectors[kept], found.tokens[kept], found.truncated[kept])
        )

    def finish(self, dimension: int, job: Job) -> tuple[Rows, list[dict[str, Any]]]:
        numbered = [self._first + place if name is None else name for place, name in self._names]
        ids: list[str | int] = [str(name) for name in numbered] if job.id_type == "string" else list(numbered)
        empty = Encoded(np.zeros((0, dimension), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_))
        parts = self._parts or [empty]
        # A number beyond what float16 can hold becomes infinite there, and the row is marked so.
        with np.errstate(over="ignore"):
            vectors = np.concatenate([part.vectors.astype(DTYPES[job.dtype], copy=False) for part in parts])
        rows = Rows(
            ids,
            vectors,
            np.concatenate([part.tokens for part in parts]).astype(np.int64),
            np.concatenate([part.truncated for part in parts]).astype(np.bool_),
        )
        return rows, [entry for _, entry in sorted(self._lost, key=lambda each: each[0])]
