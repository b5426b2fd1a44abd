"""Stretches of characters as users give them, checked."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import TypeAlias

#: For each text the stretches of its characters, `(start, end)`, half-open.
CharSpans: TypeAlias = Sequence[Sequence[tuple[int, int]]]


def checked(spans: CharSpans, rows: int) -> list[list[tuple[int, int]]]:
    """The spans of `rows` texts as pairs of integers.

    Raises:
        TypeError: A span is no pair of integers.
        ValueError: A span ends before it starts, or the number of texts differs.
    """
    given: object = spans
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise TypeError(
            f"spans must be a list with the (start, end) of each text; found {type(spans).__name__}."
        )
    if len(spans) != rows:
        raise ValueError(
            f"spans must hold one list of (start, end) for each of {rows} texts; found {len(spans)}. "
            "For one text pass [spans]."
        )
    return [[_pair(span, row, i) for i, span in enumerate(_list(own, row))] for row, own in enumerate(spans)]


def _list(own: object, row: int) -> Sequence[object]:
    if isinstance(own, str) or not isinstance(own, Sequence) or isinstance(next(iter(own), None), int):
        raise TypeError(
            f"spans[{row}] must be a list of (start, end); found {own!r}. For one text pass [spans]."
        )
    return own


def _pair(span: object, row: int, place: int) -> tuple[int, int]:
    try:
        start, end = map(index, span)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise TypeError(
            f"spans[{row}][{place}] must be two integers, (start, end); found {span!r}. Count characters from 0."
        ) from None
    if not 0 <= start <= end:
        raise ValueError(
            f"spans[{row}][{place}] must have 0 <= start <= end; found ({start}, {end}). Ends are half-open."
        )
    return start, end
