"""The sections as rich text on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from polypool.demo import style

if TYPE_CHECKING:
    from rich.console import Console

    from polypool.demo.report import ColoredText, Section, Table


def show(section: Section, console: Console) -> None:
    """Print one section: its introduction, its tables, what was measured, and the coloured text."""
    console.print()
    console.rule(Text(section.title, style="bold"), align="left")
    console.print(Text(section.intro))
    if section.code:
        console.print(Text(f"\n    {section.code}", style="cyan"))
    for table in section.tables:
        console.print()
        console.print(_table(table))
        if table.note:
            console.print(Text(table.note, style="dim"))
    for text in section.texts:
        console.print()
        console.print(Text(text.title, style="bold"))
        console.print(_colored(text))
        console.print(Text(text.note, style="dim"))
    for fact in section.facts:
        console.print(Text(f"\n{fact}"))


def _table(table: Table) -> RichTable:
    # Text, not str: a cell such as "[CLS]" is no markup
    shown = RichTable(title=Text(table.title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
    for i, column in enumerate(table.columns):
        numeric = all(row[i][:1] in set("0123456789+-") for row in table.rows)
        shown.add_column(Text(column), justify="right" if numeric else "left")
    for row in table.rows:
        shown.add_row(*map(Text, row))
    return shown


def _colored(text: ColoredText) -> Text:
    line = Text()
    for word, value, shade in zip(text.words, text.values, style.shades(text.values), strict=True):
        line.append(f" {word} ", style=f"{style.INK} on rgb({','.join(map(str, shade))})")
        line.append(f"{value:+.3f} ", style="dim")
    return line
