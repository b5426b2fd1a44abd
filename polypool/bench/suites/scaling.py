"""Time and memory against the number of elements, and against the number of cells."""

from __future__ import annotations

from collections.abc import Iterator

from polypool.bench import pooled
from polypool.bench.pooled import Options
from polypool.bench.record import Row
from polypool.bench.subjects import FUSED, Subject, subjects
from polypool.bench.suites.case import Case
from polypool.bench.workloads import Workload, scaled

ELEMENTS, CELLS = "elements", "cells"
SUBJECTS = ("mean", "max", FUSED, "softmax", "median")

#: Numbers in cells of about 256 rows of 64 channels.
SIZES = (10**4, 10**5, 10**6, 10**7, 10**8)
CHANNELS, ROWS = 64, 256
#: Cells that share 16 million numbers in 16 channels: at the end each has one row.
COUNTS = (1, 10, 10**2, 10**3, 10**4, 10**5, 10**6)
SHARED, NARROW = 16 * 10**6, 16


def cases() -> list[Case]:
    """Sizes first, then counts; from small to large."""
    known = subjects()
    listed = []
    for size in SIZES:
        cells = max(1, size // (ROWS * CHANNELS))
        listed += [
            _case(ELEMENTS, scaled(size, cells, CHANNELS, "scaling"), known[name]) for name in SUBJECTS
        ]
    for count in COUNTS:
        listed += [
            _case(CELLS, scaled(SHARED, count, NARROW, "scaling by-cells"), known[name]) for name in SUBJECTS
        ]
    return listed


def _case(table: str, workload: Workload, subject: Subject) -> Case:
    name = f"{table}/{workload.name}/{subject.name}"

    def run(options: Options) -> Iterator[Row]:
        place = pooled.field(table, name, workload, subject, options)
        yield from pooled.rows(place, backward=False, against=False)

    return Case(name, table, run)
