"""The whole comparison: every entry on every fold, and what comes out of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from polypool.graph.compare.entries import Entry
from polypool.graph.compare.intervals import Interval, paired
from polypool.graph.compare.protocol import Curves, Settings, folds, train
from polypool.graph.compare.sets import GraphSet


@dataclass(frozen=True)
class Score:
    """Accuracies by one protocol.

    Attributes:
        runs: The accuracy of each seed and fold, seed by seed.
        epochs: The epoch that was reported, for each seed; empty where each fold has its own.
    """

    runs: list[float]
    epochs: list[int]

    @property
    def mean(self) -> float:
        """The mean over folds and seeds."""
        return statistics.fmean(self.runs)

    @property
    def spread(self) -> float:
        """The standard deviation over folds and seeds, as papers print it."""
        return statistics.pstdev(self.runs)


@dataclass(frozen=True)
class Result:
    """What one entry reached.

    Attributes:
        name: Its name.
        group: What it is shown with.
        rival: Whom it is compared with.
        scores: By protocol.
        seconds: The median time of a training epoch.
        bytes: The most memory of a training step.
        curves: By protocol, one for each seed and fold.
    """

    name: str
    group: str
    rival: str | None
    scores: dict[str, Score]
    seconds: float
    bytes: int | None
    curves: dict[str, list[Curves]]


@dataclass(frozen=True)
class Report:
    """Results on one set of graphs.

    Attributes:
        data: The name of the set.
        graphs: How many graphs it has.
        majority: The accuracy of always giving the commonest class.
        settings: How everything was trained.
        results: One for each entry.
    """

    data: str
    graphs: int
    majority: float
    settings: Settings
    results: list[Result]

    def __getitem__(self, name: str) -> Result:
        return next(one for one in self.results if one.name == name)

    def difference(self, name: str, protocol: str) -> Interval | None:
        """How much better an entry is than its rival, run by run; None where the rival did not take part."""
        own = self[name]
        if own.rival is None or all(one.name != own.rival for one in self.results):
            return None
        theirs = self[own.rival]
        share = 1 / self.settings.folds
        return paired(own.scores[protocol].runs, theirs.scores[protocol].runs, share)

    def loss_gap(self, name: str) -> float | None:
        """The largest difference between the loss curves of an entry and its rival, over all runs and epochs."""
        own = self[name]
        if own.rival is None or all(one.name != own.rival for one in self.results):
            return None
        theirs = self[own.rival]
        return max(
            abs(a - b)
            for protocol, curves in own.curves.items()
            for one, other in zip(curves, theirs.curves[protocol], strict=True)
            for a, b in zip(one.loss, other.loss, strict=True)
        )

    def same_folds(self, name: str) -> bool | None:
        """Whether every fold of an entry has the accuracy of its rival's after every epoch."""
        own = self[name]
        if own.rival is None or all(one.name != own.rival for one in self.results):
            return None
        theirs = self[own.rival]
        return all(
            one.test == other.test
            for protocol, curves in own.curves.items()
            for one, other in zip(curves, theirs.curves[protocol], strict=True)
        )

    def as_dict(self, curves: bool = False) -> dict[str, Any]:
        """For JSON: the settings, every run, and the paired differences; the curves as well when asked for."""
        found = asdict(self)
        for one, result in zip(found["results"], self.results, strict=True):
            if not curves:
                del one["curves"]
            one["differences"] = {
                protocol: None if (d := self.difference(result.name, protocol)) is None else asdict(d)
                for protocol in result.scores
            }
            one["largest difference of the loss"] = self.loss_gap(result.name)
            one["all folds as the rival's"] = self.same_folds(result.name)
            for protocol, score in result.scores.items():
                one["scores"][protocol] |= {"mean": score.mean, "spread": score.spread}
        return found


def compare(
    data: GraphSet,
    contestants: Sequence[Entry],
    settings: Settings,
    tick: Callable[[str], object] = lambda _: None,
) -> Report:
    """Trains every entry on the same folds with the same seeds.

    Args:
        data: The graphs.
        contestants: Who takes part.
        settings: How.
        tick: Called with the name of the entry after each epoch.

    Raises:
        ValueError: A class has fewer graphs than there are folds, or two entries have one name.
    """
    listed = [entry.name for entry in contestants]
    if len(set(listed)) < len(listed):
        raise ValueError(f"entries must have different names; found {', '.join(listed)}.")
    curves: dict[str, dict[str, list[Curves]]] = {
        name: {protocol: [] for protocol in settings.protocols} for name in listed
    }
    for seed in range(settings.seeds):
        parts = folds(data.y, settings.folds, seed)
        for fold, tested in enumerate(parts):
            rest = [part for k, part in enumerate(parts) if k != fold]
            aside = parts[(fold + 1) % settings.folds]
            inner = [part for k, part in enumerate(parts) if k not in (fold, (fold + 1) % settings.folds)]
            splits = {"test": (torch.cat(rest), tested, None), "inside": (torch.cat(inner), tested, aside)}
            # One entry after the other on each fold: a machine that slows down slows all of them.
            for entry in contestants:
                for protocol in settings.protocols:
                    number = 1000 * seed + fold
                    one = train(entry, data, settings, splits[protocol], number, partial(tick, entry.name))
                    curves[entry.name][protocol].append(one)
    results = [_result(entry, curves[entry.name], settings) for entry in contestants]
    commonest = int(torch.bincount(data.y).max()) / len(data)
    return Report(data.name, len(data), commonest, settings, results)


def _result(entry: Entry, curves: dict[str, list[Curves]], settings: Settings) -> Result:
    every = [one for listed in curves.values() for one in listed]
    scores = {}
    if "test" in curves:
        scores["test"] = best_epoch(curves["test"], settings.folds)
    if "inside" in curves:
        scores["inside"] = Score([one.selected for one in curves["inside"]], [])
    known = [one.bytes for one in every if one.bytes is not None]
    seconds = statistics.median(one.seconds for one in every)
    return Result(entry.name, entry.group, entry.rival, scores, seconds, max(known, default=None), curves)


def best_epoch(curves: Sequence[Curves], count: int) -> Score:
    """For each seed the one epoch whose test accuracy is best on average over the folds: the first of equals."""
    runs, epochs = [], []
    for start in range(0, len(curves), count):
        own = curves[start : start + count]
        means = [statistics.fmean(values) for values in zip(*(one.test for one in own), strict=True)]
        best = max(range(len(means)), key=lambda e: means[e])
        epochs.append(best + 1)
        runs += [one.test[best] for one in own]
    return Score(runs, epochs)
