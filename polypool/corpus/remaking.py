"""Rows of a finished job, encoded again from the same input with the same model."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polypool.corpus.adapter import Unreadable, no_tick
from polypool.corpus.devices import device_of
from polypool.corpus.errors import CorpusError
from polypool.corpus.folder import STDIN, spool_path
from polypool.corpus.inputs import outside
from polypool.corpus.kinds import make_adapter
from polypool.corpus.manifest import differences, read_json, record_name
from polypool.corpus.plan import make_plan, read_shard
from polypool.corpus.shards import DTYPES, Rows
from polypool.corpus.stores import Store
from polypool.corpus.work import Job, Worker, encode_apart


class Remaker:
    """Makes rows of a finished job again.

    Args:
        store: Its folder.
        manifest: Its manifest.
        model: Where the model is now; where it was, when None.
        device: Where the model runs; as it was, when None.

    Raises:
        CorpusError: The input or the model is not there, or another one.
    """

    def __init__(
        self, store: Store, manifest: dict[str, Any], model: str | Path | None, device: str | None
    ) -> None:
        path = manifest.get("model_path") if model is None else str(model)
        settings = {**manifest["settings"], **({} if path is None else {"model": path})}
        adapter = make_adapter(manifest["kind"], settings)
        form = settings.get("format") or "txt"
        inputs = [spool_path(store, form) if name == STDIN else name for name in manifest["inputs"]]
        adapter.out = store.url
        sources = [source for source in adapter.sources(inputs) if outside(source.name, store.url)]
        place = device_of(manifest["compute"]["device"] if device is None else device)
        adapter.load(place)
        fingerprint = adapter.fingerprint()
        unlike = differences(manifest["fingerprint"], json.loads(json.dumps(fingerprint)))
        if unlike:
            raise CorpusError(f"the model is another one now: {unlike[0]}.")
        plan = make_plan(sources, manifest["input"]["shard_rows"])
        if plan.identity != manifest["input"]:
            raise CorpusError("the input has changed since.")
        self._worker = Worker(
            Job(
                kind=manifest["kind"],
                settings=adapter.settings,
                fingerprint=fingerprint,
                sources=tuple(sources),
                plan=plan,
                store=store,
                dtype=manifest["vectors"]["dtype"],
                id_type=manifest["vectors"]["id"],
                device=place,
                threads=manifest["compute"]["threads"],
                paths=tuple(sys.path),
            ),
            adapter,
        )

    def rows(self, number: int, places: Sequence[int] | None) -> Rows:
        """Rows of a shard, as they come out now.

        Args:
            number: Of the shard.
            places: Which of those that were embedded; all when None.
        """
        if places is None:
            return self._worker.rows(number)[0]
        job, adapter = self._worker.job, self._worker.adapter
        shard = job.plan.shards[number]
        lost = self._lost(number)
        wanted, ids, contents = set(places), [], []
        place = 0
        for row, (_, found) in enumerate(read_shard(job.sources, shard), shard.first_row):
            if isinstance(found, Unreadable) or row in lost:
                continue
            if place in wanted:
                ids.append(row if found.id is None else found.id)
                contents.append(found.content)
            place += 1
        encoded = encode_apart(adapter, contents, no_tick)
        with np.errstate(over="ignore"):
            vectors = encoded.vectors.astype(DTYPES[job.dtype], copy=False)
        named = [str(name) for name in ids] if job.id_type == "string" else ids
        return Rows(named, vectors, encoded.tokens, encoded.truncated)

    def _lost(self, number: int) -> set[int]:
        """The rows of a shard that could not be encoded, or not be read."""
        record = read_json(self._worker.job.store, record_name(number)) or {}
        return {entry["row"] for entry in record.get("reasons", ())}


@contextmanager
def kept_threads() -> Iterator[None]:
    """The threads of torch are afterwards what they were before."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
