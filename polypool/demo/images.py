"""Images: scanned digits, a small convolutional network, and six ways to end it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import polypool as pp
from polypool.demo import pictures
from polypool.demo.report import Picture, Section, Table
from polypool.demo.training import fit
from polypool.explain import ActivationMap, class_activation_map

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from polypool.demo.budget import Budget

MARGIN = 2
SIDE = 8 + 2 * MARGIN
CHANNELS = 32
BATCH = 64
LEARNING_RATE = 0.005
HEADS = ("mean", "max", "gem", "mean+max+std", "attention", "flatten")


@dataclass(frozen=True)
class Digits:
    """Scans (N, 1, 12, 12) in [0, 1] with their labels (N,), split once."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def digits(scans: int, seed: int) -> Digits:
    """The first `scans` of scikit-learn's 1,797 scans, on a blank border that leaves room to move them."""
    bunch = load_digits()
    images = torch.as_tensor(bunch.images[:scans], dtype=torch.float32)[:, None] / 16
    images = F.pad(images, (MARGIN,) * 4)
    labels = torch.as_tensor(bunch.target[:scans])
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    test, train = order[: round(0.28 * scans)], order[round(0.28 * scans) :]
    return Digits(images[train], labels[train], images[test], labels[test])


class Flatten(nn.Module):
    """What pooling replaces: every pixel of every channel is its own input of the last layer."""

    def forward(self, grid: pp.Grid) -> Tensor:
        return grid.values.flatten(1)

    def out_channels(self, channels: int) -> int:
        return channels * SIDE * SIDE


class DigitNet(nn.Module):
    """Three convolutions with Squeeze-and-Excitation, a pooling, and one linear layer."""

    def __init__(self, pool: pp.Pooling | Flatten, squeeze: pp.Pooling) -> None:
        super().__init__()
        widths = (1, 16, CHANNELS, CHANNELS)
        self.body = nn.Sequential(*(_stage(a, b, squeeze) for a, b in pairwise(widths)))
        self.pool = pool
        self.classify = nn.Linear(pool.out_channels(CHANNELS), 10)

    def maps(self, images: Tensor) -> pp.Grid:
        """The feature maps, as the layout that gets pooled."""
        return pp.Grid(self.body(images))

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.pool(self.maps(images)))

    def head_parameters(self) -> int:
        """How many numbers are learned behind the convolutions."""
        return sum(p.numel() for part in (self.pool, self.classify) for p in part.parameters())


def _stage(inputs: int, outputs: int, squeeze: pp.Pooling) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        pp.blocks.SqueezeExcite(outputs, reduction=4, pool=squeeze),
    )


def head(name: str, pools: Mapping[str, pp.Pooling]) -> pp.Pooling | Flatten:
    """A shared pooling where there is one; the learned and the flattened head are this network's own."""
    if name == "flatten":
        return Flatten()
    return pools[name] if name in pools else pp.build(name, channels=CHANNELS)


def train(
    name: str, pools: Mapping[str, pp.Pooling], data: Digits, budget: Budget, tick: Callable[[], object]
) -> DigitNet:
    """Train one network; every head sees the same batches."""
    torch.manual_seed(budget.seed)
    net = DigitNet(head(name, pools), squeeze=pools["mean"])

    def batches(generator: torch.Generator) -> Sequence[Tensor]:
        order = torch.randperm(len(data.train), generator=generator)
        return order.split(BATCH)

    def loss(batch: Tensor) -> Tensor:
        return F.cross_entropy(net(data.train[batch]), data.train_labels[batch])

    fit(net, batches, loss, epochs=budget.image_epochs, rate=LEARNING_RATE, seed=budget.seed, tick=tick)
    return net


@torch.no_grad()
def accuracy(net: DigitNet, images: Tensor, labels: Tensor, shift: int = 0) -> float:
    """Share of right answers; with a shift, the mean over the four directions."""
    moves = [(shift, 0), (-shift, 0), (0, shift), (0, -shift)] if shift else [(0, 0)]
    moved = [net(torch.roll(images, move, dims=(2, 3))).argmax(1) == labels for move in moves]
    return torch.stack(moved).float().mean().item()


def margins(net: DigitNet, found: ActivationMap) -> Tensor:
    """Logit minus bias of the explained class, (B,), as the network itself has them."""
    return found.logit.double() - net.classify.bias.detach().double()[found.target]


def sums(found: ActivationMap) -> Tensor:
    """What the positions of each map add up to, (B,)."""
    return found.values.double().sum((1, 2))


def averages(found: ActivationMap) -> Tensor:
    """The average, (B,), of the maps that show the class's score at every position, its weights times the features.

    Under a mean each of N positions adds an N-th of its score.
    """
    positions = found.values[0].numel()
    return (found.values.double() * positions).mean((1, 2))


def one_of_each(labels: Tensor, count: int = 8) -> Tensor:
    """The first test scan of each of the digits 0, 1, 2, ..."""
    return torch.stack([(labels == digit).nonzero()[0, 0] for digit in range(count)])


def section(pools: Mapping[str, pp.Pooling], budget: Budget, tick: Callable[[], object]) -> Section:
    """Train all heads, compare them, and draw where the evidence is."""
    data = digits(budget.scans, budget.seed)
    nets = {name: train(name, pools, data, budget, tick) for name in HEADS}
    scores = {
        name: [accuracy(net, data.test, data.test_labels, shift) for shift in (0, 1, 2)]
        for name, net in nets.items()
    }
    pooled = {name: net for name, net in nets.items() if name != "flatten"}
    chosen = one_of_each(data.test_labels)
    drawn = {name: class_activation_map(net, data.test[chosen]) for name, net in pooled.items()}
    all_maps = {name: class_activation_map(net, data.test) for name, net in pooled.items()}
    worst = {
        name: (sums(all_maps[name]) - margins(net, all_maps[name])).abs().max()
        for name, net in pooled.items()
    }
    mean, margin = drawn["mean"], margins(nets["mean"], drawn["mean"])
    gap = averages(mean) - margin
    return Section(
        key="images",
        title="Images: which digit is this?",
        intro=(
            f"{len(data.train):,} scanned digits train a small convolutional network with Squeeze-and-Excitation "
            f"blocks; {len(data.test):,} others test it. Only the step between the feature maps and the last linear "
            "layer changes: a pooling, or the flattened map that pooling replaces. No network ever saw a moved digit."
        ),
        code='polypool.build("mean")(polypool.Grid(feature_maps))',
        tables=[
            Table(
                title="Heads on the digits",
                columns=("head", "head parameters", "accuracy", "moved 1 pixel", "moved 2 pixels"),
                rows=[
                    (name, f"{net.head_parameters():,}", *(f"{score:.3f}" for score in scores[name]))
                    for name, net in nets.items()
                ],
                note="Accuracy on the test scans: in place, and moved up, down, left and right (mean of the four).",
            ),
            Table(
                title="Class activation maps of the mean head",
                columns=("digit", "predicted", "average of the map", "logit - bias", "difference"),
                rows=[
                    (f"{label}", f"{guess}", f"{average:.6f}", f"{number:.6f}", f"{difference:+.1e}")
                    for label, guess, average, number, difference in zip(
                        data.test_labels[chosen].tolist(),
                        mean.target.tolist(),
                        averages(mean).tolist(),
                        margin.tolist(),
                        gap.tolist(),
                        strict=True,
                    )
                ],
                note="The map is the class's score at every position: its weights times the features there.",
            ),
            Table(
                title="The map of every pooled head",
                columns=("head", "sum of the map", "logit - bias", "largest difference"),
                rows=[
                    (
                        name,
                        f"{sums(drawn[name])[0].item():.6f}",
                        f"{margins(net, drawn[name])[0].item():.6f}",
                        f"{worst[name].item():.1e}",
                    )
                    for name, net in pooled.items()
                ],
                note=(
                    "The map is what every position adds to the logit, whatever the pooling. Two columns for the first "
                    f"scan of the picture, the last for all {len(data.test):,} test scans."
                ),
            ),
        ],
        facts=[
            (
                "Pooling before or after the last layer gives the same number: under a mean, the average of the map of "
                f"the class's score is the logit minus the bias. Largest difference: {gap.abs().max().item():.1e}."
            ),
            (
                "Every pooled head has a map of what each position adds; it sums to the logit minus the bias. Largest "
                f"difference over {len(pooled)} heads and {len(data.test):,} scans: {max(worst.values()).item():.1e}."
            ),
        ],
        pictures=[
            Picture(
                "images-heads",
                "Accuracy when the digit moves",
                "Test accuracy of each head with the digit in place and moved by one or two pixels: a flattened head "
                "learns where things are, a pooled head cannot.",
                pictures.heads(scores),
            ),
            Picture(
                "images-maps",
                "Where the evidence for a digit is",
                "Top: the scans. Below: what each position adds to the logit of the class that a head takes the scan "
                "for (red for it, blue against it). A map sums to the number above it, the logit minus the bias. Every "
                "head has a scale of its own: a mean asks all positions a little, attention a few or a single one.",
                pictures.activation_maps(data.test[chosen], data.test_labels[chosen], drawn),
            ),
        ],
    )
