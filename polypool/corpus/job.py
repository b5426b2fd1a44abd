"""Embedding a corpus, from the call to the manifest.

The order of what is written makes it safe to stop anywhere. First `_job/job.json`: what the job is. Then for each shard
its record and its file, each at once. Last the quarantine, and the manifest, which says that all is there. A run that
finds a job in the folder compares what it is, and makes the shards that are missing or have not their size.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO

from polypool.corpus.adapter import Adapter
from polypool.corpus.devices import device_of
from polypool.corpus.engines import ENGINES, run_here, run_local
from polypool.corpus.engines.child import explain
from polypool.corpus.errors import CorpusError, StoppedError
from polypool.corpus.folder import STDIN, job_folder, spooled
from polypool.corpus.inputs import outside
from polypool.corpus.kinds import make_adapter
from polypool.corpus.manifest import (
    FILE,
    IDENTITY,
    QUARANTINE,
    as_bytes,
    compose,
    differences,
    read_json,
    record_name,
    versions,
)
from polypool.corpus.plan import Plan, make_plan
from polypool.corpus.progress import Display, Event, Meter
from polypool.corpus.shards import DTYPES
from polypool.corpus.stores import Store, is_url
from polypool.corpus.summary import Summary
from polypool.corpus.work import Job, Made

SHARD_ROWS = 8192
#: More processes than this are not started unless they are asked for: each has a model of its own.
_MOST_WORKERS = 8


def embed(
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    model: str | Path | None = None,
    *,
    kind: str = "text",
    engine: str = "local",
    workers: int | None = None,
    threads: int = 1,
    address: str | None = None,
    shard_rows: int = SHARD_ROWS,
    dtype: str = "float32",
    device: str | None = None,
    progress: bool | None = None,
    on_event: Callable[[Event], object] | None = None,
    stdin: BinaryIO | None = None,
    **settings: Any,
) -> Summary:
    r"""Embeds a corpus into a folder of Parquet files, or continues where an earlier call stopped.

    The same call continues after whatever happened, and the files are the same, byte for byte, as without the stop, and
    with any engine and number of workers. A call on a finished folder checks that all shards are there and does nothing
    else.

    Args:
        inputs: Files, globs, URLs of fsspec, or `"-"` for standard input.
        out: The folder to write to: new, empty, or begun by the same call. A URL of fsspec is written there.
        model: As the kind has it; for texts a model folder.
        kind: `"text"`, `"images"`, `"graphs"`, or `"module:Class"`, an `Adapter` of your own.
        engine: `"local"` or `"ray"`.
        workers: How many processes. When None, one for each core, at most 8 and at most one for each shard, on a CPU;
            one on an accelerator; on a cluster as many as it has room for.
        threads: Of torch in each worker. Part of the job: sums of another number of threads may round differently.
        address: Of a Ray cluster; Ray runs on this machine when None.
        shard_rows: The rows of a shard, at least 1.
        dtype: Of the vectors in the files, `"float32"` or `"float16"`.
        device: Where the model runs; an accelerator where there is one when None.
        progress: Whether to show a bar; on a terminal when None.
        on_event: Called with a dict after planning, after each shard, and at the end.
        stdin: What `"-"` reads; standard input when None.
        settings: Those of the kind; for texts see `polypool.corpus.texts.TextAdapter`: `text_column`, `id_column`,
            `pool`, `normalize`, `prompt`, `precision`, `batch_tokens`, `max_tokens`, `format`.

    Returns:
        What was done. Rows that could not be read or encoded are in `quarantine.jsonl`.

    Raises:
        CorpusError: A setting, the input, the model or the folder is not as it must be; nothing was written over.
        StoppedError: The disk is full, workers died, or no row can be encoded. The same call continues.

    Example:
        >>> import pathlib, tempfile
        >>> from polypool.corpus import embed
        >>> from polypool.demo.encoder import find_model
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "texts.txt").write_text("A cat sleeps.\nStocks fell.\n")
        >>> done = embed(folder / "texts.txt", folder / "vectors", find_model(None), device="cpu")
        >>> done.embedded, done.tokens
        (2, 11)
    """
    start = perf_counter()
    listed = [str(inputs)] if isinstance(inputs, str | Path) else [str(path) for path in inputs]
    options = _Options(engine, workers, threads, address, shard_rows, dtype, device_of(device))
    if model is not None:
        settings = {**settings, "model": model}
    adapter = make_adapter(kind, settings)
    try:
        with Display(progress) as display, job_folder(out) as store:
            return _Run(store, kind, adapter, options, display, on_event, start).all(listed, stdin)
    except (CorpusError, StoppedError):
        raise
    except PermissionError as error:
        raise CorpusError(explain(error)) from error
    except Exception as error:
        raise StoppedError(explain(error)) from error


@dataclass(frozen=True)
class _Options:
    """How to run a job, checked."""

    engine: str
    workers: int | None
    threads: int
    address: str | None
    shard_rows: int
    dtype: str
    device: str

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise CorpusError(f"engine must be one of {', '.join(ENGINES)}; found {self.engine!r}.")
        if self.dtype not in DTYPES:
            raise CorpusError(f"dtype must be one of {', '.join(DTYPES)}; found {self.dtype!r}.")
        if self.address is not None and self.engine != "ray":
            raise CorpusError("address is that of a Ray cluster; it goes with engine ray.")
        for name in ("workers", "threads", "shard_rows"):
            value = getattr(self, name)
            if name == "workers" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise CorpusError(f"{name} must be an integer of at least 1; found {value!r}.")

    def processes(self, shards: int) -> int:
        """How many workers, for so many shards."""
        if self.workers is not None:
            return max(min(self.workers, shards), 1)
        if self.device != "cpu":
            return 1
        return max(min(_cores() // self.threads, _MOST_WORKERS, shards), 1)


@dataclass(frozen=True)
class _Run:
    """One run of a job."""

    store: Store
    kind: str
    adapter: Adapter
    options: _Options
    display: Display
    on_event: Callable[[Event], object] | None
    start: float

    def all(self, inputs: Sequence[str], stdin: BinaryIO | None) -> Summary:
        """From the input to the manifest."""
        options, adapter, store = self.options, self.adapter, self.store
        form = adapter.settings.get("format") or "txt"
        paths = spooled(store, inputs, form, _standard_input(stdin) if STDIN in inputs else None)
        adapter.out = store.url
        sources = [source for source in adapter.sources(paths) if outside(source.name, store.url)]
        adapter.load(options.device)
        loaded = perf_counter()
        self.display.say("reading the input")
        plan = make_plan(
            sources, options.shard_rows, lambda rows: self.display.say("reading the input", f"{rows:,} rows")
        )
        planned = perf_counter()
        job = Job(
            kind=self.kind,
            settings=adapter.settings,
            fingerprint=adapter.fingerprint(),
            sources=tuple(sources),
            plan=plan,
            store=store,
            dtype=options.dtype,
            id_type=adapter.id_type,
            device=options.device,
            threads=options.threads,
            paths=tuple(path or os.getcwd() for path in sys.path),
        )
        identity, about = self._begin(job, inputs)
        records = dict(_done(store, plan))
        todo = [shard.number for shard in plan.shards if shard.number not in records]
        self._tell("plan", rows=plan.rows, shards=len(plan.shards), shards_done=len(records))
        encoding = 0.0
        # Closed at once where the loop ends early, so that no worker goes on.
        with closing(self._make(job, todo, records)) as shards:
            for made in shards:
                encoding += made.encoding
                records[made.record["shard"]] = _without_reasons(made.record)
        manifest = compose(identity, about, [records[shard.number] for shard in plan.shards])
        _finish(store, manifest)
        counts = manifest["counts"]
        summary = Summary(
            out=store.url,
            rows=plan.rows,
            embedded=counts["rows"],
            quarantined=counts["quarantined"],
            tokens=counts["tokens"],
            truncated=counts["truncated"],
            nonfinite=counts["nonfinite"],
            shards=len(plan.shards),
            made=len(todo),
            seconds=perf_counter() - self.start,
            loading=loaded - self.start,
            planning=planned - loaded,
            encoding=encoding,
        )
        self._tell("end", **asdict(summary))
        return summary

    def _begin(self, job: Job, inputs: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the job is: the one that was begun here, which must be the same, or a new one."""
        identity = json.loads(json.dumps(identity_of(job, self.adapter.dimension)))
        about: dict[str, Any] = {
            "inputs": [path if path == STDIN or is_url(path) else os.path.abspath(path) for path in inputs],
            "input_names": [file.name for file in job.plan.files],
            "model_path": job.settings.get("model"),
            "versions": [versions(self.adapter.packages)],
        }
        begun = read_json(self.store, IDENTITY)
        if begun is not None:
            unlike = differences(begun.get("identity", {}), identity)
            if unlike:
                more = f"; and {len(unlike) - 4} more" if len(unlike) > 4 else ""
                raise CorpusError(
                    f"{self.store.url} was begun as another job: {'; '.join(unlike[:4])}{more}. Choose another folder, "
                    "or call it as before."
                )
            # Input and model may have moved, and other versions may go on with it.
            before = begun["about"]["versions"]
            about["versions"] = before + [each for each in about["versions"] if each not in before]
        content = {"identity": identity, "about": about}
        if content != begun:
            self.store.write(IDENTITY, [as_bytes(content)])
        return identity, about

    def _make(self, job: Job, todo: Sequence[int], records: dict[int, Any]) -> Generator[Made, None, None]:
        """The missing shards, as they get done."""
        meter = Meter(job.plan.rows, sum(job.plan.shards[number].rows for number in records))

        def tick(shard: int, rows: int, tokens: int) -> None:
            meter.tick(shard, rows, tokens)
            self.display.show(meter)

        self.display.show(meter)
        if not todo:
            return
        with closing(self._run(job, todo, tick)) as shards:
            for made in shards:
                shard = job.plan.shards[made.record["shard"]]
                meter.finish(shard.number, shard.rows, made.record["tokens"])
                self.display.show(meter)
                told = {key: made.record[key] for key in ("shard", "rows", "quarantined", "tokens")}
                self._tell("shard", **told, seconds=round(made.seconds, 3), **meter.as_event())
                yield made

    def _run(
        self, job: Job, todo: Sequence[int], tick: Callable[[int, int, int], None]
    ) -> Generator[Made, None, None]:
        options = self.options
        workers = options.processes(len(todo))
        if options.engine == "ray":
            from polypool.corpus.engines.ray import run_ray

            asked = None if options.address is not None and options.workers is None else workers
            return run_ray(job, todo, asked, options.address)
        if workers == 1:
            return run_here(job, todo, self.adapter, tick)
        return run_local(job, todo, workers, tick)

    def _tell(self, event: str, **content: Any) -> None:
        if self.on_event is not None:
            self.on_event({"event": event, **content})


def identity_of(job: Job, dimension: int) -> dict[str, Any]:
    """What makes it the same job: everything that a byte of the shards may depend on, and no path."""
    return {
        "kind": job.kind,
        "settings": {key: value for key, value in job.settings.items() if key != "model"},
        "fingerprint": job.fingerprint,
        "input": job.plan.identity,
        "vectors": {"dimension": dimension, "dtype": job.dtype, "id": job.id_type},
        "compute": {"device": job.device, "threads": job.threads},
    }


def _done(store: Store, plan: Plan) -> Iterator[tuple[int, dict[str, Any]]]:
    """The shards that are there, by their records; one without its file, or whose file has another size, is not."""
    there = set(store.names("_job/shards"))
    for shard in plan.shards:
        name = record_name(shard.number)
        if name.rpartition("/")[2] not in there:
            continue
        try:
            record = read_json(store, name)
        except CorpusError:  # it will be written anew
            continue
        if record is not None and store.size(record["file"]) == record["bytes"]:
            yield shard.number, _without_reasons(record)


def _without_reasons(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "reasons"}


def _finish(store: Store, manifest: dict[str, Any]) -> None:
    """The quarantine and the manifest, where they are not there already."""
    content = as_bytes(manifest)
    lost = [record["shard"] for record in manifest["shards"] if record["quarantined"]]
    if lost:
        store.write(QUARANTINE, _quarantine(store, lost))
    else:
        store.remove(QUARANTINE)
    if store.read(FILE) != content:
        store.write(FILE, [content])


def _quarantine(store: Store, shards: Sequence[int]) -> Iterator[bytes]:
    for number in shards:
        record = read_json(store, record_name(number)) or {}
        for entry in record["reasons"]:
            yield (json.dumps(entry, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _standard_input(given: BinaryIO | None) -> BinaryIO | None:
    if given is not None:
        return given
    return None if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
