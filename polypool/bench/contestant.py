"""Who takes part in a contest, and how long it may take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from polypool.bench.record import Status

# What a rival may raise on a tensor that it cannot do.
BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        seconds: About how long each contestant is timed.
        least: How often we are timed, unless we take more than a second.
        most: How often anybody is timed.
        patience: Who takes longer than so many seconds has its first call as its only sample.
    """

    seconds: float = 0.5
    least: int = 7
    most: int = 15
    patience: float = 3.0

    def rounds(self, seconds: float, *, ours: bool) -> int:
        """How many samples to take of a call that takes so long."""
        least = (self.least if seconds < 1 else 3) if ours else 1
        return min(self.most, max(least, round(self.seconds / max(seconds, 1e-9))))


FULL = Effort()
QUICK = Effort(seconds=0.1, most=9)


@dataclass
class Contestant:
    """Something to time.

    Attributes:
        name: What it is called.
        step: One call; returns the tensors it was called for.
        judge: Why these are wrong, or an empty string.
        calls: How many calls make one sample: more than one where a call is shorter than a clock can tell.
        compiles: Whether the first call does work that later ones do not.
        status: Anything but `"ok"` keeps it from running; `why` then says why.
    """

    name: str
    step: Callable[[], Sequence[Tensor]]
    judge: Callable[[Sequence[Tensor]], str] = lambda _: ""
    calls: int = 1
    compiles: bool = False
    status: Status = "ok"
    why: str = ""
    seconds: float = 0.0
    extra: int | None = None
    held: int = 0
    results: Sequence[Tensor] = ()
    times: dict[int, float] = field(default_factory=dict)
    reads: dict[int, float] = field(default_factory=dict)

    @classmethod
    def absent(cls, name: str, why: str, status: Status = "missing") -> Contestant:
        """One that does not take part: something is not installed, or it would take too long."""
        return cls(name, list, status=status, why=why)


def first_line(error: BaseException) -> str:
    """The first line of a message, not too long."""
    line = (str(error).strip().splitlines() or [""])[0]
    return line if len(line) <= 100 else f"{line[:97]}..."
