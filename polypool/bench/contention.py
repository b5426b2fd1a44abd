"""Whether somebody else used the machine meanwhile, and said so in words."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

# Above these a figure is not to be trusted.
LOAD = 0.3  # runnable processes per core before the start
OTHERS = 0.1  # share of the machine
SCATTER = 0.25  # spread of the reads within a row
DRIFT = 2.0  # the slowest row's read over the fastest's, for the same number of bytes


@dataclass(frozen=True)
class Usage:
    """Processor seconds spent so far, by everybody (a hypervisor's theft included) and by this process."""

    wall: float
    everybody: float
    ours: float


def usage() -> Usage | None:
    """The counters now; None where the system has none."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            user, nice, system, _, _, irq, soft, steal = (int(n) for n in file.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    own = os.times()
    busy = user + nice + system + irq + soft + steal
    return Usage(time.monotonic(), busy / ticks, own.user + own.system)


def others(before: Usage | None, after: Usage | None, cores: int) -> float | None:
    """The share of the machine that other processes used in between; None where it was too short to count."""
    if before is None or after is None or after.wall - before.wall < 0.2:
        return None
    spent = (after.everybody - before.everybody) - (after.ours - before.ours)
    return min(max(spent / ((after.wall - before.wall) * cores), 0.0), 1.0)


def load() -> float | None:
    """The load average of the last minute; None where there is none."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def before_the_start(load_average: float | None, cores: int) -> list[str]:
    """What to say before anything is measured."""
    if load_average is None or load_average <= LOAD * cores:
        return []
    busy = f"load average {load_average:.1f} on {cores} cores before the start"
    return [f"The machine is busy: {busy}. Times will be off, and ratios too."]


def afterwards(
    shares: Sequence[float], scatter: Sequence[float], reads: Sequence[tuple[int, float]]
) -> list[str]:
    """What the rows themselves tell.

    Args:
        shares: Of each row, the share of the machine that others used.
        scatter: Of each row, the spread of its reads of the input.
        reads: Of each row, the bytes and the milliseconds of one read; of tensors that no cache holds.
    """
    said = []
    crowded = [share for share in shares if share > OTHERS]
    if crowded:
        said.append(
            f"Other processes took {median(crowded):.0%} of the machine during {len(crowded)} of {len(shares)} rows."
        )
    loose = sum(value > SCATTER for value in scatter)
    if loose > len(scatter) / 10:
        said.append(
            f"The time of one read scattered by more than {SCATTER:.0%} within {loose} of {len(scatter)} rows."
        )
    speeds = [size / ms / 1e6 for size, ms in reads if ms > 0]
    if speeds and max(speeds) > DRIFT * min(speeds):
        said.append(
            f"Between rows one read ran at {min(speeds):.0f} to {max(speeds):.0f} GB/s: compare within rows only."
        )
    return said
