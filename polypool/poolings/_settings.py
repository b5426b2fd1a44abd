"""Checks of operators' settings."""

import math

from polypool._checks import flag

__all__ = ["between", "count", "flag", "heads_for", "number", "positive"]


def positive(x: object, what: str) -> float:
    """A finite number > 0."""
    value = number(x, what)
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{what} must be > 0 and finite; found {x}.")
    return value


def between(x: object, what: str, low: float, high: float, open_end: bool = False) -> float:
    """A number in `[low, high]`, or `[low, high)`."""
    value = number(x, what)
    if not (low <= value < high or (value == high and not open_end)):
        raise ValueError(f"{what} must be in [{low:g}, {high:g}{')' if open_end else ']'}; found {x}.")
    return value


def number(x: object, what: str) -> float:
    """A Python number."""
    if isinstance(x, bool) or not isinstance(x, int | float):
        raise TypeError(f"{what} must be a number; found {type(x).__name__}.")
    return float(x)


def count(x: object, what: str) -> int:
    """A Python int > 0."""
    if isinstance(x, bool) or not isinstance(x, int):
        raise TypeError(f"{what} must be an int; found {type(x).__name__}.")
    if x < 1:
        raise ValueError(f"{what} must be > 0; found {x}.")
    return x


def heads_for(channels: int, heads: int) -> None:
    """Heads that share the channels evenly."""
    if channels % heads:
        raise ValueError(f"heads must divide channels = {channels}; found {heads}.")
