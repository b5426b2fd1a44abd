"""Ids that occur more than once, in memory that does not grow with their number.

Sixteen bytes of each id, a hash and its place, go to temporary files, split by the hash so that each file fits into
memory. What has the same hash there is compared itself.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

#: The ids of one temporary file, about.
_SHARE = 1 << 21
_ENTRY = np.dtype([("hash", "<u8"), ("place", "<i8")])


class Duplicates:
    """Collects ids, then tells which occur more than once.

    Args:
        expected: About how many ids there are.

    Example:
        >>> with Duplicates(expected=4) as seen:
        ...     seen.add(["a", "b"])
        ...     seen.add(["c", "a"])
        ...     list(seen.found(lambda place: ["a", "b", "c", "a"][place]))
        [(0, 3)]
    """

    def __init__(self, expected: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._count = 0
        self._files = [
            (Path(self._folder.name) / str(number)).open("w+b") for number in range(expected // _SHARE + 1)
        ]

    def add(self, ids: Sequence[Any] | NDArray[Any]) -> None:
        """The next ids."""
        entries = np.empty(len(ids), _ENTRY)
        entries["hash"] = _hashes(ids)
        entries["place"] = np.arange(self._count, self._count + len(ids))
        self._count += len(ids)
        homes = entries["hash"] % np.uint64(len(self._files))
        for number, file in enumerate(self._files):
            file.write(entries[homes == number].tobytes())

    def found(self, id_at: Callable[[int], object]) -> Iterator[tuple[int, int]]:
        """The places of an id's first occurrence and of each later one.

        Args:
            id_at: The id at a place; asked only where two hashes are equal.
        """
        for file in self._files:
            file.seek(0)
            entries = np.frombuffer(file.read(), _ENTRY)
            entries = entries[np.argsort(entries["hash"], kind="stable")]
            same = entries["hash"][1:] == entries["hash"][:-1]
            begin = 0
            for run in np.flatnonzero(same).tolist():
                if run < begin:
                    continue
                end = run + 1
                while end < len(entries) and entries["hash"][end] == entries["hash"][run]:
                    end += 1
                yield from _compared([int(place) for place in entries["place"][run:end]], id_at)
                begin = end

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()
        self._folder.cleanup()


def _compared(places: list[int], id_at: Callable[[int], object]) -> Iterator[tuple[int, int]]:
    first: dict[object, int] = {}
    for place in places:
        before = first.setdefault(id_at(place), place)
        if before != place:
            yield before, place


def _hashes(ids: Sequence[Any] | NDArray[Any]) -> NDArray[np.uint64]:
    if isinstance(ids, np.ndarray) and ids.dtype == np.int64:
        # Distinct numbers stay distinct; an odd factor spreads them over the files.
        return ids.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    joined = b"".join(hashlib.blake2b(str(each).encode(), digest_size=8).digest() for each in ids)
    return np.frombuffer(joined, dtype="<u8")
