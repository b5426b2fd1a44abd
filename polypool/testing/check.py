"""A named check: a function that takes the operator under test and complains, or does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from polypool.testing.report import Result, Status
from polypool.testing.subject import Subject
from polypool.testing.tolerances import CheckFailure, Skip

Level = Literal["quick", "full"]
Run = Callable[[Subject], "str | None"]

CHECKS: dict[str, Check] = {}


@dataclass(frozen=True)
class Check:
    """One clause of the contract.

    Attributes:
        name: What reports call it.
        clause: What it asks for, in one sentence.
        level: `"full"` for what is too slow to run every time.
        run: Raises `CheckFailure` or `Skip`; may return a remark.
    """

    name: str
    clause: str
    level: Level
    run: Run

    def __call__(self, subject: Subject) -> Result:
        """Runs the check; whatever the operator raises is a failure of the operator."""
        start = time.perf_counter()
        status: Status
        try:
            status, reason = "pass", self.run(subject) or ""
        except Skip as skip:
            status, reason = "skip", str(skip)
        except CheckFailure as failure:
            status, reason = "fail", str(failure)
        except Exception as error:  # noqa: BLE001 - the operator is foreign code
            status, reason = "fail", f"raised {summary(error)}"
        return Result(self.name, status, reason, self.clause, time.perf_counter() - start)


def summary(error: BaseException) -> str:
    """An exception in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)[:300]}"


def check(level: Level = "quick") -> Callable[[Run], Run]:
    """Files a function as the check of its name; the first line of its docstring is the clause."""

    def file(run: Run) -> Run:
        clause = (run.__doc__ or "").strip().splitlines()[0]
        CHECKS[run.__name__] = Check(run.__name__, clause, level, run)
        return run

    return file
