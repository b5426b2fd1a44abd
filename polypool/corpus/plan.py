"""Which rows make shard i: a pure function of the input and of the number of rows in a shard.

Shard i holds the rows `i * shard_rows` up to `(i + 1) * shard_rows` of the input in reading order, whatever file they
are in. The plan is made by reading the input once, hashing it on the way; it is not stored, because making it again
gives the same, or shows that the input has changed. It holds one place for each shard, not for each row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from polypool.corpus.adapter import Mark, Row, Source, Unreadable
from polypool.corpus.errors import CorpusError


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows of one source that stand together.

    Attributes:
        source: Its place among the sources.
        mark: Where the first row is.
        rows: How many there are.
    """

    source: int
    mark: Mark
    rows: int


@dataclass(frozen=True, slots=True)
class Shard:
    """The rows of one shard.

    Attributes:
        number: Which, from 0.
        first_row: The number of its first row in the corpus.
        segments: Where its rows are.
    """

    number: int
    first_row: int
    segments: tuple[Segment, ...]

    @property
    def rows(self) -> int:
        """How many rows it takes from the input."""
        return sum(segment.rows for segment in self.segments)


@dataclass(frozen=True, slots=True)
class InputFile:
    """A source as it was when it was read.

    Attributes:
        name: Its path.
        rows: How many rows it has.
        sha256: Of what it holds.
    """

    name: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Plan:
    """All shards of a corpus.

    Attributes:
        shard_rows: The most rows of a shard.
        files: The input.
        shards: In order.
    """

    shard_rows: int
    files: tuple[InputFile, ...]
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        """All rows of the input."""
        return sum(file.rows for file in self.files)

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it the same plan: the contents of the files in their order, and not where they lie."""
        return {
            "shard_rows": self.shard_rows,
            "files": [{"rows": file.rows, "sha256": file.sha256} for file in self.files],
        }

    @property
    def sha256(self) -> str:
        """One hash of all that."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()


def make_plan(sources: Sequence[Source], shard_rows: int, each: Callable[[int], None] | None = None) -> Plan:
    r"""Reads the input once.

    Args:
        sources: In reading order.
        shard_rows: The most rows of a shard, at least 1.
        each: Called with the rows found so far, now and then.

    Raises:
        CorpusError: A source is empty or broken as a whole, or cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> from polypool.corpus.lines import Lines
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "five.txt"
        >>> _ = file.write_text("one\ntwo\nthree\nfour\nfive\n")
        >>> plan = make_plan([Lines(str(file))], shard_rows=2)
        >>> [(shard.first_row, shard.rows) for shard in plan.shards]
        [(0, 2), (2, 2), (4, 1)]
    """
    if not sources:
        raise CorpusError("there is no input; name a file.")
    files: list[InputFile] = []
    shards: list[list[Segment]] = []
    total = 0
    for place, source in enumerate(sources):
        digest = hashlib.sha256()
        count, begin, mark = 0, 0, None
        try:
            for found in source.scan(digest.update):
                starts = (total + count) % shard_rows == 0
                if starts or count == 0:
                    if count:
                        shards[-1].append(Segment(place, mark, count - begin))
                    if starts:
                        shards.append([])
                    begin, mark = count, found
                    if each is not None:
                        each(total + count)
                count += 1
        except OSError as error:
            raise CorpusError(f"{source.name} cannot be read: {error.strerror or error}.") from error
        if not count:
            raise CorpusError(f"{source.name} is empty: it has no rows.")
        shards[-1].append(Segment(place, mark, count - begin))
        files.append(InputFile(source.name, count, digest.hexdigest()))
        total += count
    return Plan(
        shard_rows,
        tuple(files),
        tuple(Shard(number, number * shard_rows, tuple(own)) for number, own in enumerate(shards)),
    )


def read_shard(sources: Sequence[Source], shard: Shard) -> Iterator[tuple[str, Row | Unreadable]]:
    """The rows of a shard in reading order, each with the name of its source."""
    for segment in shard.segments:
        source = sources[segment.source]
        found = 0
        for row in source.read(segment.mark, segment.rows):
            found += 1
            yield source.name, row
        # A source that became shorter since it was planned must not silently lose rows.
        if found != segment.rows:
            raise OSError(f"{source.name} has changed while it was read: {found} rows of {segment.rows}")
