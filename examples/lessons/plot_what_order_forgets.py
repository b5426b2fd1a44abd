"""
What a pooling without order forgets
====================================

**The claim.** A pooling of pixels does not know which pixel lies beside which. Vertical stripes and a checkerboard have
the same pixels in another order, so mean, maximum and every second moment of the image are the same, before and after
any 1x1 convolution. It takes something that looks at neighbours to tell them apart, and very little is enough.

**What is measured.** How well a linear probe tells noisy stripes from noisy checkerboards: from poolings of the pixels,
from poolings of 1x1 convolutions, from the local gradient energy (``polypool.vision.GradientEnergy``, the mean squared
difference of neighbours in each direction), and from the mean of one random 3x3 convolution. Then digits, seen through
16 random 3x3 convolutions that are never trained: what mean, mean and standard deviation, covariance, and means of rows
and columns (strips) leave for a linear probe.

**Where the claim stops being true.** What counts as order depends on who looks. Stripes that lean to the left and to
the right have the same gradient energy along the axes; the diagonal neighbours tell them apart. And what the mean
forgets it can be given in advance: with 64 convolutions instead of 16 the mean alone does better than mean and
standard deviation of 16.
"""

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

import polypool as pp
from polypool.vision import GradientEnergy

SIDE, NOISE = 16, 0.5
SEEDS = 5
Look = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Result:
    """What the page measures.

    Attributes:
        numbers: What is printed.
        textures: One image of each kind.
        told: Accuracy on stripes against checkerboards, for each way to look.
        digits: Accuracy on digits for each seed, for each pooling.
    """

    numbers: dict[str, float]
    textures: dict[str, Tensor]
    told: dict[str, float]
    digits: dict[str, list[float]]


# %%
# Textures
# --------
# Every image begins at another phase. Without the noise all of them hold the same number of -1 and +1.


def texture(kind: str, count: int, generator: torch.Generator) -> Tensor:
    """Images `(count, 1, SIDE, SIDE)` of -1 and +1."""
    down, right = torch.arange(SIDE)[:, None], torch.arange(SIDE)
    phase = torch.randint(4, (count, 1, 1), generator=generator)
    cycle = {
        "stripes": right + phase + 0 * down,
        "checkerboard": down + right + phase,
        "leaning left": (down + right + phase) // 2,
        "leaning right": (down - right + phase) // 2,
    }[kind]
    return (cycle % 2 * 2.0 - 1).unsqueeze(1)


def covariance(layout: pp.Layout) -> Tensor:
    """The covariance of the channels in each cell, each pair once: an integral of outer products."""
    cells = layout.cells
    deviation = cells.rows - cells.expand(cells.mean(cells.rows))
    matrix = cells.gram(deviation, deviation) / cells.mass.unsqueeze(-1)
    row, column = torch.triu_indices(layout.channels, layout.channels)
    return matrix[:, row, column]


def strips(grid: pp.Grid) -> Tensor:
    """The means of rows and of columns."""
    height, width = grid.spatial
    mean = pp.build("mean")
    return torch.cat([mean(grid.bins((height, 1))).flatten(1), mean(grid.bins((1, width))).flatten(1)], dim=1)


def convolution(size: int, channels: int, generator: torch.Generator) -> Look:
    """Random kernels and a ReLU; not trained."""
    kernel = torch.randn(channels, 1, size, size, generator=generator) / size
    return lambda images: F.conv2d(images, kernel).relu()


def looks(generator: torch.Generator) -> dict[str, Look]:
    """The ways to look at a texture."""
    one, three = convolution(1, 16, generator), convolution(3, 16, generator)
    mean = pp.build("mean")
    return {
        "mean": mean,
        "max": pp.build("max"),
        "mean+std": pp.build("mean+std"),
        "1x1 conv, mean": lambda images: mean(one(images)),
        "1x1 conv, covariance": lambda images: covariance(pp.Grid(one(images))),
        "gradient energy": GradientEnergy(),
        "3x3 conv, mean": lambda images: mean(three(images)),
    }


# %%
# A linear probe
# --------------


def probed(train: Tensor, targets: Tensor, test: Tensor, test_targets: Tensor) -> float:
    """The test accuracy of a logistic regression on standardised features."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    probe.fit(train.double().numpy(), targets.numpy())
    return float(probe.score(test.double().numpy(), test_targets.numpy()))


def contest(look: Look, kinds: tuple[str, str], generator: torch.Generator, count: int = 400) -> float:
    """How well a look at noisy images tells two textures apart."""
    images = torch.cat([texture(kind, 2 * count, generator) for kind in kinds])
    images = images + NOISE * torch.randn(images.shape, generator=generator)
    targets = torch.arange(2).repeat_interleave(2 * count)
    order = torch.randperm(len(images), generator=generator)
    seen, targets = look(images[order]), targets[order]
    half = len(images) // 2
    return probed(seen[:half], targets[:half], seen[half:], targets[half:])


def on_digits(seed: int, channels: int, poolings: dict[str, Callable[[pp.Grid], Tensor]]) -> dict[str, float]:
    """Test accuracy on 797 digits after training on 1000, for each pooling of the same maps."""
    generator = torch.Generator().manual_seed(seed)
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    targets = torch.tensor(data.target)
    grid = pp.Grid(convolution(3, channels, generator)(images))
    order = torch.randperm(len(images), generator=generator)
    train, test = order[:1000], order[1000:]
    seen = {name: pooling(grid) for name, pooling in poolings.items()}
    return {name: probed(x[train], targets[train], x[test], targets[test]) for name, x in seen.items()}


def measure(seeds: int = SEEDS) -> Result:
    """Probes poolings of textures and of digits."""
    generator = torch.Generator().manual_seed(0)
    kinds = ("stripes", "checkerboard")
    numbers: dict[str, float] = {}
    clean = [texture(kind, 8, generator) for kind in kinds]
    for name, pool in {name: pp.build(name) for name in ("mean", "max", "var")}.items():
        numbers[f"stripes less checkerboard, {name}"] = float((pool(clean[0]) - pool(clean[1])).abs().max())
    told = {}
    for name, look in looks(generator).items():
        told[name] = contest(look, kinds, generator)
        numbers[f"stripes or checkerboard, {name}"] = told[name]
    leaning = ("leaning left", "leaning right")
    for steps in ("axes", "neighbours"):
        accuracy = contest(GradientEnergy(steps), leaning, generator)
        numbers[f"leaning left or right, gradient energy, {steps}"] = accuracy
    poolings: dict[str, Callable[[pp.Grid], Tensor]] = {
        "mean": pp.build("mean"),
        "mean+std": pp.build("mean+std"),
        "covariance": covariance,
        "strips": strips,
    }
    digits: dict[str, list[float]] = {name: [] for name in [*poolings, "mean, 64 channels"]}
    for seed in range(seeds):
        for name, accuracy in on_digits(seed, 16, poolings).items():
            digits[name].append(accuracy)
        digits["mean, 64 channels"].append(on_digits(seed, 64, {"mean": pp.build("mean")})["mean"])
    for name, runs in digits.items():
        numbers[f"digits, {name}"] = sum(runs) / len(runs)
    shown = {kind: texture(kind, 1, generator)[0, 0] for kind in (*kinds, *leaning)}
    noisy = {
        kind: image + NOISE * torch.randn(image.shape, generator=generator) for kind, image in shown.items()
    }
    return Result(numbers, noisy, told, digits)


def draw(result: Result) -> Figure:
    """The textures, and what each way to look leaves of them and of digits."""
    figure = plt.figure(figsize=(12, 4.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(0.75, 2), squeeze=False)[0]
    for ax, (kind, image) in zip(left.subplots(2, 2).flat, result.textures.items(), strict=True):
        ax.imshow(image.numpy(), cmap="gray")
        ax.set(xticks=[], yticks=[])
        ax.set_title(kind, fontsize=10)
    first, second = right.subplots(1, 2)
    colours = ["#D55E00" if value < 0.6 else "#0072B2" for value in result.told.values()]
    first.barh(list(result.told), list(result.told.values()), color=colours)
    for place, value in enumerate(result.told.values()):
        first.text(0.03, place, f"{value:.3f}", va="center", color="white")
    first.axvline(0.5, color="0.3", ls=":")
    first.set(title="Stripes or checkerboard?", xlabel="accuracy (dotted: guessing)", xlim=(0, 1.05))
    means = [sum(runs) / len(runs) for runs in result.digits.values()]
    second.barh(list(result.digits), means, color=["#0072B2"] * 4 + ["#806000"])
    for place, runs in enumerate(result.digits.values()):
        second.plot(runs, [place] * len(runs), "o", color="black", ms=3, alpha=0.6)
    for place, value in enumerate(means):
        second.text(0.62, place, f"{value:.3f}", va="center", color="white")
    second.set(title="Digits, 16 frozen 3x3 convolutions", xlabel="accuracy (dots: seeds)", xlim=(0.6, 1.02))
    for ax in (first, second):
        ax.invert_yaxis()
        ax.spines[["top", "right"]].set_visible(False)
    return figure


# %%
# What came out
# -------------
# Without noise the differences of mean, maximum and variance are exactly 0, and with noise no look at single pixels
# does better than guessing. Gradient energy and a random 3x3 convolution make no mistake. On digits every step that
# keeps more of the order tells more, up to the strips, which know in which row and which column.

if __name__ == "__main__":
    result = measure()
    for name, value in result.numbers.items():
        print(f"{name:56} {value:8.3f}")
    draw(result)
    plt.show()
