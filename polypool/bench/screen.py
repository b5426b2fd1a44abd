"""A run as the user sees it: progress, tables as they are complete, warnings, and the results as a whole."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from polypool.bench import contention, report, runner
from polypool.bench.machine import machine, versions
from polypool.bench.record import Results, Row
from polypool.bench.suites import Case
from polypool.bench.worker import Request


class Screen:
    """Runs cases and shows what they yield.

    Args:
        console: Where everything is printed.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.rows: list[Row] = []
        self.warnings: list[str] = []
        self.facts: dict[str, Any] = {}
        self._pending: list[Row] = []

    def run(self, request: Request, cases: list[Case], force: str | None = None) -> Results:
        """Measures the cases in workers."""
        started, begun = datetime.now(UTC).isoformat(timespec="seconds"), monotonic()
        where, what = machine(), versions()
        self._introduce(where, what)
        for said in contention.before_the_start(contention.load(), os.cpu_count() or 1):
            self._warn(said)
        # Drawn seldom: what is measured needs the cores.
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True, refresh_per_second=1) as progress:
            task = progress.add_task("starting", total=len(cases))
            done = -1
            for event in runner.run(request, cases, force):
                if event.start is not None:
                    done += 1
                    progress.update(task, description=event.start, completed=done)
                elif event.row is not None:
                    self._take(event.row)
                elif event.facts is not None:
                    self._note(event.facts)
                elif event.warning is not None:
                    self._warn(event.warning)
        self._show_pending()
        self._conclude()
        settings = {k: v for k, v in asdict(request).items() if k not in ("suite", "names")}
        return Results(
            suite=request.suite,
            started=started,
            seconds=round(monotonic() - begun, 1),
            machine=where,
            versions=what,
            settings={
                **settings,
                "threads": self.facts.get("threads"),
                "in_force": self.facts.get("kernels"),
            },
            warnings=tuple(self.warnings),
            rows=tuple(self.rows),
        )

    def _introduce(self, where: dict[str, Any], what: dict[str, str | None]) -> None:
        lines = [
            f"{where['cpu']}, {where['usable_cores']} cores, {where['vector']}, caches {where['cache'] or 'unknown'}",
            ", ".join(f"{name} {version}" for name, version in what.items() if version is not None),
        ]
        absent = [name for name, version in what.items() if version is None]
        if absent:
            lines.append(f"not installed: {', '.join(absent)}")
        for line in lines:
            self.console.print(Text(line, style="dim"))

    def _note(self, facts: dict[str, Any]) -> None:
        if facts["allocator"] != self.facts.get("allocator"):
            self._show_pending()
            kept = {"warm": "keeps freed memory", "default": "gives freed memory back"}[facts["allocator"]]
            said = f"{facts['threads']} threads; our side is {facts['kernels']}; the allocator {kept}"
            self.console.print(Text(f"{said} ({facts['allocator']})", style="dim"))
        if facts["allocator"] != facts["asked"]:
            self._warn(
                f"malloc was told to be {facts['asked']} and is {facts['allocator']}: it is not glibc's. Figures of "
                "gradients are not those that the targets speak of."
            )
        self.facts = facts

    def _take(self, row: Row) -> None:
        if self._pending and report.place(row) != report.place(self._pending[0]):
            self._show_pending()
        self._pending.append(row)
        self.rows.append(row)

    def _show_pending(self) -> None:
        for table in report.tables(self._pending):
            self.console.print(table)
        self._pending = []

    def _warn(self, said: str) -> None:
        if said not in self.warnings:
            self.warnings.append(said)
            self.console.print(Text(f"Warning: {said}", style="yellow"))

    def _conclude(self) -> None:
        for line in report.summary(self.rows):
            self.console.print(line)
        timed = [row for row in self.rows if row.read_ms is not None and _bytes(row) > 32 << 20]
        warnings = contention.afterwards(
            [row.others for row in self.rows if row.others is not None],
            [row.read_spread for row in timed if row.read_spread is not None],
            [(_bytes(row), row.read_ms) for row in timed if row.read_ms is not None],
        )
        for said in warnings:
            self._warn(said)


def _bytes(row: Row) -> int:
    return row.elements * {"float64": 8, "float32": 4}.get(row.dtype, 2)
