"""What a section of the demo has to say, free of how it is shown: the terminal and the page read the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Table:
    """A table of words and formatted numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure, the stem of its file name, and one sentence that says what it shows."""

    name: str
    title: str
    explanation: str
    figure: Figure


@dataclass(frozen=True)
class ColoredText:
    """Words with a signed number each, shown as their colour."""

    title: str
    words: Sequence[str]
    values: Sequence[float]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """One modality: what was done, the line of code that does it, what came out, what it looks like."""

    key: str
    title: str
    intro: str
    code: str = ""
    tables: Sequence[Table] = ()
    facts: Sequence[str] = ()
    texts: Sequence[ColoredText] = ()
    pictures: Sequence[Picture] = ()
