"""The files of a corpus of texts, by name, glob or URL: which there are, and in which format.

A row that is longer than `MAX_ROW` is not held in memory: it goes to the quarantine. So does every row that cannot be
read; a file that cannot be read as a whole is an error before anything is written.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from polypool.corpus.errors import CorpusError
from polypool.corpus.stores import JOB, file_system, is_url

#: The most bytes of one row.
MAX_ROW = 64 << 20
#: Formats by the end of a name.
SUFFIXES = {
    ".txt": "txt",
    ".text": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))


def expand(inputs: Sequence[str], out: str | None = None) -> list[str]:
    """The files of some names and globs, each once: in the order given, and sorted within a glob.

    Args:
        inputs: Paths, globs, and both as URLs of fsspec.
        out: A folder whose files are left out, but for those of its job.

    Raises:
        CorpusError: Nothing is named or matches, or a name is a folder.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> for name in ("b.txt", "a.txt"):
        ...     _ = (folder / name).write_text("text")
        >>> [pathlib.Path(path).name for path in expand([str(folder / "b.txt"), str(folder / "*.txt")])]
        ['b.txt', 'a.txt']
    """
    found: dict[str, None] = {}
    for pattern in inputs:
        found.update(dict.fromkeys(_remote(pattern) if is_url(pattern) else _local(pattern)))
    kept = [path for path in found if out is None or outside(path, out)]
    if not kept:
        raise CorpusError("there is no input; name a file, a glob, or - for standard input.")
    return kept


def outside(path: str, out: str) -> bool:
    """Whether a file is none that a job has written to its output folder `out`."""
    root = out.rstrip("/")
    return not path.startswith(f"{root}/") or path.startswith(f"{root}/{JOB}/")


def _local(pattern: str) -> list[str]:
    path = Path(pattern).expanduser()
    if path.is_dir():
        raise CorpusError(f"{pattern} is a folder; name its files, such as '{pattern.rstrip('/')}/*.jsonl'.")
    if path.exists():
        return [os.path.abspath(path)]
    if not glob.has_magic(pattern):
        raise CorpusError(f"there is no file {pattern}.")
    found = sorted(
        os.path.abspath(name) for name in glob.glob(str(path), recursive=True) if os.path.isfile(name)
    )
    if not found:
        raise CorpusError(f"no file matches {pattern}.")
    return found


def _remote(pattern: str) -> list[str]:
    fs, path = file_system(pattern)
    if not glob.has_magic(pattern):
        if not fs.isfile(path):
            raise CorpusError(f"there is no file {pattern}.")
        return [pattern]
    found = sorted(fs.unstrip_protocol(name) for name in fs.glob(path) if fs.isfile(name))
    if not found:
        raise CorpusError(f"no file matches {pattern}.")
    return found


def open_binary(path: str) -> BinaryIO:
    """A file to read: of this machine, or behind fsspec."""
    if is_url(path):
        fs, inner = file_system(path)
        return fs.open(inner, "rb")
    return open(path, "rb")


def format_of(path: str, given: str | None) -> str:
    """The format of a file.

    Raises:
        CorpusError: Its name does not say and none is given, or the one given is unknown.
    """
    if given is not None:
        if given not in FORMATS:
            raise CorpusError(f"format must be one of {', '.join(FORMATS)}; found {given!r}.")
        return given
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise CorpusError(
            f"{path} must end in {', '.join(SUFFIXES)}; or name its format: one of {', '.join(FORMATS)}."
        )
    return SUFFIXES[suffix]
