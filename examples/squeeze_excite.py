"""
A small ResNet with and without each block
==========================================

Trains the same network on scikit-learn's digits without a block and with each block of ``polypool.blocks`` at the end
of every residual branch: the same images, batches, steps and starting weights of the convolutions, for several seeds.

    python examples/squeeze_excite.py
    python examples/squeeze_excite.py --quick
    python examples/squeeze_excite.py --blocks squeeze_excite,eca --pool std --seeds 5

It prints what was reached, how that differs from the plain network seed by seed, what a step costs, and how many
numbers are learned. On images of 8 x 8 pixels do not expect much; the point is that the comparison is fair.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import polypool as pp
from polypool.blocks.registry import lookup
from polypool.vision import GlobalPool

PLAIN = "no block"
SCANS = 1797
BATCH = 64
LEARNING_RATE = 0.01
WIDTHS = (16, 32)


@dataclass(frozen=True)
class Budget:
    """What every network gets.

    Attributes:
        epochs: Passes over the training images.
        seeds: How often it is repeated, each time with other weights and another order of the images.
        scans: How many of the 1,797 images there are.
        rounds: How many steps of each network are timed.
    """

    epochs: int = 8
    seeds: int = 5
    scans: int = SCANS
    rounds: int = 40


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 8, 8) in [0, 1] with their labels (N,), split once for all."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Reached:
    """What a network reached, one number for each seed, and what it cost.

    Attributes:
        name: The block.
        accuracies: The share of right answers on the test images.
        step: Seconds of a training step, the median.
        times: How often the plain network's step fits in it, the median over rounds in which both ran.
        parameters: How many numbers are learned.
    """

    name: str
    accuracies: list[float]
    step: float
    times: float
    parameters: int


class Residual(nn.Module):
    """`relu(x' + block(bn(conv(relu(bn(conv(x)))))))`, x' being x, or its 1 x 1 convolution where sizes change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.channels = outputs
        self.block: nn.Module = nn.Identity()
        same = stride == 1 and inputs == outputs
        self.past = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = F.relu(self.past(x) + self.block(self.branch(x)))
        return out


class SmallResNet(nn.Module):
    """Two residual stages, global pooling and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        narrow, wide = WIDTHS
        self.body = nn.Sequential(
            nn.Conv2d(1, narrow, 3, padding=1, bias=False),
            nn.BatchNorm2d(narrow),
            nn.ReLU(),
            Residual(narrow, narrow, 1),
            Residual(narrow, wide, 2),
            Residual(wide, wide, 1),
        )
        self.head = nn.Sequential(GlobalPool("mean", keepdim=False), nn.Linear(wide, 10))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x))
        return logits


def network(name: str, pool: str | None, seed: int) -> SmallResNet:
    """A network whose convolutions start alike whatever the block, which is put in afterwards."""
    torch.manual_seed(seed)
    net = SmallResNet()
    for stage in net.body:
        if isinstance(stage, Residual) and name != PLAIN:
            stage.block = block(name, stage.channels, pool)
    return net


def block(name: str, channels: int, pool: str | None) -> nn.Module:
    """A block by name; where it squeezes channels, a quarter is left, as there are few."""
    settings: dict[str, object] = {} if pool is None else {"pool": pool}
    if "rd_channels" in signature(lookup(name)).parameters:
        settings["rd_channels"] = channels // 4
    return pp.blocks.build(name, channels, **settings)


def digits(scans: int) -> Digits:
    """The first scans, three quarters of them to learn from."""
    bunch = load_digits()
    images = torch.as_tensor(bunch.images[:scans], dtype=torch.float32)[:, None] / 16
    labels = torch.as_tensor(bunch.target[:scans])
    order = torch.randperm(scans, generator=torch.Generator().manual_seed(0))
    train, test = order[: round(0.75 * scans)], order[round(0.75 * scans) :]
    return Digits(images[train], labels[train], images[test], labels[test])


def step(net: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    """One step of training."""
    optimizer.zero_grad()
    F.cross_entropy(net(images), labels).backward()
    optimizer.step()


def fit(net: nn.Module, data: Digits, epochs: int, seed: int) -> None:
    """Trains in place."""
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    steps = epochs * -(-len(data.train) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    net.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(data.train), generator=order).split(BATCH):
            step(net, optimizer, data.train[batch], data.train_labels[batch])
            schedule.step()


@torch.no_grad()
def accuracy(net: nn.Module, data: Digits) -> float:
    """The share of right answers on the test images."""
    net.eval()
    return float((net(data.test).argmax(1) == data.test_labels).double().mean())


def step_times(names: list[str], pool: str | None, data: Digits, rounds: int) -> dict[str, list[float]]:
    """Seconds of training steps, one of each network in turn: what else the machine does falls on all alike."""
    nets = {name: network(name, pool, 0).train() for name in names}
    optimizers = {name: torch.optim.AdamW(net.parameters()) for name, net in nets.items()}
    images, labels = data.train[:BATCH], data.train_labels[:BATCH]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for measured in [False] * 3 + [True] * rounds:
        for name, net in nets.items():
            start = time.perf_counter()
            step(net, optimizers[name], images, labels)
            if measured:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def compare(
    names: list[str], pool: str | None, budget: Budget, tick: Callable[[str], object] = lambda name: None
) -> list[Reached]:
    """Trains every network on every seed, the plain one first."""
    data = digits(budget.scans)
    listed = [PLAIN, *names]
    accuracies: dict[str, list[float]] = {name: [] for name in listed}
    for seed in range(budget.seeds):
        for name in listed:
            net = network(name, pool, seed)
            fit(net, data, budget.epochs, seed)
            accuracies[name].append(accuracy(net, data))
            tick(name)
    seconds = step_times(listed, pool, data, budget.rounds)
    return [
        Reached(
            name,
            accuracies[name],
            statistics.median(seconds[name]),
            statistics.median(a / b for a, b in zip(seconds[name], seconds[PLAIN], strict=True)),
            sum(p.numel() for p in network(name, pool, 0).parameters()),
        )
        for name in listed
    ]


def table(results: list[Reached], budget: Budget) -> Table:
    """Accuracies in per cent, differences seed by seed, and what it costs."""
    plain = results[0]
    tested = budget.scans - round(0.75 * budget.scans)
    found = Table(
        title=f"digits, {budget.scans - tested:,} images to learn from and {tested} to test, {budget.epochs} epochs",
        caption=f"Mean and spread (standard deviation) over {budget.seeds} seeds; differences are between networks of "
        f"the same seed. One image is {100 / tested:.2f} points. Steps of {BATCH} images, on {torch.get_num_threads()} "
        "thread(s), one of each network in turn.",
        title_justify="left",
        caption_justify="left",
    )
    found.add_column("block", no_wrap=True)
    for heading in ("accuracy %", "less the plain network's", "ms/step", "times", "parameters"):
        found.add_column(heading, justify="right", no_wrap=True)
    for one in results:
        pairs = zip(one.accuracies, plain.accuracies, strict=True)
        difference = "" if one is plain else spread([a - b for a, b in pairs], signed=True)
        found.add_row(
            one.name,
            spread(one.accuracies),
            difference,
            f"{1000 * one.step:.1f}",
            f"{one.times:.2f}",
            f"{one.parameters:,}",
        )
    return found


def spread(shares: list[float], signed: bool = False) -> str:
    """Mean and standard deviation, in per cent."""
    mean = 100 * statistics.mean(shares)
    deviation = 100 * statistics.stdev(shares) if len(shares) > 1 else float("nan")
    return f"{mean:+.2f} ± {deviation:.2f}" if signed else f"{mean:.2f} ± {deviation:.2f}"


def main(
    blocks: Annotated[str, typer.Option(help='Names with commas between, or "all".')] = "all",
    pool: Annotated[
        str | None, typer.Option(help="What squeezes in all blocks; each block's own when left out.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = Budget.epochs,
    seeds: Annotated[int, typer.Option(min=1, help="How often everything is repeated.")] = Budget.seeds,
    scans: Annotated[int, typer.Option(min=80, max=SCANS, help="How many images.")] = SCANS,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Few images and epochs: does it run?")] = False,
) -> None:
    """Train a small ResNet without a block and with each, on the same budget."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    budget = Budget(3, 2, 600, 10) if quick else Budget(epochs, seeds, scans)
    try:
        names = list(pp.blocks.names()) if blocks == "all" else [name.strip() for name in blocks.split(",")]
        for name in names:
            block(name, WIDTHS[0], pool)
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(str(error)) from error
    torch.set_num_threads(threads)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=(len(names) + 1) * budget.seeds)
        results = compare(
            names, pool, budget, lambda name: progress.update(task, advance=1, description=name)
        )
    console.print(table(results, budget))


if __name__ == "__main__":
    typer.run(main)
