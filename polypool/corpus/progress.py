"""How far a job is: a live bar for people, plain data for machines."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Self

#: Speeds are those of the last so many seconds.
WINDOW = 30.0
Event = dict[str, Any]


class Meter:
    """Rows and tokens done, and how fast.

    Args:
        total: The rows of the corpus.
        done: Those that were done before this run.
        clock: The time in seconds.
    """

    def __init__(self, total: int, done: int = 0, clock: Callable[[], float] = monotonic) -> None:
        self.total, self.done, self.tokens = total, done, 0
        self._clock = clock
        self._under_way: dict[int, tuple[int, int]] = {}
        self._seen = deque([(clock(), done, 0)])

    def tick(self, shard: int, rows: int, tokens: int) -> None:
        """A batch of a shard is done."""
        before = self._under_way.get(shard, (0, 0))
        self._under_way[shard] = (before[0] + rows, before[1] + tokens)
        self._mark()

    def finish(self, shard: int, rows: int, tokens: int) -> None:
        """A shard is done; these are its exact numbers."""
        self._under_way.pop(shard, None)
        self.done += rows
        self.tokens += tokens
        self._mark()

    @property
    def rows_now(self) -> int:
        """Rows done, with those of shards that are under way."""
        return min(self.done + sum(rows for rows, _ in self._under_way.values()), self.total)

    @property
    def tokens_now(self) -> int:
        """Tokens done in this run, likewise."""
        return self.tokens + sum(tokens for _, tokens in self._under_way.values())

    def _mark(self) -> None:
        now = self._clock()
        # One entry for each half second is enough.
        if len(self._seen) > 1 and now - self._seen[-2][0] < 0.5:
            self._seen.pop()
        self._seen.append((now, self.rows_now, self.tokens_now))
        while len(self._seen) > 2 and now - self._seen[1][0] > WINDOW:
            self._seen.popleft()

    @property
    def speed(self) -> tuple[float, float]:
        """Rows and tokens in a second, lately; 0 where nothing is known."""
        (start, rows, tokens), (end, rows_now, tokens_now) = self._seen[0], self._seen[-1]
        seconds = end - start
        if seconds <= 0:
            return 0.0, 0.0
        # A shard that is made again takes its ticks back.
        return max(rows_now - rows, 0) / seconds, max(tokens_now - tokens, 0) / seconds

    @property
    def seconds_left(self) -> float | None:
        """How long it will take at this speed; None where that is unknown."""
        speed = self.speed[0]
        return (self.total - self.rows_now) / speed if speed else None

    def as_event(self) -> Event:
        """The numbers for machines."""
        rows, tokens = self.speed
        left = self.seconds_left
        return {
            "rows_done": self.done,
            "rows_total": self.total,
            "rows_per_second": round(rows, 1),
            "tokens_per_second": round(tokens, 1),
            "seconds_left": None if left is None else round(left, 1),
        }


class Display:
    """A bar on standard error.

    Args:
        shown: Whether to show it; on a terminal when None.
    """

    def __init__(self, shown: bool | None) -> None:
        self._shown = sys.stderr.isatty() if shown is None else shown
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self._shown:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[counts]}"),
                console=Console(stderr=True, highlight=False),
                refresh_per_second=4,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("loading the model", total=None, counts="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, what: str, counts: str = "") -> None:
        """What goes on before there is anything to count."""
        if self._bar is not None:
            self._bar.update(self._task, description=what, counts=counts)

    def show(self, meter: Meter) -> None:
        """How far it is."""
        if self._bar is None:
            return
        rows, tokens = meter.speed
        counts = f"{meter.rows_now:,}/{meter.total:,} rows"
        if rows:
            counts += f"  {rows:,.0f} rows/s  {tokens:,.0f} tokens/s  {clock(meter.seconds_left or 0)} left"
        self._bar.update(
            self._task, description="embedding", total=meter.total, completed=meter.rows_now, counts=counts
        )


def clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    Example:
        >>> clock(75), clock(7384)
        ('1:15', '2:03:04')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
