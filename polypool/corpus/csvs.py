"""Texts in a column of a CSV file.

Quoted fields may hold line breaks, so that a record is not a line. What is not clearly a record, such as a quote that
is never closed, is not guessed at: its first line goes to the quarantine, and reading goes on with the next line, so
that a stray quote does not swallow the rows behind it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from polypool.corpus.adapter import Mark, Row, Source, Unreadable
from polypool.corpus.errors import CorpusError
from polypool.corpus.inputs import MAX_ROW, open_binary
from polypool.corpus.lines import TOO_LONG, physical_lines


class _Endless(Exception):
    """A record does not end where one must."""


class _Feed:
    """The lines that `csv` asks for, with the place of the next one."""

    def __init__(
        self, file: BinaryIO, offset: int, number: int, update: Callable[[bytes], object] | None
    ) -> None:
        self._file = file
        self._update = update
        self._seen = offset  # up to here everything was hashed
        self.offset, self.number = offset, number
        self._go(offset, number)
        self.begin()

    def begin(self) -> None:
        """The next line is the first one of a record."""
        self.first: tuple[int, int] | None = None  # where the record's second line begins
        self._start = self.offset

    def back(self) -> None:
        """Goes on behind the first line of the record."""
        if self.first is not None:
            self._go(*self.first)

    def _go(self, offset: int, number: int) -> None:
        self._file.seek(offset)
        self.offset, self.number = offset, number
        self._lines = physical_lines(self._file, offset, number, self._hash)
        self._read = offset

    def _hash(self, data: bytes) -> None:
        end = self._read + len(data)
        if self._update is not None and end > self._seen:
            self._update(data[max(self._seen - self._read, 0) :])
            self._seen = end
        self._read = end

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        _, number, line = next(self._lines)
        self.offset, self.number = self._read, number + 1
        if self.first is None:
            self.first = (self.offset, self.number)
        if line is None or self.offset - self._start > MAX_ROW:
            raise _Endless
        return line.decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Record:
    """A record, or why there is none.

    Attributes:
        offset: Where it begins.
        number: Its first line, counted from 1.
        fields: What it holds.
        reason: Why it cannot be read; then there are no fields.
    """

    offset: int
    number: int
    fields: list[str]
    reason: str | None = None
    size: int = 0


def records(
    file: BinaryIO,
    delimiter: str,
    offset: int = 0,
    number: int = 1,
    update: Callable[[bytes], object] | None = None,
) -> Iterator[Record]:
    """The records of a file from an offset on; blank lines are none."""
    if csv.field_size_limit() < MAX_ROW:
        csv.field_size_limit(MAX_ROW)
    feed = _Feed(file, offset, number, update)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        feed.begin()
        start, line = feed.offset, feed.number
        try:
            fields = next(reader)
        except StopIteration:
            return
        except (csv.Error, _Endless) as error:
            multiple = feed.first is not None and feed.first[0] != feed.offset
            reason = str(error)
            if isinstance(error, _Endless):
                reason = TOO_LONG
            if multiple or "unexpected end" in reason:
                reason = f"not a CSV record, is a quote not closed? ({reason})"
            feed.back()
            reader = csv.reader(feed, delimiter=delimiter, strict=True)
            yield Record(start, line, [], reason)
        else:
            if fields:
                yield Record(start, line, fields, size=feed.offset - start)


@dataclass(frozen=True)
class Csv(Source):
    """A record with a text, under a header.

    Attributes:
        name: The path or URL.
        text_column: The header of the texts.
        id_column: The header of the ids; None where the number of the row is its id.
        delimiter: Between fields.
    """

    name: str
    text_column: str
    id_column: str | None = None
    delimiter: str = ","

    @property
    def id_type(self) -> str:
        """Ids are strings, as they are written."""
        return "int64" if self.id_column is None else "string"

    def scan(self, update: Callable[[bytes], object]) -> Iterator[Mark]:
        with open_binary(self.name) as file:
            rows = records(file, self.delimiter, update=update)
            self._columns(next(rows, None))
            for record in rows:
                yield [record.offset, record.number]

    def read(self, mark: Mark, count: int) -> Iterator[Row | Unreadable]:
        with open_binary(self.name) as file:
            text, own, width = self._columns(next(records(file, self.delimiter), None))
            for record in islice(records(file, self.delimiter, *mark), count):
                yield self._row(record, text, own, width)

    def _columns(self, header: Record | None) -> tuple[int, int | None, int]:
        """The places of the columns, and how many there are."""
        if header is None:
            raise CorpusError(f"{self.name} is empty: it has no header.")
        if header.reason is not None:
            raise CorpusError(f"the header of {self.name} cannot be read: {header.reason}.")
        names = header.fields
        for column in filter(None, (self.text_column, self.id_column)):
            if names.count(column) != 1:
                how = "no column" if column not in names else "more than one column"
                shown = ", ".join(name.encode("utf-8", "replace").decode() for name in names[:20])
                raise CorpusError(f"{self.name} has {how} {column!r}; it has {shown}.")
        own = None if self.id_column is None else names.index(self.id_column)
        return names.index(self.text_column), own, len(names)

    def _row(self, record: Record, text: int, own: int | None, width: int) -> Row | Unreadable:
        position = f"line {record.number}"
        if record.reason is not None:
            return Unreadable(position, record.reason)
        name = None
        try:
            if len(record.fields) != width:
                raise ValueError(f"{len(record.fields)} fields under a header of {width}")
            if own is not None:
                name = _field(record.fields[own], self.id_column)
            return Row(_field(record.fields[text], self.text_column), position, record.size, name)
        except ValueError as error:
            return Unreadable(position, str(error), name)


def _field(value: str, column: str | None) -> str:
    """A field, whose bytes must have been UTF-8."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        byte = ord(value[error.start]) & 0xFF
        raise ValueError(
            f"invalid UTF-8 in column {column!r}: character {error.start} is byte 0x{byte:02x}"
        ) from None
    return value
