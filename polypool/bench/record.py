"""What one run found, and its form as JSON."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

SCHEMA = 1

#: reads of the input; bytes beyond input, result and gradient; how many times faster we are than a rival; our time
#: over that of `x * 2`; microseconds beyond a rival
Figure = Literal["reads", "extra", "faster", "doublings", "beyond_us"]
Status = Literal["ok", "wrong", "failed", "missing", "skipped"]

T = TypeVar("T")


@dataclass(frozen=True)
class Check:
    """A figure beside its target."""

    figure: Figure
    value: float
    limit: float

    @property
    def at_least(self) -> bool:
        """Whether larger is better."""
        return self.figure == "faster"

    @property
    def passed(self) -> bool:
        """Whether the target is reached."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(frozen=True)
class Entry:
    """One contestant of a row.

    Attributes:
        name: What ran.
        status: `"ok"`; otherwise there is no time.
        why: What is wrong, what failed, what is missing, why it was not waited for; a remark where all is well.
        ms: The median time of a call.
        spread: The distance between the quartiles of the samples as a share of their median.
        samples: How many times it was timed.
        reads: Its time over that of one read of the input, the median of pairs.
        faster: Its time over ours, the median of pairs; None for ourselves.
        extra: Peak memory in bytes beyond input, result and gradient; None where it cannot be measured.
        checks: Its targets.
    """

    name: str
    status: Status
    why: str = ""
    ms: float | None = None
    spread: float | None = None
    samples: int = 0
    reads: float | None = None
    faster: float | None = None
    extra: int | None = None
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Row:
    """One operator on one tensor in one direction, with everybody who ran it; we come first.

    Attributes:
        table: The table it belongs to.
        case: The name that `--only` selects by.
        workload: What the tensor looks like, in words.
        operator: What was computed.
        layout: The kind of layout.
        shape: That of the values.
        dtype: That of the values.
        cells: How many cells were pooled.
        direction: `"forward"`, `"forward + backward"`, `"call"` or `"training step"`.
        allocator: What the allocator did with freed memory, `"warm"` or `"default"`.
        checked: The share of the cells that was compared with float64.
        read_ms: The median time of one read of the input.
        read_spread: The spread of that time over the row.
        others: The share of the machine that other processes took meanwhile; None where it cannot be known.
        entries: Ourselves, then the rivals.
        note: A remark.
    """

    table: str
    case: str
    workload: str
    operator: str
    layout: str
    shape: tuple[int, ...]
    dtype: str
    cells: int
    direction: str
    allocator: str
    checked: float
    read_ms: float | None
    read_spread: float | None
    others: float | None
    entries: tuple[Entry, ...]
    note: str = ""

    @property
    def ours(self) -> Entry:
        """Our own entry."""
        return self.entries[0]

    @property
    def elements(self) -> int:
        """How many numbers the values hold."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Results:
    """A run: its rows, and where they were measured."""

    suite: str
    started: str
    seconds: float
    machine: Mapping[str, str | int | None]
    versions: Mapping[str, str | None]
    settings: Mapping[str, str | int | float | bool | None]
    warnings: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    schema: int = field(default=SCHEMA)


def to_json(value: Any) -> str:
    """A record as JSON; NaN and infinity are errors."""
    return json.dumps(asdict(value), indent=1, allow_nan=False, ensure_ascii=False)


def save(results: Results, path: Path) -> None:
    """Writes a run; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(results) + "\n", encoding="utf-8")


def load(path: Path) -> Results:
    """Reads a run.

    Raises:
        ValueError: The file is no run of this schema; says where it differs.
    """
    data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise ValueError(f"{path} must hold results of schema {SCHEMA}; found {found}.")
    return parse(Results, data)


def parse(kind: type[T], data: Any, where: str = "results") -> T:
    """JSON data as the dataclass `kind`.

    Raises:
        ValueError: A field is missing, unknown, or of another type.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{where} must be an object; found {data!r}.")
    hints = typing.get_type_hints(kind)
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if set(data) != names:
        missing, unknown = sorted(names - set(data)), sorted(set(data) - names)
        raise ValueError(f"{where} must have its fields; missing: {missing}, unknown: {unknown}.")
    return kind(**{name: _value(hints[name], data[name], f"{where}.{name}") for name in names})


def _value(hint: Any, data: Any, where: str) -> Any:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return parse(hint, data, where)
    if origin is tuple and isinstance(data, list):
        return tuple(_value(parts[0], each, f"{where}[{i}]") for i, each in enumerate(data))
    if origin is Mapping and isinstance(data, dict):
        return {key: _value(parts[1], each, f"{where}.{key}") for key, each in data.items()}
    if origin in (typing.Union, types.UnionType) and any(_fits(part, data) for part in parts):
        return data
    if origin is Literal and data in parts:
        return data
    if isinstance(hint, type) and origin is None and _fits(hint, data):
        return float(data) if hint is float else data
    raise ValueError(f"{where} must be {hint}; found {data!r}.")


def _fits(kind: Any, data: Any) -> bool:
    if kind is float:
        return isinstance(data, int | float) and not isinstance(data, bool)
    if kind is int:
        return isinstance(data, int) and not isinstance(data, bool)
    return isinstance(data, kind)
