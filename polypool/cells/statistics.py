"""The closed catalogue of mergeable statistics: what `Pooling.stats` may declare.

Each is a frozen dataclass, so that two operators that declare the same one share it. Central moments are means of
powers of deviations: they do not grow with the cell, and merge by the share of the mass that the other part brings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from polypool.cells.cells import Cells

Found = dict["Statistic", Tensor]
State = dict[str, Tensor]


@dataclass(frozen=True)
class Statistic:
    """One number per cell and channel (or per cell) that can be measured in one pass and merged exactly."""

    key: ClassVar[str]
    needs: ClassVar[tuple[Statistic, ...]] = ()

    def measure(self, cells: Cells, found: Found) -> Tensor:
        raise NotImplementedError

    def merge(self, a: State, b: State) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class Count(Statistic):
    """The number of real members, `(K, 1)` int64."""

    key = "n"

    def measure(self, cells: Cells, found: Found) -> Tensor:
        return cells.n

    def merge(self, a: State, b: State) -> Tensor:
        return a["n"] + b["n"]


@dataclass(frozen=True)
class Mass(Statistic):
    """The sum of weights, `(K, 1)`."""

    key = "mass"

    def measure(self, cells: Cells, found: Found) -> Tensor:
        return cells.mass

    def merge(self, a: State, b: State) -> Tensor:
        return a["mass"] + b["mass"]


@dataclass(frozen=True)
class Sum(Statistic):
    """`sum w x`."""

    key = "sum"

    def measure(self, cells: Cells, found: Found) -> Tensor:
        return cells.reduce_rows("sum")

    def merge(self, a: State, b: State) -> Tensor:
        return a["sum"] + b["sum"]


@dataclass(frozen=True)
class Mean(Statistic):
    """`sum w x / sum w`."""

    key = "mean"

    def measure(self, cells: Cells, found: Found) -> Tensor:
        return cells.reduce_rows("mean")

    def merge(self, a: State, b: State) -> Tensor:
        share = _share(a, b)
        return _lerp(a["mean"], b["mean"], share)


@dataclass(frozen=True)
class CentralMoment(Statistic):
    """`sum w (x - mean)^p / sum w`."""

    power: ClassVar[int]

    def measure(self, cells: Cells, found: Found) -> Tensor:
        deviation = cells.rows - cells.expand(found[Mean()])
        if self.power > 2:
            # The mean is rounded, which the variance sees squared and the third moment as it is.
            deviation = deviation - cells.expand(cells.mean(deviation))
        squared = deviation * deviation
        return cells.mean(
            squared if self.power == 2 else squared * (deviation if self.power == 3 else squared)
        )

    def merge(self, a: State, b: State) -> Tensor:
        share = _share(a, b)
        gap = b["mean"] - a["mean"]
        from_a = _about(a, self.power, -share * gap)
        from_b = _about(b, self.power, (1 - share) * gap)
        merged = _lerp(from_a, from_b, share)
        # An empty part has no moments to move: its share (or the other's) is 0, and 0 times inf must not be NaN.
        merged = torch.where(share == 0, a[self.key], merged)
        return torch.where((share == 1) & (b["mass"] > 0), b[self.key], merged)


@dataclass(frozen=True)
class M2(CentralMoment):
    """The population variance."""

    key = "m2"
    power = 2
    needs = (Mean(),)


@dataclass(frozen=True)
class M3(CentralMoment):
    """The third central moment."""

    key = "m3"
    power = 3
    needs = (M2(),)


@dataclass(frozen=True)
class M4(CentralMoment):
    """The fourth central moment."""

    key = "m4"
    power = 4
    needs = (M3(),)


@dataclass(frozen=True)
class Max(Statistic):
    """The largest member of weight > 0; 0 in an empty cell."""

    key = "max"

    def measure(self, cells: Cells, found: Found) -> Tensor:
        return cells.best(cells.rows)

    def merge(self, a: State, b: State) -> Tensor:
        return _either(a, b, torch.where(_first_wins(a["max"], b["max"]), a["max"], b["max"]), "max")


@dataclass(frozen=True)
class Min(Statistic):
    """The smallest member of weight > 0; 0 in an empty cell."""

    key = "min"

    def measure(self, cells: Cells, found: Found) -> Tensor:
        return cells.least(cells.rows)

    def merge(self, a: State, b: State) -> Tensor:
        return _either(a, b, torch.where(_first_wins(-a["min"], -b["min"]), a["min"], b["min"]), "min")


ALL: tuple[Statistic, ...] = (Count(), Mass(), Sum(), Mean(), M2(), M3(), M4(), Max(), Min())


def closure(wanted: Iterable[Statistic]) -> tuple[Statistic, ...]:
    """The statistics without repetition, each after those that it rests on."""
    ordered: list[Statistic] = []
    for statistic in wanted:
        for each in (*closure(statistic.needs), statistic):
            if each not in ordered:
                ordered.append(each)
    return tuple(ordered)


def with_keys(keys: Iterable[str]) -> list[Statistic]:
    """The statistics of these names."""
    return [statistic for statistic in ALL if statistic.key in set(keys)]


def statistics(cells: Cells, wanted: Iterable[Statistic]) -> Found:
    """Measures on the primitives: the definition that kernels are compared with."""
    found: Found = {}
    for statistic in closure(wanted):
        found[statistic] = statistic.measure(cells, found)
    return found


def merge(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> State:
    """The state of the union of two disjoint parts, from the states of the parts."""
    if set(a) != set(b):
        raise ValueError(
            f"states to merge must hold the same statistics; found {sorted(a)} and {sorted(b)}. "
            "Make both with the same pooling."
        )
    if a["n"].shape != b["n"].shape:
        raise ValueError(
            f"states to merge must have the same number of cells; found {a['n'].shape[0]} and {b['n'].shape[0]}."
        )
    for key, value in a.items():
        if value.shape != b[key].shape:
            raise ValueError(
                "states to merge must have the same channels; found "
                f"{tuple(value.shape)} and {tuple(b[key].shape)} for {key}."
            )
    return {statistic.key: statistic.merge(dict(a), dict(b)) for statistic in ALL if statistic.key in a}


def _share(a: State, b: State) -> Tensor:
    """The share of the joint mass that b brings; 0 when both are empty."""
    mass = a["mass"] + b["mass"]
    return b["mass"] / torch.where(mass == 0, torch.ones_like(mass), mass)


def _lerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """`a + share (b - a)`; where that is not finite the weighted sum, which keeps inf where it belongs."""
    moved = a + share * (b - a)
    return torch.where(moved.isfinite(), moved, a * (1 - share) + b * share)


def _about(state: State, power: int, shift: Tensor) -> Tensor:
    """The moment of one part about a centre that lies `-shift` away from its own mean."""
    moved = shift**power
    for k in range(2, power + 1):
        own = state[f"m{k}"]
        moved = moved + (own if k == power else comb(power, k) * own * shift ** (power - k))
    return moved


def _first_wins(a: Tensor, b: Tensor) -> Tensor:
    return (a >= b) | a.isnan()


def _either(a: State, b: State, both: Tensor, key: str) -> Tensor:
    """`both` where both parts have members, otherwise the part that has some."""
    merged = torch.where(b["n"] == 0, a[key], both)
    return torch.where(a["n"] == 0, b[key], merged)
