"""What a run of the suite found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Status = Literal["pass", "fail", "skip"]


@dataclass(frozen=True)
class Result:
    """The outcome of one check.

    Attributes:
        check: The name of the check.
        status: `"pass"`, `"fail"`, or `"skip"` where the clause has nothing to say about the operator.
        reason: Why it failed or was skipped, in one sentence; a remark, or empty, where it passed.
        clause: What the check asks for.
        seconds: How long it took.
    """

    check: str
    status: Status
    reason: str
    clause: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.status:4}  {self.check}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Report:
    """The outcome of all checks of one operator: iterate over it, index it by a check's name, or print it."""

    subject: str
    results: tuple[Result, ...]

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, check: str) -> Result:
        for result in self.results:
            if result.check == check:
                return result
        raise KeyError(
            f"no check {check!r} in this report; it has {', '.join(r.check for r in self.results)}."
        )

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.status == "fail")

    @property
    def seconds(self) -> float:
        return sum(result.seconds for result in self.results)

    def __str__(self) -> str:
        count = {status: sum(r.status == status for r in self.results) for status in ("pass", "fail", "skip")}
        summary = (
            f"{count['pass']} passed, {count['fail']} failed, {count['skip']} skipped in {self.seconds:.1f} s"
        )
        return "\n".join([f"{self.subject}: {summary}", *(f"  {result}" for result in self.results)])


class ConformanceError(AssertionError):
    """Raised by `check_pooling` when an operator breaks the contract; `report` has every result."""

    def __init__(self, report: Report) -> None:
        self.report = report
        lines = [f"{report.subject} breaks {len(report.failures)} of {len(report)} checks:"]
        super().__init__("\n".join([*lines, *(f"  {result}" for result in report.failures)]))
