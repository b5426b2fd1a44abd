"""Runs a suite: one worker process for each kind of allocator, and another one if that dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import IO, Any

from polypool.bench import allocator
from polypool.bench.record import Row, parse
from polypool.bench.suites import Case
from polypool.bench.worker import Request, failed


class WorkerError(RuntimeError):
    """The worker did not get as far as its first case."""


@dataclass(frozen=True)
class Event:
    """Something to show: exactly one of these is set.

    Attributes:
        start: The case that begins.
        row: What was measured.
        facts: What a worker says of itself.
        warning: What polypool warned of.
    """

    start: str | None = None
    row: Row | None = None
    facts: dict[str, Any] | None = None
    warning: str | None = None


def run(request: Request, cases: list[Case], force: str | None = None) -> Iterator[Event]:
    """Measures the cases.

    Args:
        request: How to measure; its names are replaced.
        cases: What to measure, in any order.
        force: A kind of allocator for all cases instead of their own.

    Raises:
        WorkerError: A worker does not start.
    """
    for kind in allocator.KINDS:
        waiting = [case for case in cases if (force or case.allocator) == kind]
        together, alone = [c for c in waiting if not c.alone], [[c] for c in waiting if c.alone]
        for group in (together, *alone):
            while group:
                yield from _one_worker(replace(request, names=tuple(c.name for c in group)), kind, group)


def _one_worker(request: Request, kind: str, waiting: list[Case]) -> Iterator[Event]:
    """Everything one process has to say; takes what it began from the list."""
    current: Case | None = None
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        with _start(request, kind, errors) as process:
            try:
                for line in process.stdout or ():
                    report = json.loads(line)
                    if "start" in report:
                        current = next(case for case in waiting if case.name == report["start"])
                        waiting.remove(current)
                        yield Event(start=current.name)
                    elif "row" in report:
                        yield Event(row=parse(Row, report["row"], "row"))
                    elif "warning" in report:
                        yield Event(warning=report["warning"])
                    elif "threads" in report:
                        yield Event(facts=report | {"asked": kind})
                code = process.wait()
            finally:
                process.kill()  # somebody may have stopped listening
        if code == 0:
            waiting.clear()
            return
        said = _last_line(errors)
    if current is None:
        raise WorkerError(f"the worker {_how(code)} before its first case{said and f': {said}'}")
    yield Event(row=failed(current, f"the process {_how(code)}{said and f': {said}'}", kind))


def _start(request: Request, kind: str, errors: IO[str]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "polypool.bench.worker"],
        env=allocator.environment(kind, os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        encoding="utf-8",
    )
    if process.stdin is not None:
        process.stdin.write(json.dumps(asdict(request)))
        process.stdin.close()
    return process


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}{', perhaps for its memory' if name == 'SIGKILL' else ''}"


def _last_line(errors: IO[str]) -> str:
    errors.seek(0)
    lines = [line.strip() for line in errors if line.strip()]
    return lines[-1][:200] if lines else ""
