"""One thing to measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from polypool.bench.pooled import Options
from polypool.bench.record import Row


@dataclass(frozen=True)
class Case:
    """What yields one or more rows.

    Attributes:
        name: For `--only`, and to tell the worker what to run.
        table: The table that its rows are in.
        run: Measures.
        allocator: What malloc has to do with freed memory.
        alone: Whether it needs a process of its own, on whose heap nobody has left free pieces.
    """

    name: str
    table: str
    run: Callable[[Options], Iterator[Row]]
    allocator: str = "warm"
    alone: bool = False
