"""Texts in files of lines: one text a line, or one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

from polypool.corpus.adapter import Mark, Row, Source, Unreadable
from polypool.corpus.errors import CorpusError
from polypool.corpus.inputs import MAX_ROW, open_binary

BOM = b"\xef\xbb\xbf"
_CHUNK = 1 << 20
TOO_LONG = f"longer than {MAX_ROW >> 20} MiB"


def physical_lines(
    file: BinaryIO, offset: int = 0, number: int = 1, update: Callable[[bytes], object] | None = None
) -> Iterator[tuple[int, int, bytes | None]]:
    """Each line with its offset and its number; None for one that is too long to be held.

    Args:
        file: Open at `offset`.
        offset: Where the first line begins.
        number: That of the first line, counted from 1.
        update: Is given every byte.
    """
    while line := file.readline(MAX_ROW + 1):
        size = len(line)
        if update is not None:
            update(line)
        shown: bytes | None = line
        if size > MAX_ROW and not line.endswith(b"\n"):
            shown = None
            while rest := file.readline(_CHUNK):
                size += len(rest)
                if update is not None:
                    update(rest)
                if rest.endswith(b"\n"):
                    break
        elif offset == 0 and line.startswith(BOM):
            shown = line[len(BOM) :]
        yield offset, number, shown
        offset += size
        number += 1


@dataclass(frozen=True)
class Lines(Source):
    """A text a line; an empty line is an empty text. The id of a text is its number.

    Attributes:
        name: The path or URL.
    """

    name: str
    id_type = "int64"

    def scan(self, update: Callable[[bytes], object]) -> Iterator[Mark]:
        with open_binary(self.name) as file:
            for offset, number, _ in physical_lines(file, update=update):
                yield [offset, number]

    def read(self, mark: Mark, count: int) -> Iterator[Row | Unreadable]:
        with open_binary(self.name) as file:
            file.seek(mark[0])
            for _, number, line in islice(physical_lines(file, *mark), count):
                position = f"line {number}"
                try:
                    text = decoded(line).rstrip("\r\n")
                except ValueError as error:
                    yield Unreadable(position, str(error))
                else:
                    yield Row(text, position, len(line or b""))


@dataclass(frozen=True)
class JsonLines(Source):
    """A JSON object a line. Blank lines are no rows.

    Attributes:
        name: The path or URL.
        text_column: The key of the text.
        id_column: The key of the id, a string or an integer; None where the number of the row is its id.
    """

    name: str
    text_column: str
    id_column: str | None = None

    @property
    def id_type(self) -> str:
        """Ids of JSON are strings, also where some are written as numbers."""
        return "int64" if self.id_column is None else "string"

    def scan(self, update: Callable[[bytes], object]) -> Iterator[Mark]:
        checked, reason = False, "it has no lines"
        with open_binary(self.name) as file:
            for offset, number, line in physical_lines(file, update=update):
                if line is not None and not line.strip():
                    continue
                if not checked:
                    try:
                        self._check(_object(line), number)
                        checked = True
                    except CorpusError:
                        raise
                    except ValueError as error:
                        reason = f"line {number} is {error}" if reason == "it has no lines" else reason
                yield [offset, number]
        if not checked and reason != "it has no lines":
            raise CorpusError(f"{self.name} must hold one JSON object a line; found none: {reason}.")

    def _check(self, found: dict[str, Any], number: int) -> None:
        """The first object decides whether the columns exist; a later one without them goes to the quarantine."""
        for column in filter(None, (self.text_column, self.id_column)):
            if column not in found:
                raise CorpusError(
                    f"{self.name} has no column {column!r}; line {number} has {', '.join(found)}."
                )
        if not isinstance(found[self.text_column], str):
            kind = type(found[self.text_column]).__name__
            raise CorpusError(
                f"column {self.text_column!r} of {self.name} must hold strings; line {number} has a {kind}."
            )

    def read(self, mark: Mark, count: int) -> Iterator[Row | Unreadable]:
        with open_binary(self.name) as file:
            file.seek(mark[0])
            lines = (found for found in physical_lines(file, *mark) if found[2] is None or found[2].strip())
            for _, number, line in islice(lines, count):
                yield self._row(line, f"line {number}")

    def _row(self, line: bytes | None, position: str) -> Row | Unreadable:
        own = None
        try:
            found = _object(line)
            if self.id_column is not None:
                own = name_of(found.get(self.id_column))
            return Row(text_of(found, self.text_column), position, len(line or b""), own)
        except ValueError as error:
            return Unreadable(position, str(error), own)


def decoded(line: bytes | None) -> str:
    """The text of a line.

    Raises:
        ValueError: It is too long, or no UTF-8.
    """
    if line is None:
        raise ValueError(TOO_LONG)
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"invalid UTF-8: byte {error.start} is 0x{line[error.start]:02x}") from None


def _object(line: bytes | None) -> dict[str, Any]:
    text = decoded(line)
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("no JSON that can be read: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"no JSON object: a {type(found).__name__}")
    return found


def text_of(found: dict[str, Any], column: str) -> str:
    """The text of a row.

    Raises:
        ValueError: There is none, or it is no text.
    """
    if column not in found:
        raise ValueError(f"no column {column!r}")
    value = found[column]
    if not isinstance(value, str):
        raise ValueError(
            f"column {column!r} must be a string; found {'null' if value is None else type(value).__name__}"
        )
    require_unicode(value)
    return value


def require_unicode(text: str) -> None:
    """Refuses a text that no tokenizer can read.

    Raises:
        ValueError: It holds half of a surrogate pair.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"half of a surrogate pair at character {error.start}") from None


def name_of(value: object) -> str:
    """The id of a row, which is a string or an integer.

    Raises:
        ValueError: It is something else, or missing.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(
            f"the id must be a string or an integer; found {'none' if value is None else type(value).__name__}"
        )
    found = str(value)
    require_unicode(found)
    return found
