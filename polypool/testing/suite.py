"""Runs the checks."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch

from polypool.pooling import Pooling
from polypool.testing import checks as _checks  # noqa: F401 - files every check
from polypool.testing.check import CHECKS, Check
from polypool.testing.oracle import Oracle
from polypool.testing.report import ConformanceError, Report
from polypool.testing.subject import subject_of


def check_pooling(
    pooling: Pooling | type[Pooling] | str,
    *,
    oracle: Oracle | None = None,
    channels: int | None = None,
    only: str | Iterable[str] | None = None,
    level: Literal["quick", "full"] = "quick",
    raise_on_failure: bool = True,
) -> Report:
    """Checks that a pooling keeps the contract, clause by clause.

    Each clause is one named check; one that has nothing to say about the operator is skipped, with the reason. The
    operator is copied and its parameters are randomised; nothing of the caller's changes, the state of the random
    generators included. Runs on the CPU. `torch.compile`'s caches are cleared by the checks that compile.

    Args:
        pooling: A registered name, a `Pooling` class, or a `Pooling`.
        oracle: What one cell should give: a function of its elements `(n, C)` and weights `(n,)` or None, both
            numpy float64, and the pooling's settings, a mapping of its public numbers and its `state_dict`;
            returns `(C_out,)`. Registered operators of this package have one. Without it, values are only compared
            between layouts.
        channels: The width of the elements; the pooling's own `channels`, or 4, if left out.
        only: The name of a check, or several.
        level: `"quick"` takes a few seconds; `"full"` adds larger cells, more layouts per check and Inductor.
        raise_on_failure: Whether to raise if a check fails.

    Returns:
        The report: print it, iterate over it, or index it by the name of a check.

    Raises:
        ConformanceError: If a check fails, with one line per failure; unless `raise_on_failure=False`.
        ValueError: If `only` names a check that does not exist.

    Example:
        >>> import polypool as pp
        >>> report = pp.testing.check_pooling("mean", only="order_in_cell")
        >>> report.ok
        True
    """
    chosen = select(only, level)
    with surroundings_kept():
        subject = subject_of(pooling, oracle=oracle, channels=channels, level=level)
        report = Report(subject.label, tuple(check(subject) for check in chosen))
    if raise_on_failure and not report.ok:
        raise ConformanceError(report)
    return report


def check_names(level: Literal["quick", "full"] = "full") -> tuple[str, ...]:
    """The names of the checks of a level, in the order in which they run."""
    return tuple(check.name for check in CHECKS.values() if level == "full" or check.level == "quick")


def select(only: str | Iterable[str] | None, level: Literal["quick", "full"]) -> list[Check]:
    if only is None:
        return [CHECKS[name] for name in check_names(level)]
    names = [only] if isinstance(only, str) else list(only)
    for name in names:
        if name not in CHECKS:
            raise ValueError(f"only must name checks; found {name!r}. There are {', '.join(CHECKS)}.")
    return [CHECKS[name] for name in names]


@contextmanager
def surroundings_kept() -> Iterator[None]:
    """One thread, which is faster on small tensors; the global random generators are left as they were."""
    python, numpy, threads = random.getstate(), np.random.get_state(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)
        random.setstate(python)
        np.random.set_state(numpy)
