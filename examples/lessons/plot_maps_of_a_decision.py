"""
Maps of a decision
==================

**The claim.** Where a linear head reads an average of a feature map, each logit is a sum over places: the map of those
summands shows where the evidence for a class was found.

**What is measured.** Small networks learn to name one digit somewhere in a noisy image, with four poolings: mean, max,
GeM and attention with two heads. Then they see two digits side by side, and are asked for each of the two classes:
how far the sum of the map is from the logit minus the bias, and how often most of the positive evidence is on the
side of the right digit.

**Where the claim stops being true.** The sum is exact for all four, not for the mean alone, but only at the map that
is pooled: further back, gradient times activation leaves out what the biases and the normalisations add. Rectified and
scaled to [0, 1], as such maps are often shown, they add up to nothing, and evidence *against* a class is gone. And a
place of the map has seen more than its own pixels: a map says where a network found its evidence, not which pixels made
it.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import polypool as pp
from polypool.explain import class_activation_map

POOLS = ("mean", "max", "gem", "attention")
CHANNELS, HEADS = 32, 2
SIDE = 12  # half the width of an image with two digits, in pixels
SHOWN = 11  # the first images hold digits that are hard to read


@dataclass(frozen=True)
class Result:
    """What the page measures.

    Attributes:
        numbers: What is printed.
        image: One image with two digits, `(height, width)`.
        classes: Its left and right digit.
        maps: What each place adds to the logits of both, `(2, h, w)`, for each pooling.
        heads: The weights of attention on that image, `(HEADS, h, w)`.
        pointed: How often the positive evidence is on the right side, `(seeds,)`, for each pooling.
    """

    numbers: dict[str, float]
    image: Tensor
    classes: tuple[int, int]
    maps: dict[str, Tensor]
    heads: Tensor
    pointed: dict[str, Tensor]


# %%
# A network that has learned single digits
# ----------------------------------------


class Network(nn.Module):
    """Images of any size to ten logits."""

    def __init__(self, pool: str) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, CHANNELS, 3, padding=1, bias=False),
            nn.BatchNorm2d(CHANNELS),
            nn.ReLU(),
        )
        settings = {"heads": HEADS} if pool == "attention" else {}
        self.pool = pp.build(pool, channels=CHANNELS, **settings)
        self.head = nn.Linear(CHANNELS, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.pool(self.maps(images)))


def placed(digits: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Digits of 8x8 anywhere in empty images."""
    images = torch.zeros(len(digits), 1, height, width)
    rows = torch.randint(height - 7, (len(digits),), generator=generator)
    columns = torch.randint(width - 7, (len(digits),), generator=generator)
    for image, digit, row, column in zip(images, digits, rows.tolist(), columns.tolist(), strict=True):
        image[0, row : row + 8, column : column + 8] = digit
    return images


def noisy(images: Tensor, generator: torch.Generator) -> Tensor:
    return images + 0.1 * torch.randn(images.shape, generator=generator)


def trained(pool: str, digits: Tensor, kinds: Tensor, seed: int, epochs: int) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(pool)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.02, total_steps=epochs * -(-len(digits) // 50)
    )
    for _ in range(epochs):
        for rows in torch.randperm(len(digits), generator=generator).split(50):
            images = noisy(placed(digits[rows], 16, 16, generator), generator)
            loss = F.cross_entropy(network(images), kinds[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


# %%
# Two digits
# ----------
# The map of a class, its sum, and the side that it points to.


def pairs(digits: Tensor, kinds: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images of two different digits, one in each half, and their classes `(B, 2)`."""
    left, right = digits.chunk(2)
    both = torch.stack(kinds.chunk(2), dim=1)
    halves = [placed(half, 16, SIDE, generator) for half in (left, right)]
    images = noisy(torch.cat(halves, dim=3), generator)
    differ = both[:, 0] != both[:, 1]
    return images[differ], both[differ]


@dataclass(frozen=True)
class Examined:
    """What the maps of a network are like: see `measure` for the names of these numbers."""

    gap: float
    pointed: float
    rectified: float
    further_back: float


def examined(network: Network, images: Tensor, both: Tensor) -> Examined:
    gaps, points, rectified, missing = [], [], [], []
    for side, target in enumerate(both.T):
        found = class_activation_map(network, images, target)
        gaps.append((found.values.sum((1, 2)) + found.bias - found.logit).abs())
        evidence = torch.stack([half.clamp(min=0).sum((1, 2)) for half in found.values.chunk(2, dim=2)])
        points.append(evidence.argmax(0) == side)
        rectified.append(found.values.clamp(min=0).sum((1, 2)) / found.score)
        back = class_activation_map(network, images, target, layer="maps.5", method="gradient")
        missing.append((back.error / back.score).abs())
    return Examined(
        gap=float(torch.cat(gaps).max()),
        pointed=float(torch.cat(points).double().mean()),
        rectified=float(torch.cat(rectified).median()),
        further_back=float(torch.cat(missing).median()),
    )


def measure(seeds: int = 2, epochs: int = 5) -> Result:
    """Trains a network for each pooling and seed, and examines its maps."""
    data = load_digits()
    digits, kinds = torch.tensor(data.images, dtype=torch.float32) / 16, torch.tensor(data.target)
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    digits, kinds = digits[order], kinds[order]
    generator = torch.Generator().manual_seed(1)
    singles, named = noisy(placed(digits[900:1300], 16, 16, generator), generator), kinds[900:1300]
    images, both = pairs(digits[1300:1700], kinds[1300:1700], generator)
    example = images[SHOWN : SHOWN + 1]
    numbers: dict[str, float] = {}
    maps, pointed = {}, {}
    for pool in POOLS:
        networks = [trained(pool, digits[:900], kinds[:900], seed, epochs) for seed in range(seeds)]
        with torch.no_grad():
            right = torch.stack([network(singles).argmax(1) == named for network in networks])
        found = [examined(network, images, both) for network in networks]
        pointed[pool] = torch.tensor([one.pointed for one in found])
        numbers[f"{pool}: accuracy on one digit"] = float(right.double().mean())
        numbers[f"{pool}: logit minus bias minus sum of the map, at most"] = max(one.gap for one in found)
        numbers[f"{pool}: evidence on the right side"] = float(pointed[pool].mean())
        numbers[f"{pool}: sum of the rectified map over the score"] = (
            sum(one.rectified for one in found) / seeds
        )
        numbers[f"{pool}: share left out one convolution back"] = (
            sum(one.further_back for one in found) / seeds
        )
        shown = [
            class_activation_map(networks[0], example, target=int(kind)).values[0] for kind in both[SHOWN]
        ]
        maps[pool] = torch.stack(shown)
        if pool == "attention":
            with torch.no_grad():
                weights = networks[0].pool.weights(pp.Grid(networks[0].maps(example)))
            heads = weights[0, :: CHANNELS // HEADS]
    return Result(numbers, example[0, 0], (int(both[SHOWN, 0]), int(both[SHOWN, 1])), maps, heads, pointed)


def draw(result: Result) -> Figure:
    """The maps of both classes, the weights of attention, and how often the maps point to the right digit."""
    figure = plt.figure(figsize=(9.5, 5.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.7, 1), squeeze=False)[:, 0]
    axes = above.subplots(2, 1 + len(POOLS))
    for row, kind in enumerate(result.classes):
        axes[row, 0].imshow(result.image.numpy(), cmap="gray")
        axes[row, 0].set_ylabel(f"evidence for {kind}")
        for ax, (pool, maps) in zip(axes[row, 1:], result.maps.items(), strict=True):
            limit = float(maps.abs().max())
            ax.imshow(maps[row].numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
            ax.set_title(f"{pool if row == 0 else ''}\nsum {maps[row].sum():+.2f}".strip(), fontsize=10)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    axes[0, 0].set_title("image", fontsize=10)
    above.supxlabel(
        "sum = logit - bias. red: for the class, blue: against it; each pooling on its own scale", fontsize=9
    )
    bars, *heads = below.subplots(1, 1 + HEADS, width_ratios=(2, *[1] * HEADS))
    for place, shares in enumerate(result.pointed.values()):
        bars.barh(place, float(shares.mean()), color="#0072B2", alpha=0.5)
        bars.plot(shares.tolist(), [place] * len(shares), "ko", ms=4)
        bars.text(0.25, place, f"{shares.mean():.2f}", ha="center", va="center")
    bars.axvline(0.5, color="0.4", lw=0.8, ls="--")
    bars.set_yticks(range(len(POOLS)), POOLS)
    bars.set(xlim=(0, 1), xlabel="evidence on the side of the right digit (dots: seeds; dashed: chance)")
    bars.invert_yaxis()
    for number, (ax, weights) in enumerate(zip(heads, result.heads, strict=True), 1):
        ax.imshow(weights.numpy(), cmap="cividis", vmin=0)
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"attention: head {number}", fontsize=10)
    return figure


# %%
# What came out
# -------------
# The maps of all four add up to the logit minus the bias, to rounding. Those of mean and GeM nearly always point to the
# digit that was asked for. Attention points there least: its weights are shared between the two digits and do not
# depend on the class that is asked for, so the digit that they pass over leaves little trace.

if __name__ == "__main__":
    result = measure()
    for name, value in result.numbers.items():
        print(f"{name:62} {value:8.4g}")
    draw(result)
    plt.show()
