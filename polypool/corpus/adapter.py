"""The interface of a kind of data: how rows are found, read and encoded.

A user's own kind is a class derived from `Adapter`, named as `--kind module:Class`. What it has to promise:

1. `sources(inputs)` names the pieces of the input (files, folders), in reading order, and refuses what it cannot read.
   A `Source` is scanned once by the parent, which learns the place of each row (`scan` yields one mark for each row)
   and hashes what it reads; workers then `read` from the mark of a shard's first row on. A mark is whatever finds
   the row again quickly: an offset, a row number, a tuple of both. It must be plain data (numbers, strings, tuples).
2. `read` yields exactly one `Row` or `Unreadable` for each row, in the order of the marks. It never raises because
   of what a row holds: that row is `Unreadable`, with the reason.
3. `encode` is a pure function of the list it is given, so that a shard comes out the same anywhere. A row that cannot
   be encoded is named in `Encoded.failed`, or raises: the rows are then tried in halves, and the one that raises alone
   goes to the quarantine.
4. `settings` are plain data from which `type(self)(**settings)` makes the same adapter; workers do so, and the manifest
   keeps them. `fingerprint` says what the vectors depend on besides: hashes of weights, versions of code.

Adapters are made in the parent and in every worker; the model is loaded by `load` alone, once in each worker.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: The place of a row in a source: plain data that JSON can hold.
Mark: TypeAlias = Any
#: Called with so many more rows and tokens that went through the model; only the progress bar looks at it.
Tick: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Row:
    """A row that could be read.

    Attributes:
        content: What `Adapter.encode` takes.
        position: Where it is in its source, for people: `"line 12"`.
        size: About how many bytes it holds in memory; rows are encoded together up to `Adapter.window_bytes`.
        id: Its name; its number in the corpus when None.
    """

    content: Any
    position: str
    size: int
    id: str | int | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that could not be read, or not encoded. It goes to the quarantine.

    Attributes:
        position: Where it is in its source, for people.
        reason: What is wrong with it, in one line.
        id: Its name, where that much could be read.
    """

    position: str
    reason: str
    id: str | int | None = None


class Source(ABC):
    """A piece of the input: a file, a folder. It is pickled and sent to workers, and holds no open file.

    Attributes:
        name: What users call it: a path.
    """

    name: str

    @abstractmethod
    def scan(self, update: Callable[[bytes], object]) -> Iterator[Mark]:
        """The mark of each row, in reading order, in bounded memory.

        Args:
            update: Of a hash: to be given everything that the rows depend on, in a fixed order.

        Raises:
            CorpusError: It is empty, or is not what it should be as a whole.
        """

    @abstractmethod
    def read(self, mark: Mark, count: int) -> Iterator[Row | Unreadable]:
        """`count` rows from the one at `mark` on.

        Raises:
            OSError: The source is gone.
        """


@dataclass(frozen=True)
class Encoded:
    """The vectors of some rows.

    Attributes:
        vectors: `(n, dimension)`, float32.
        tokens: `(n,)`: how many elements (tokens, positions, nodes) each vector was pooled from.
        truncated: `(n,)` bool: whether a part of the row was not read.
        failed: Why a row could not be encoded, by its place; its vector is not looked at.
    """

    vectors: NDArray[np.float32]
    tokens: NDArray[np.int64]
    truncated: NDArray[np.bool_]
    failed: dict[int, str] = field(default_factory=dict)


class Adapter(ABC):
    """A kind of data: finds rows, reads them, and makes vectors of them.

    Args of a subclass are its settings, by name; those that are not given keep their defaults, and an unknown one is an
    error of the job that lists them. One of them is `model`.

    Attributes:
        window_rows: The most rows that `encode` is given at once; at most a shard.
        window_bytes: The most bytes of rows, by `Row.size`, that `encode` is given at once, but always one row.
        packages: What else than polypool, torch and numpy makes the vectors, by the names that pip knows. The manifest
            keeps the versions of those that are installed.
        id_type: `"string"`, or `"int64"` where ids are integers or row numbers. Known after `sources`.
        out: The output folder, set before `sources` is called. A glob may reach into it; what lies there, but for its
            `_job`, is no input.
    """

    window_rows: ClassVar[int] = 8192
    window_bytes: ClassVar[int] = 16 << 20
    packages: ClassVar[tuple[str, ...]] = ()
    id_type: Literal["string", "int64"] = "int64"
    out: str | None = None

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """All settings, as plain data: `type(self)(**settings)` is the same adapter."""

    @abstractmethod
    def sources(self, inputs: Sequence[str]) -> list[Source]:
        """The pieces of the input, in reading order.

        Args:
            inputs: What the user named: paths, globs, URLs of fsspec; `-` has become the file that holds it.

        Raises:
            CorpusError: There is no such file, or it cannot hold such rows.
        """

    @abstractmethod
    def load(self, device: str) -> None:
        """Loads the model; `encode`, `dimension` and `fingerprint` come after it.

        Args:
            device: Such as `"cpu"` or `"cuda"`.

        Raises:
            CorpusError: It does not load.
        """

    @property
    @abstractmethod
    def dimension(self) -> int:
        """The size of the vectors."""

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """What the vectors depend on besides the settings, as plain data: hashes of the model's files above all.

        It must be the same on every machine that has the same model, so it holds no paths.
        """

    @abstractmethod
    def encode(self, rows: Sequence[Any], tick: Tick) -> Encoded:
        """The vectors of some rows: a pure function of their contents, of the settings and of the model.

        Args:
            rows: Contents of rows, at most `window_rows`.
            tick: To be called as rows are done.
        """


def no_tick(rows: int, tokens: int) -> None:
    """Nobody looks."""
