"""Cells: a batch of weighted multisets of rows, the one thing that every layout reduces to."""

from polypool.cells.cells import Cells, run
from polypool.cells.dense import Dense
from polypool.cells.members import Members, Stretches
from polypool.cells.ragged import Ragged, Soft
from polypool.cells.statistics import (
    M2,
    M3,
    M4,
    Count,
    Mass,
    Max,
    Mean,
    Min,
    Statistic,
    Sum,
    merge,
)
from polypool.ops.elementwise import root, safe

__all__ = [
    "M2",
    "M3",
    "M4",
    "Cells",
    "Count",
    "Dense",
    "Mass",
    "Max",
    "Mean",
    "Members",
    "Min",
    "Ragged",
    "Soft",
    "Statistic",
    "Stretches",
    "Sum",
    "merge",
    "root",
    "run",
    "safe",
]
