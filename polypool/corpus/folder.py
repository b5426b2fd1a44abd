"""The output folder at the beginning of a job: empty or ours, locked, and left as it was if the job does not begin."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from polypool.corpus.errors import CorpusError
from polypool.corpus.lock import NAME, locked
from polypool.corpus.manifest import IDENTITY
from polypool.corpus.stores import JOB, Store, open_store

STDIN = "-"
_CHUNK = 1 << 20
_ATTEMPTS = 100


@contextmanager
def job_folder(out: str | os.PathLike[str]) -> Iterator[Store]:
    """The output folder, made where there is none, locked inside the block.

    Raises:
        CorpusError: It is a file, holds something else, cannot be written, or another job writes to it.
    """
    store = open_store(out)
    try:
        found = store.names()
    except OSError as error:
        raise CorpusError(f"{store.url} cannot be read: {error.strerror}.") from error
    if found and JOB not in found:
        raise CorpusError(
            f"{store.url} holds something else, {found[0]} for one. Choose an empty or a new folder."
        )
    root = store.path("")
    with ExitStack() as held:
        made = [] if root is None else _hold(root, held)
        try:
            store.prepare()
            yield store
        except CorpusError:
            if root is not None and not (root / IDENTITY).exists():
                _clear(root, made)
            raise


def _hold(root: Path, held: ExitStack) -> list[Path]:
    """Makes and locks the folder of a job; returns the folders that were not there, the innermost first."""
    for _ in range(_ATTEMPTS):
        # Another job that did not begin may remove the folder between the two.
        with suppress(FileNotFoundError):
            made = _make(root)
            held.enter_context(locked(root / JOB))
            return made
    raise CorpusError(f"{root} cannot be made.")


def _make(root: Path) -> list[Path]:
    """Makes the folder of a job; returns the folders that were not there, the innermost first."""
    wanted = [root / JOB, root, *root.parents]
    missing = [path for path in wanted if not path.exists()]
    try:
        (root / JOB).mkdir(parents=True, exist_ok=True)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CorpusError(f"{root} cannot be written: {error.strerror}.") from error
    return missing


def _clear(root: Path, made: Sequence[Path]) -> None:
    """A job that did not begin leaves nothing."""
    job = root / JOB
    for path in (*job.glob("tmp/*"), *job.glob("stdin.*")):
        path.unlink(missing_ok=True)
    _remove(job / "tmp", job / "shards")
    # From here on another job may begin: what it has put there stays.
    (job / NAME).unlink(missing_ok=True)
    _remove(job, *made)


def _remove(*folders: Path) -> None:
    for folder in folders:
        with suppress(OSError):  # somebody else has put something there
            folder.rmdir()


def spooled(store: Store, inputs: Sequence[str], form: str, stream: BinaryIO | None) -> list[str]:
    """The inputs, with standard input as a file in the output folder, where a resumed job finds it again.

    Args:
        store: The output folder.
        inputs: As the user named them.
        form: The format of standard input, which becomes the end of the file's name.
        stream: Standard input; None where there is none, such as on a terminal.

    Raises:
        CorpusError: It is empty, named twice, or another text than when the job began.
    """
    if list(inputs).count(STDIN) > 1:
        raise CorpusError("standard input can be read once; found - twice.")
    if STDIN not in inputs:
        return list(inputs)
    name = f"{JOB}/stdin.{form}"
    begun = store.size(IDENTITY) is not None and store.size(name) is not None
    chunks = _chunks(stream)
    first = next(chunks, b"")
    if begun and first:
        _require_same(store, name, first, chunks)
    elif not begun:
        if not first:
            raise CorpusError("standard input is empty.")
        store.write(name, _joined(first, chunks))
    return [spool_path(store, form) if path == STDIN else path for path in inputs]


def spool_path(store: Store, form: str) -> str:
    """Where standard input is kept."""
    return f"{store.url}/{JOB}/stdin.{form}"


def _chunks(stream: BinaryIO | None) -> Iterator[bytes]:
    while stream is not None and (chunk := stream.read(_CHUNK)):
        yield chunk


def _joined(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _require_same(store: Store, name: str, first: bytes, rest: Iterator[bytes]) -> None:
    ours = hashlib.sha256()
    for chunk in _joined(first, rest):
        ours.update(chunk)
    with store.open(name) as file:
        theirs = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            theirs.update(chunk)
    if ours.digest() != theirs.digest():
        raise CorpusError(
            f"standard input is not what this job began with. Choose another folder than {store.url}, or give the "
            "same again, or nothing."
        )
