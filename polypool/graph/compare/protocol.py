"""Cross-validation of one entry: folds, training, and the two ways to choose an epoch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polypool.bench.memory import measured
from polypool.graph.compare.entries import Entry
from polypool.graph.compare.sets import GraphSet

PROTOCOLS = ("test", "inside")


@dataclass(frozen=True)
class Settings:
    """How everything is trained; the defaults are those of the GIN paper where it fixes them.

    Attributes:
        epochs: Passes over the training graphs.
        folds: Parts of the stratified cross-validation.
        seeds: How often it is repeated, with other folds and first weights.
        hidden: The channels of a layer.
        layers: Layers of GIN, the input being the first.
        batch: Graphs per step.
        steps: Steps per epoch; None for a pass over the training graphs. The authors' code takes 50.
        rate: The learning rate of Adam, halved every 50 epochs.
        dropout: The share of the graph's vector that is dropped in training.
        ratio: The share of the nodes that a coarsening keeps.
        double: Train in float64, where rounding does not grow into other results.
        protocols: `"test"`: train on all other folds, and report the epoch that is best on the test folds on average,
            as the GIN paper does. `"inside"`: put one part of the training folds aside and report the test accuracy
            of the epoch that is best there.
    """

    epochs: int = 350
    folds: int = 10
    seeds: int = 1
    hidden: int = 32
    layers: int = 5
    batch: int = 32
    steps: int | None = None
    rate: float = 0.01
    dropout: float = 0.5
    ratio: float = 0.5
    double: bool = False
    protocols: tuple[str, ...] = PROTOCOLS

    def __post_init__(self) -> None:
        for name, least in (
            ("epochs", 1),
            ("folds", 2),
            ("seeds", 1),
            ("hidden", 1),
            ("layers", 2),
            ("batch", 2),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be >= {least}; found {getattr(self, name)}.")
        unknown = [name for name in self.protocols if name not in PROTOCOLS]
        if unknown or not self.protocols:
            raise ValueError(f"protocols must be some of {', '.join(PROTOCOLS)}; found {self.protocols}.")
        if "inside" in self.protocols and self.folds < 3:
            raise ValueError(f"folds must be >= 3 to choose inside the training folds; found {self.folds}.")

    @property
    def dtype(self) -> torch.dtype:
        """What the networks compute in."""
        return torch.float64 if self.double else torch.float32


@dataclass
class Curves:
    """What one training saw.

    Attributes:
        loss: The mean training loss of each epoch.
        test: The accuracy on the test fold after each epoch.
        chosen: The accuracy on the part put aside after each epoch, and the loss there; empty where none was.
        seconds: The median time of a training epoch.
        bytes: The most memory that one training step holds beyond what was there before; None where unknown.
    """

    loss: list[float] = field(default_factory=list)
    test: list[float] = field(default_factory=list)
    chosen: list[tuple[float, float]] = field(default_factory=list)
    seconds: float = 0.0
    bytes: int | None = None

    @property
    def selected(self) -> float:
        """The test accuracy of the epoch that was best on the part put aside; among equals, of the least loss there."""
        best = min(range(len(self.chosen)), key=lambda e: (-self.chosen[e][0], self.chosen[e][1], e))
        return self.test[best]


def folds(y: Tensor, count: int, seed: int) -> list[Tensor]:
    """Parts `(n_i,)` int64 of all graphs, each with its share of every class."""
    if int(torch.bincount(y).min()) < count:
        raise ValueError(
            f"every class must have at least {count} graphs, one for each fold; found {torch.bincount(y).tolist()}. "
            "Take fewer folds."
        )
    generator = torch.Generator().manual_seed(seed)
    dealt = []
    for label in range(int(y.max()) + 1):
        own = (y == label).nonzero()[:, 0]
        dealt.append(own[torch.randperm(own.shape[0], generator=generator)])
    # Class after class to one fold after the other, so that sizes differ by one at most.
    order = torch.cat(dealt)
    place = torch.arange(order.shape[0]) % count
    return [order[place == part].sort().values for part in range(count)]


def train(
    entry: Entry,
    data: GraphSet,
    settings: Settings,
    split: tuple[Tensor, Tensor, Tensor | None],
    seed: int,
    tick: Callable[[], object] = lambda: None,
) -> Curves:
    """Trains one network; everybody sees the same batches in the same order.

    Args:
        entry: What to train.
        data: The graphs.
        settings: How.
        split: The graphs to train on, to test on, and to choose by or None.
        seed: Of the first weights, of dropout and of the order.
        tick: Called after each epoch.
    """
    learned, tested, aside = split
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = entry.build(data, settings).to(settings.dtype)
        optimizer = torch.optim.Adam(model.parameters(), lr=settings.rate)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=50, gamma=0.5)
        shuffle = torch.Generator().manual_seed(seed)
        test = _batches(data, tested, settings)
        choose = [] if aside is None else _batches(data, aside, settings)
        curves, seconds = Curves(), []
        curves.bytes = _peak(model, data, learned, settings)
        torch.manual_seed(seed)
        for _ in range(settings.epochs):
            begun = time.perf_counter()
            model.train()
            losses = []
            for graphs in _order(learned, settings, shuffle):
                loss = _step(model, data, graphs, settings)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
            seconds.append(time.perf_counter() - begun)
            schedule.step()
            curves.loss.append(torch.stack(losses).mean().item())
            curves.test.append(_judged(model, test)[0])
            if aside is not None:
                curves.chosen.append(_judged(model, choose))
            tick()
        curves.seconds = statistics.median(seconds)
    return curves


def _order(graphs: Tensor, settings: Settings, shuffle: torch.Generator) -> list[Tensor]:
    """The batches of an epoch; batch normalisation needs two graphs, so that a single one left over waits."""
    if settings.steps is not None:
        return [
            graphs[torch.randperm(graphs.shape[0], generator=shuffle)[: settings.batch]]
            for _ in range(settings.steps)
        ]
    mixed = graphs[torch.randperm(graphs.shape[0], generator=shuffle)]
    return [part for part in mixed.split(settings.batch) if part.shape[0] > 1]


def _batches(data: GraphSet, graphs: Tensor, settings: Settings) -> list[object]:
    """Collated once, for they are the same after every epoch."""
    return [data.take(part, settings.dtype) for part in graphs.split(8 * settings.batch)]


def _step(model: nn.Module, data: GraphSet, graphs: Tensor, settings: Settings) -> Tensor:
    batch = data.take(graphs, settings.dtype)
    logits, extra = model(batch)
    return F.cross_entropy(logits, batch.y) + extra


def _peak(model: nn.Module, data: GraphSet, graphs: Tensor, settings: Settings) -> int | None:
    """Of a step on the first graphs, on a network that is put back as it was."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    first = graphs[: settings.batch]

    def call() -> list[Tensor]:
        loss = _step(model, data, first, settings)
        loss.backward()
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    model.train()
    call()  # what is compiled or kept on the first call is no part of a step
    model.zero_grad()
    _, found = measured(call)
    model.zero_grad()
    model.load_state_dict(before)
    return found


@torch.no_grad()
def _judged(model: nn.Module, batches: list[object]) -> tuple[float, float]:
    """The accuracy and the loss over some graphs."""
    model.eval()
    right, lost, count = 0, 0.0, 0
    for batch in batches:
        logits, _ = model(batch)
        y: Tensor = batch.y  # type: ignore[attr-defined]
        right += int((logits.argmax(1) == y).sum())
        lost += float(F.cross_entropy(logits, y, reduction="sum"))
        count += y.shape[0]
    return right / count, lost / count
