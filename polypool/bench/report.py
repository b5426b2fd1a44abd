"""Tables for a terminal: one for each tensor and direction, ourselves in bold, the rivals below."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

from rich import box
from rich.table import Table
from rich.text import Text

from polypool.bench.record import Check, Entry, Row

TITLES = {
    "pooling": "",
    "fresh": "default allocator, a fresh gradient in every step: ",
    "small": "",
    "models": "model: ",
    "elements": "scaling with the elements: ",
    "cells": "scaling with the cells: ",
}
#: So many missed targets are named again at the end.
MISSED = 30
Column = Callable[[Row, Entry], Text]

COMPARED = {"fresh": "ours / x * 2", "small": "beyond torch"}
_RATIO = "its time / ours"
MARKS = {True: ("✓", "green"), False: ("✗", "bold red")}


def tables(rows: Iterable[Row]) -> Iterator[Table]:
    """A table for each workload and direction, in the order in which the workloads come."""
    for group in groups(rows):
        yield table(group)


def groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows of each table."""
    for _, group in groupby(rows, key=place):
        listed = list(group)
        if listed[0].table in ("elements", "cells"):  # measured size by size, read operator by operator
            operators = list(dict.fromkeys(row.operator for row in listed))
            listed.sort(key=lambda row: operators.index(row.operator))
        for direction in dict.fromkeys(row.direction for row in listed):
            yield [row for row in listed if row.direction == direction]


def place(row: Row) -> tuple[str, str]:
    """What rows of one table have in common: the tensor, unless sizes are what the table is about."""
    return row.table, "" if row.table in ("elements", "cells") else row.workload


def table(rows: Sequence[Row]) -> Table:
    """The rows of one workload and direction; columns that hold nothing are left out."""
    shown = Table(
        title=Text(heading(rows[0]), style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    entries = [entry for row in rows for entry in row.entries]
    columns: dict[str, Column] = {"µs" if rows[0].table == "small" else "ms": _time}
    if any(entry.reads is not None for entry in entries):
        columns["reads"] = _reads
    if len(entries) > len(rows):
        # Small calls have a target in microseconds beyond torch, or none and are told by ratios.
        judged = any(entry.checks for entry in entries) or rows[0].table != "small"
        columns[COMPARED.get(rows[0].table, _RATIO) if judged else _RATIO] = _compared
    if any(entry.extra is not None for entry in entries):
        columns["extra MB"] = _extra
    shown.add_column("", min_width=34, no_wrap=True)
    for name in columns:
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("", overflow="fold")
    for row in rows:
        for entry in row.entries:
            who = Text(our_name(row), style="bold") if entry is row.ours else Text(f"  {entry.name}")
            if entry.status == "ok":
                cells = [column(row, entry) for column in columns.values()]
                shown.add_row(who, *cells, Text(_remark(entry), style="dim"))
            else:
                style = "bold red" if entry.status in ("wrong", "failed") else "dim"
                blanks = [Text("")] * (len(columns) - 1)
                shown.add_row(who, Text(entry.status, style=style), *blanks, Text(entry.why, style=style))
    notes = " ".join(row.note for row in rows if row.note)
    shown.caption = Text(notes, style="dim") if notes else None
    shown.caption_justify = "left"
    return shown


def heading(row: Row) -> str:
    """What a table is about."""
    lead = TITLES.get(row.table, "")
    if row.table in ("elements", "cells"):
        return f"{lead}{row.direction}"
    if not row.shape:
        return row.case
    size = " x ".join(f"{n:,}" for n in row.shape)
    cells = f", {row.cells:,} cells" if row.layout in ("packed", "nodes", "clusters") else ""
    return f"{row.direction} · {lead}{row.workload} · ({size}) {row.dtype}{cells}"


def our_name(row: Row) -> str:
    """The operator; with its size where that is what the table is about."""
    if row.table in ("elements", "cells"):
        return f"{row.operator}, {row.elements if row.table == 'elements' else row.cells:,} {row.table}"
    return row.operator


def _cell(text: str, check: Check | None) -> Text:
    """A figure with its limit and its mark, padded so that figures stay below each other."""
    if check is None:
        return Text(text + " " * 9)
    sign = "≥" if check.at_least else "≤"
    target = megabytes(check.limit) if check.figure == "extra" else limit(check.limit)
    mark, style = MARKS[check.passed]
    return Text.assemble(text, (f" {sign} {target}".ljust(7), "dim"), " ", (mark, style))


def _time(row: Row, entry: Entry) -> Text:
    return Text(duration(row, entry))


def _reads(row: Row, entry: Entry) -> Text:
    return _cell(number(entry.reads), _check(entry, "reads"))


def _extra(row: Row, entry: Entry) -> Text:
    return _cell(megabytes(entry.extra), _check(entry, "extra"))


def _compared(row: Row, entry: Entry) -> Text:
    if row.table == "fresh":
        check = _check(entry, "doublings")
        return _cell(f"{check.value:.2f}", check) if check else Text("")
    check = _check(entry, "beyond_us")
    if check is not None:
        return _cell(f"{check.value:+.1f} µs", check)
    return _cell(times(entry.faster), _check(entry, "faster"))


def _check(entry: Entry, figure: str) -> Check | None:
    return next((check for check in entry.checks if check.figure == figure), None)


def _remark(entry: Entry) -> str:
    remarks = [entry.why] if entry.why else []
    if entry.samples < 7:
        remarks.append(f"{entry.samples} sample{'s' if entry.samples > 1 else ''}")
    return ", ".join(remarks)


def duration(row: Row, entry: Entry) -> str:
    """Milliseconds; microseconds of a small call."""
    value = (entry.ms or 0.0) * (1e3 if row.table == "small" else 1)
    return f"{value:,.1f}" if value >= 100 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def limit(value: float) -> str:
    """A target."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def number(value: float | None) -> str:
    """A count of reads."""
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def times(value: float | None) -> str:
    """A ratio."""
    return "" if value is None else f"{value:,.0f}x" if value >= 100 else f"{value:.2f}x"


def megabytes(value: float | None) -> str:
    """Bytes in megabytes; one digit after the point."""
    return "" if value is None else f"{value / 1e6:,.1f}"


def summary(rows: Sequence[Row]) -> list[Text]:
    """How many targets are reached, and which are not; what of ours is wrong."""
    lines = [
        Text(f"{where(row)}: {row.ours.status}: {row.ours.why}", style="bold red") for row in broken(rows)
    ]
    checks = [(row, entry, check) for row in rows for entry in row.entries for check in entry.checks]
    if checks:
        missed = [(row, entry, check) for row, entry, check in checks if not check.passed]
        lines.append(Text(f"{len(checks) - len(missed)} of {len(checks)} targets are reached."))
        hidden, missed = len(missed) - MISSED, missed[:MISSED]
        lines += [
            Text.assemble((f"  {where(row)}: ", "dim"), said(entry, check)) for row, entry, check in missed
        ]
        if hidden > 0:
            lines.append(Text(f"  and {hidden} more, marked in the tables", style="dim"))
    lines += [Text(line) for line in growth(rows)]
    return lines


def broken(rows: Iterable[Row]) -> list[Row]:
    """The rows in which ours is wrong or failed."""
    return [row for row in rows if row.ours.status in ("wrong", "failed")]


def where(row: Row) -> str:
    """A row in one line."""
    return f"{row.case} {row.direction}".strip()


def said(entry: Entry, check: Check) -> str:
    """A check in words."""
    sign = "≥" if check.at_least else "≤"
    match check.figure:
        case "reads":
            return f"{check.value:.2f} reads, target {sign} {check.limit:.3g}"
        case "extra":
            return f"{megabytes(check.value)} MB extra, target {sign} {megabytes(check.limit)}"
        case "faster":
            return f"{times(check.value)} as fast as {entry.name}, target {sign} {check.limit:.3g}x"
        case "doublings":
            return f"{check.value:.2f} times x * 2, target {sign} {check.limit:.3g}"
        case "beyond_us":
            return f"{check.value:.1f} µs more than torch, target {sign} {check.limit:.3g}"


def growth(rows: Sequence[Row]) -> list[str]:
    """How time and memory grow with the elements, from a million on."""
    from polypool.bench.figures import slope

    lines = []
    large = [row for row in rows if row.table == "elements" and row.elements >= 10**6 and row.ours.ms]
    for operator in dict.fromkeys(row.operator for row in large):
        own = [row for row in large if row.operator == operator]
        power = slope([row.elements for row in own], [row.ours.ms or 0.0 for row in own])
        extra = [row.ours.extra for row in own if row.ours.extra is not None]
        if power is not None:
            memory = f"; extra memory {min(extra) / 1e6:.1f} to {max(extra) / 1e6:.1f} MB" if extra else ""
            lines.append(f"{operator}: time grows as elements^{power:.2f}{memory}.")
    return lines
