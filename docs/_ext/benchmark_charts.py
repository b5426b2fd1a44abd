"""The charts of the benchmark page: every contestant a mark, one read of the input a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from polypool.bench.record import Entry, Results, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The tensors of the charts; all others are in the tables.
SHOWN = {
    "packed": "Packed rows, cells of about 200",
    "tokens": "Tokens, 58 % real",
    "grid-56": "Grid, 56 x 56",
    "grid-7": "Grid, 7 x 7",
}
DIRECTIONS = ("forward", "forward + backward")

OURS = "polypool"
#: By the beginning of a rival's name: what the legend says, the colour and the mark. The last is for all others.
KINDS = (
    (OURS, OURS, "#d55e00", "o"),
    ("PyG", "PyTorch Geometric", "#0072b2", "s"),
    ("sentence-transformers", "sentence-transformers", "#009e73", "^"),
    ("timm", "timm", "#cc79a7", "v"),
    ("", "torch", "#777777", "D"),
)

Drawn = dict[str, list[tuple[str, str]]]


def charts(found: Mapping[str, Results], folder: Path) -> Drawn:
    """Draws what the results hold; the names of the files with their titles, by suite."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.svg"):
        stale.unlink()
    drawn: Drawn = {}
    for suite, results in found.items():
        figures = {"ops": _ops, "models": _models, "scaling": _scaling}[suite](results.rows)
        drawn[suite] = []
        for name, title, figure in figures:
            # The same results give the same file.
            with mpl.rc_context({"svg.hashsalt": name, "font.size": 9}):
                figure.savefig(folder / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
            drawn[suite].append((f"{name}.svg", title))
    return drawn


def kind(name: str) -> tuple[str, str, str]:
    """The label, colour and mark of a contestant."""
    return next((label, color, mark) for start, label, color, mark in KINDS if name.startswith(start))


def _ops(rows: Sequence[Row]) -> list[tuple[str, str, Figure]]:
    figures = []
    for name, title in SHOWN.items():
        own = [row for row in rows if row.table == "pooling" and row.case.startswith(f"{name}/")]
        if own:
            figures.append((f"ops-{name}", f"{title}: reads of the input", _reads(own, title)))
    return figures


def _reads(rows: Sequence[Row], title: str) -> Figure:
    """A line for each operator, by our own reads; forward on the left, forward and backward on the right."""
    forward = [row for row in rows if row.direction == "forward"]
    operators = [row.operator for row in sorted(forward, key=lambda row: row.ours.reads or 0.0, reverse=True)]
    figure = Figure(figsize=(10, 1.6 + 0.27 * len(operators)), facecolor="white", layout="constrained")
    panels = figure.subplots(1, len(DIRECTIONS), sharey=True)
    for ax, direction in zip(panels, DIRECTIONS, strict=True):
        ax.axvline(1, color="black", linewidth=0.8)
        for row in rows:
            if row.direction == direction and row.operator in operators:
                _marks(ax, row.entries, operators.index(row.operator))
                _targets(ax, row, operators.index(row.operator))
        ax.set_xscale("log")
        ax.set_title(direction)
        ax.set_xlabel("reads of the input (line: one)")
        ax.grid(axis="x", linewidth=0.3)
        ax.set_axisbelow(True)
    panels[0].set_yticks(range(len(operators)), operators)
    _legend(figure, rows)
    figure.suptitle(title)
    return figure


def _marks(ax: Axes, entries: Iterable[Entry], height: float) -> None:
    for place, entry in enumerate(entries):
        if entry.reads is not None:
            _, color, mark = kind(OURS if place == 0 else entry.name)
            ax.plot(
                entry.reads,
                height,
                mark,
                color=color,
                markersize=6 if place == 0 else 4.5,
                zorder=3 - place / 9,
            )


def _targets(ax: Axes, row: Row, height: float) -> None:
    for check in row.ours.checks:
        if check.figure == "reads":
            ax.plot(
                [check.limit] * 2, [height - 0.35, height + 0.35], color="#d55e00", linewidth=1, alpha=0.6
            )


def _legend(figure: Figure, rows: Sequence[Row]) -> None:
    from matplotlib.lines import Line2D

    names = {kind(OURS)} | {kind(e.name) for row in rows for e in row.entries[1:] if e.reads is not None}
    order = [(label, color, mark) for _, label, color, mark in KINDS if (label, color, mark) in names]
    handles = [
        Line2D([], [], linestyle="", marker=mark, color=color, label=label) for label, color, mark in order
    ]
    if any(check.figure == "reads" for row in rows for check in row.ours.checks):
        handles.append(Line2D([], [], color="#d55e00", alpha=0.6, label="target"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)


def _models(rows: Sequence[Row]) -> list[tuple[str, str, Figure]]:
    lines = [(row, entry) for row in rows for entry in row.entries if entry.ms is not None]
    if not lines:
        return []
    figure = Figure(figsize=(10, 1.0 + 0.27 * len(lines)), facecolor="white", layout="constrained")
    ax = figure.subplots()
    labels = []
    for height, (row, entry) in enumerate(lines):
        ms = entry.ms or 0.0
        _, color, mark = kind(OURS if entry is row.ours else entry.name)
        ax.plot(ms, height, mark, color=color)
        said = f"{ms:,.0f} ms" if ms >= 100 else f"{ms:.3g} ms"
        ax.annotate(said, (ms, height), xytext=(8, 0), textcoords="offset points", va="center", fontsize=8)
        labels.append(f"{row.operator}, {row.workload}: {entry.name}" if entry is row.ours else entry.name)
    ax.set_yticks(range(len(lines)), labels)
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.margins(x=0.15)
    ax.set_xlabel("ms a step")
    ax.grid(axis="x", linewidth=0.3)
    return [("models", "Models: milliseconds a step", figure)]


def _scaling(rows: Sequence[Row]) -> list[tuple[str, str, Figure]]:
    figures = []
    for table in ("elements", "cells"):
        own = [row for row in rows if row.table == table and row.ours.ms is not None]
        if own:
            title = f"Time and extra memory against the number of {table}"
            figures.append((f"scaling-{table}", title, _lines(own, table)))
    return figures


def _lines(rows: Sequence[Row], table: str) -> Figure:
    figure = Figure(figsize=(10, 3.6), facecolor="white", layout="constrained")
    times, memory = figure.subplots(1, 2)

    def size(row: Row) -> int:
        return row.elements if table == "elements" else row.cells

    for operator in dict.fromkeys(row.operator for row in rows):
        own = sorted((row for row in rows if row.operator == operator), key=size)
        times.plot(
            [size(row) for row in own], [row.ours.ms for row in own], "o-", markersize=3, label=operator
        )
        known = [row for row in own if row.ours.extra is not None]
        memory.plot(
            [size(row) for row in known], [(row.ours.extra or 0) / 1e6 for row in known], "o-", markersize=3
        )
    reads = {size(row): row.read_ms for row in rows if row.read_ms is not None}
    times.plot(
        sorted(reads), [reads[n] for n in sorted(reads)], color="black", linewidth=0.8, label="one read"
    )
    times.set_yscale("log")
    memory.set_yscale("symlog", linthresh=1.0)
    for ax, what in ((times, "ms"), (memory, "extra memory, MB")):
        ax.set_xscale("log")
        ax.set_xlabel(table)
        ax.set_ylabel(what)
        ax.grid(linewidth=0.3)
    times.legend(frameon=False, fontsize=8)
    return figure
