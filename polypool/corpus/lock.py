"""One job for one folder.

The lock belongs to the open file and not to its existence, so that it is free as soon as its job is gone, however it
ended. Behind fsspec there is no such lock. Two jobs on one remote folder do the same work twice and write the same
files: a shard is a pure function of the plan.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from polypool.corpus.errors import CorpusError

NAME = "lock"


@contextmanager
def locked(folder: Path | None) -> Iterator[None]:
    """Holds the lock of a folder inside the block.

    Args:
        folder: Where the lock lies; None where there can be none.

    Raises:
        CorpusError: Another job holds it.
    """
    if folder is None:
        yield
        return
    handle = _held(folder / NAME)
    try:
        yield
    finally:
        os.close(handle)


def _held(path: Path) -> int:
    import fcntl

    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(handle, 32).decode("ascii", "replace").strip()
            os.close(handle)
            if not isinstance(error, BlockingIOError):
                raise CorpusError(f"{path} cannot be locked: {error.strerror}.") from error
            raise CorpusError(
                f"another job{f' (process {owner})' if owner else ''} is writing to {path.parents[1]}. Wait for it, "
                "or choose another folder."
            ) from None
        # A job that failed at its start removes the file: then the lock is on nothing that others see.
        if _same(handle, path):
            with suppress(OSError):  # whose it is helps people; on a full disk it is not known
                os.ftruncate(handle, 0)
                os.write(handle, str(os.getpid()).encode())
            return handle
        os.close(handle)


def _same(handle: int, path: Path) -> bool:
    try:
        return os.fstat(handle).st_ino == os.stat(path).st_ino
    except FileNotFoundError:
        return False
