"""Times callables against each other: in one process, in turns, each sample beside one read of the input.

Everybody is first looked at: called, judged, and its memory measured. Who is wrong gets no time. Then rounds of

    read, ours, read, rival, read, another rival, ...

so that everybody finds the caches and the threads as a read left them, and a machine that slows down slows all of them.
Results are freed outside of the time, and the garbage collector is off. What takes long is timed in fewer rounds.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns

from torch import Tensor

from polypool.bench import allocator, contention, memory
from polypool.bench.contestant import BROKEN, FULL, Contestant, Effort, first_line
from polypool.bench.figures import paired, spread
from polypool.bench.record import Entry

#: Calls shorter than so many seconds are looked at twice: the first one may do more than others.
QUICK_CALL = 0.1


@dataclass(frozen=True)
class Standing:
    """What a contest found.

    Attributes:
        entries: In the order of the contestants, the first one being ours.
        times: Of each, milliseconds by round.
        read_ms: The median time of one read, if there was a yardstick.
        read_spread: Its spread.
        others: The share of the machine that other processes used.
    """

    entries: list[Entry]
    times: list[dict[int, float]]
    read_ms: float | None
    read_spread: float | None
    others: float | None


def contest(
    contestants: Sequence[Contestant],
    yardstick: Callable[[], object] | None,
    effort: Effort = FULL,
    *,
    warm: bool = False,
    judge_last: bool = False,
) -> Standing:
    """Measures everybody; the first contestant is ours.

    Args:
        contestants: Who takes part.
        yardstick: One read of the input; None where there is nothing worth reading.
        effort: How long to measure.
        warm: Whether malloc keeps freed memory: then what is needed is fetched before anything is timed.
        judge_last: Judge after timing: finding the truth leaves free pieces on the heap, for fresh tensors to use.
    """
    # What the last row left in circles would be freed in the middle of this one. A full collection takes long.
    gc.collect(1)
    for contestant in contestants:
        _look_at(contestant, effort)
        if judge_last:
            contestant.results = ()
        else:
            _judge(contestant)
    able = [c for c in contestants if c.status == "ok"]
    runners = [c for c in able if c.seconds <= effort.patience]
    if warm and runners:
        # Twice, since what is freed lies in pieces; in one block, which a warm malloc keeps below 4 GB.
        allocator.warm(min(2 * max((c.extra or 0) + c.held for c in runners), 3 << 30))
    started = contention.usage()
    with _undisturbed():
        for contestant in runners:
            # What was looked at had its memory taken away before: this call is more like those to come.
            seconds = _clock(contestant.step, contestant.calls) / 1e3
            contestant.seconds = min(contestant.seconds, seconds)
        _take_turns(contestants, runners, yardstick, effort)
    if judge_last:
        for contestant in able:
            contestant.results = contestant.step()
            _judge(contestant)
    others = contention.others(started, contention.usage(), os.cpu_count() or 1)
    reads = [ms for c in contestants for ms in c.reads.values()]
    if yardstick is not None and not reads:
        reads = [_clock(yardstick, 1) for _ in range(3)]
    read = median(reads) if reads else None
    for contestant in able:
        if not contestant.times:
            contestant.times[0] = contestant.seconds * 1e3
    entries = [_entry(c, contestants[0], read) for c in contestants]
    return Standing(entries, [c.times for c in contestants], read, spread(reads) if reads else None, others)


def _look_at(contestant: Contestant, effort: Effort) -> None:
    """Calls it and measures its memory; twice where the first call is not like others."""
    if contestant.status != "ok":
        return
    try:
        if contestant.compiles:
            contestant.step()
        contestant.results = _observed(contestant)
        if contestant.seconds < QUICK_CALL:
            contestant.results = ()
            contestant.results = _observed(contestant)
    except BROKEN as error:
        contestant.status = "failed"
        contestant.why = f"{type(error).__name__}: {first_line(error)}"
    contestant.held = memory.held(contestant.results)


def _judge(contestant: Contestant) -> None:
    """Asks the judge about the last results, and forgets them."""
    if contestant.status == "ok":
        contestant.why = contestant.judge(contestant.results)
        contestant.status = "wrong" if contestant.why else "ok"
    contestant.results = ()


def _observed(contestant: Contestant) -> Sequence[Tensor]:
    spent = 0.0

    def timed() -> Sequence[Tensor]:
        nonlocal spent
        start = perf_counter_ns()
        results = contestant.step()
        spent = (perf_counter_ns() - start) / 1e9
        return results

    results, contestant.extra = memory.measured(timed)
    contestant.seconds = spent
    return results


def _take_turns(
    contestants: Sequence[Contestant],
    runners: Sequence[Contestant],
    yardstick: Callable[[], object] | None,
    effort: Effort,
) -> None:
    wanted = {id(c): effort.rounds(c.seconds * c.calls, ours=c is contestants[0]) for c in runners}
    rounds = max(wanted.values(), default=0)
    for turn in range(rounds):
        for contestant in runners:
            if not due(turn, rounds, wanted[id(contestant)]):
                continue
            if yardstick is not None:
                contestant.reads[turn] = _clock(yardstick, 1)
            contestant.times[turn] = _clock(contestant.step, contestant.calls)


def due(turn: int, rounds: int, wanted: int) -> bool:
    """Whether one that is timed `wanted` times in `rounds` rounds has its turn; spread evenly, the first included."""
    return turn * wanted // rounds != (turn - 1) * wanted // rounds


def _clock(call: Callable[[], object], calls: int) -> float:
    """Milliseconds of a call. Its result is freed after the clock has stopped."""
    result: object = None
    start = perf_counter_ns()
    for _ in range(calls):
        result = call()
    spent = perf_counter_ns() - start
    del result
    return spent / calls / 1e6


def _entry(contestant: Contestant, ours: Contestant, read: float | None) -> Entry:
    if contestant.status != "ok":
        return Entry(contestant.name, contestant.status, contestant.why)
    ms = median(contestant.times.values())
    reads = paired(contestant.times, contestant.reads)
    if reads is None and read is not None:
        reads = ms / read
    faster = None if contestant is ours or ours.status != "ok" else paired(contestant.times, ours.times)
    return Entry(
        contestant.name,
        "ok",
        ms=ms,
        spread=spread(list(contestant.times.values())),
        samples=len(contestant.times),
        reads=reads,
        faster=faster,
        extra=contestant.extra,
    )


@contextmanager
def _undisturbed() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
