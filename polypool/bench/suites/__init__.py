"""What is measured: each suite is a list of cases, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch

from polypool.bench.suites import models, ops, scaling
from polypool.bench.suites.case import Case

SUITES = {"ops": ops.cases, "models": models.cases, "scaling": scaling.cases}

__all__ = ["SUITES", "Case", "cases"]


def cases(suite: str, only: Sequence[str] = ()) -> list[Case]:
    """The cases of a suite; with patterns those that contain one of them. `*` stands for anything.

    Raises:
        KeyError: There is no such suite.
    """
    listed = SUITES[suite]()
    if not only:
        return listed
    return [case for case in listed if any(fnmatch(case.name, f"*{pattern}*") for pattern in only)]
