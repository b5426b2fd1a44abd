"""`manifest.json`: what a finished data set is, and what it was made of.

It holds no times and nothing of this run, so that a job that was stopped ten times ends with the same bytes as one that
was not.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from polypool.corpus.errors import CorpusError
from polypool.corpus.stores import JOB, Store

FILE = "manifest.json"
QUARANTINE = "quarantine.jsonl"
IDENTITY = f"{JOB}/job.json"
FORMAT = 1
#: What the numbers of all shards add up to.
COUNTS = ("rows", "quarantined", "tokens", "truncated", "nonfinite")


def as_bytes(content: object) -> bytes:
    """JSON that people can read, the same bytes for the same content."""
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def read_json(store: Store, name: str) -> dict[str, Any] | None:
    """What a JSON file of the folder holds; None where there is no such file.

    Raises:
        CorpusError: It holds something else.
    """
    text = store.read(name)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError as error:
        raise CorpusError(f"{name} in {store.url} is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise CorpusError(f"{name} in {store.url} must hold an object; found {type(found).__name__}.")
    return found


def versions(packages: Sequence[str] = ()) -> dict[str, str]:
    """What computed the vectors: Python, what every job needs, and the packages of its kind."""
    found = {"python": platform.python_version()}
    for name in ("polypool", "torch", *packages, "numpy", "pyarrow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def record_name(number: int) -> str:
    """Where the record of a shard is: its counts, its checksum and what it quarantined."""
    return f"{JOB}/shards/{number:06d}.json"


def compose(
    identity: Mapping[str, Any], about: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The manifest of a finished job.

    Args:
        identity: What makes it the same job.
        about: Where input and model were found.
        records: Those of all shards, in order.
    """
    return {
        "format": FORMAT,
        **about,
        **identity,
        "counts": {
            **{key: sum(record[key] for record in records) for key in COUNTS},
            "shards": len(records),
        },
        "shards": [{key: value for key, value in record.items() if key != "reasons"} for record in records],
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two identities, in words: `pool was 'mean', is now 'max'`."""
    old, new = dict(_flat(before)), dict(_flat(now))
    return [
        f"{_named(key)} was {_short(old.get(key))}, is now {_short(new.get(key))}"
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key)
    ]


def _flat(content: object, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(content, Mapping):
        return [
            pair for key, value in content.items() for pair in _flat(value, f"{path}.{key}" if path else key)
        ]
    if isinstance(content, list | tuple):
        return [pair for place, value in enumerate(content) for pair in _flat(value, f"{path}[{place}]")]
    return [(path, content)]


def _named(key: str) -> str:
    return key.removeprefix("settings.").removeprefix("fingerprint.")


def _short(value: object) -> str:
    text = repr(value) if not isinstance(value, str) or len(value) < 64 else f"{value[:12]}..."
    return "nothing" if value is None else text
