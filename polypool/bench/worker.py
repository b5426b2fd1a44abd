"""The process that measures, started by `runner` under the allocator that its cases ask for.

It reads a request from standard input and writes one JSON object a line: what it is at, its rows, and warnings of ours.
Whatever a rival prints goes to standard error. A case that kills the process takes no results along.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, TextIO

import torch

import polypool as pp
from polypool.bench import allocator
from polypool.bench.contestant import BROKEN, FULL, QUICK, first_line
from polypool.bench.pooled import Options
from polypool.bench.record import Entry, Row, parse
from polypool.bench.suites import SUITES, Case
from polypool.ops.dispatch import accelerated

QUICK_SCALE = 0.1

Say = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Request:
    """What to measure, and how.

    Attributes:
        suite: The suite.
        names: Its cases that are wanted.
        quick: A tenth of the sizes, and less time for each.
        compiled: Whether `torch.compile` takes part.
        thorough: Whether every cell is compared with float64.
        kernels: What computes our side.
        threads: How many threads torch uses; None for its own choice.
    """

    suite: str
    names: tuple[str, ...]
    quick: bool = False
    compiled: bool = False
    thorough: bool = False
    kernels: str = "auto"
    threads: int | None = None

    def options(self, in_force: str) -> Options:
        """The same for a case."""
        return Options(
            scale=QUICK_SCALE if self.quick else 1.0,
            effort=QUICK if self.quick else FULL,
            compiled=self.compiled,
            thorough=self.thorough,
            kernels=self.kernels,
            allocator=in_force,
            targets=not self.quick,
        )


def work(request: Request, say: Say) -> None:
    """Runs the cases of a request, one after the other."""
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    in_force = allocator.kind_in_force()
    say({"threads": torch.get_num_threads(), "allocator": in_force, "kernels": _kernels(request.kernels)})
    # Modules stay: nobody has to look through them again.
    gc.freeze()
    wanted = set(request.names)
    for case in SUITES[request.suite]():
        if case.name in wanted:
            say({"start": case.name})
            gc.collect()
            for row in rows(case, request.options(in_force)):
                say({"row": asdict(row)})
    say({"done": True})


def _kernels(asked: str) -> str:
    """What computes on an ordinary tensor."""
    with pp.kernels(asked):
        return "compiled kernels" if accelerated(torch.ones(1)) else "the reference in plain torch"


def rows(case: Case, options: Options) -> Iterator[Row]:
    """The rows of a case; a row that says what went wrong where the case itself fails."""
    try:
        yield from case.run(options)
    except BROKEN as error:
        yield failed(case, f"{type(error).__name__}: {first_line(error)}", options.allocator)


def failed(case: Case, why: str, allocator_kind: str) -> Row:
    """The row of a case that came to nothing."""
    return Row(
        table=case.table,
        case=case.name,
        workload=case.name,
        operator=case.name.rpartition("/")[2],
        layout="",
        shape=(),
        dtype="",
        cells=0,
        direction="",
        allocator=allocator_kind,
        checked=0.0,
        read_ms=None,
        read_spread=None,
        others=None,
        entries=(Entry("polypool", "failed", why),),
    )


def main() -> None:
    """Reads a request, works, and reports."""
    data = json.load(sys.stdin)
    request = parse(Request, data, "request")
    # What rivals print must not come between the reports.
    reports = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _pass_on_our_warnings(reports)
    work(request, lambda report: _write(reports, report))


def _write(reports: TextIO, report: dict[str, Any]) -> None:
    reports.write(json.dumps(report) + "\n")
    reports.flush()


def _pass_on_our_warnings(reports: TextIO) -> None:
    def show(message: Warning | str, category: type[Warning], filename: str, *_: object) -> None:
        if "polypool" in filename:
            _write(reports, {"warning": str(message)})

    warnings.showwarning = show  # type: ignore[assignment]


if __name__ == "__main__":
    main()
