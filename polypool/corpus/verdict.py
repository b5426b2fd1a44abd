"""What `verify` found, in words and as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """Something that is not as it was written, or as it must be.

    Attributes:
        what: The kind: `manifest`, `missing`, `unexpected`, `checksum`, `unreadable`, `columns`, `counts`,
            `not finite`, `flag`, `duplicate id`, `quarantine`, `another id`, `another vector`.
        message: In words.
        file: In which file.
        row: In which row of the file, from 0.
        id: Of that row.
    """

    what: str
    message: str
    file: str | None = None
    row: int | None = None
    id: str | int | None = None

    def __str__(self) -> str:
        place = "" if self.file is None else self.file
        place += "" if self.row is None else f", row {self.row}"
        place += "" if self.id is None else f" (id {self.id!r})"
        return f"{place}: {self.what}: {self.message}" if place else f"{self.what}: {self.message}"


@dataclass(frozen=True)
class Verdict:
    """What `verify` found.

    Attributes:
        out: The folder.
        problems: What is wrong.
        rows: The rows that were looked at.
        shards: The files that were looked at.
        encoded_again: How many rows were encoded again and compared.
        not_checked: What could not be checked here, and why.
    """

    out: str
    problems: tuple[Problem, ...]
    rows: int
    shards: int
    encoded_again: int
    not_checked: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """Plain data for machines."""
        return {"ok": self.ok, **asdict(self)}
