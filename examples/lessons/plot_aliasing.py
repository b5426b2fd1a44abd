"""
Sampling and aliasing: a shift by one pixel
===========================================

**The claim.** Max pooling with stride 2 is a maximum at every pixel, of which every second one is kept. What the
samples miss is lost, and a shift by one pixel chooses the other ones. A blur between the maximum and the sampling
makes the network's answer steady.

**What is measured.** Three convolutions with two poolings between them learn digits of 12x12 pixels on a torus, where
shifts lose nothing. Test digits are then shifted: how often the predicted class stays (consistency), and how much the
logits move, relative to their norm. The poolings are max with stride 2, average with stride 2, and
``polypool.vision.MaxBlurPool`` with three and with five taps; two seeds. Then the same question to a pooling alone,
without a network: the change of the mean of the pooled digits.

**Where the claim stops being true.** Steady is not exact. A blur followed by samples keeps the mean of a map exactly,
because its even taps and its odd taps both add up to one half; but ReLU and maximum come after, and they make new
detail that the next samples miss. An average is a blur with two taps, exact in the mean too, and the least steady
network but one. Nor is it free: the blurred networks are a little less accurate at home. And at the border of an image,
which a torus does not have, a blur that counts zeros darkens: a corner of ones becomes 9/16 with three taps. Here it
stays 1.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import polypool as pp
from polypool.vision import BlurPool, MaxBlurPool

SIDE = 12
SHIFTS = (0, 1, 2, 3, 4)
POOLS = {
    "max, stride 2": ("#D55E00", "D"),
    "average, stride 2": ("#E69F00", "^"),
    "blurred max, 3 taps": ("#0072B2", "o"),
    "blurred max, 5 taps": ("#56B4E9", "s"),
}


@dataclass(frozen=True)
class Result:
    """What the page measures.

    Attributes:
        numbers: What is printed.
        consistency: `(seeds, shifts)` for each pooling.
        change: The relative change of the logits, `(seeds, shifts)` for each pooling.
        pictures: A digit, and what max and blurred max make of it and of its shift by one pixel.
    """

    numbers: dict[str, float]
    consistency: dict[str, Tensor]
    change: dict[str, Tensor]
    pictures: dict[str, Tensor]


# %%
# Networks on a torus
# -------------------


def pooling(name: str) -> nn.Module:
    """A fresh module that halves the sides of a map."""
    if name.startswith("blurred"):
        return MaxBlurPool(int(name.split()[2]), border="circular")
    return nn.MaxPool2d(2) if name.startswith("max") else nn.AvgPool2d(2)


def network(name: str, seed: int) -> nn.Sequential:
    """Three convolutions, with a pooling after the first and the second, a global mean and a linear layer."""
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for before, after in ((1, 12), (12, 24), (24, 24)):
            convolution = nn.Conv2d(before, after, 3, padding=1, padding_mode="circular", bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU(), pooling(name)]
        return nn.Sequential(*layers[:-1], pp.build("mean"), nn.Linear(24, 10))


def trained(name: str, images: Tensor, targets: Tensor, seed: int, epochs: int = 6) -> nn.Sequential:
    """A network that has seen the digits where they are, never shifted."""
    model, generator = network(name, seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.02, total_steps=epochs * -(-len(images) // 50)
    )
    for _ in range(epochs):
        for rows in torch.randperm(len(images), generator=generator).split(50):
            loss = F.cross_entropy(model(images[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


# %%
# Shifts
# ------


def shifted(model: nn.Sequential, images: Tensor) -> tuple[list[float], list[float]]:
    """Consistency and relative change of the logits for every shift, the mean of shifts down and to the right."""
    consistency, change = [1.0], [0.0]
    still = model(images)
    for by in SHIFTS[1:]:
        logits = torch.stack([model(images.roll(by, dim)) for dim in (2, 3)])
        consistency.append(float((logits.argmax(-1) == still.argmax(-1)).float().mean()))
        change.append(float(((logits - still).norm(dim=-1) / still.norm(dim=-1)).mean()))
    return consistency, change


def measure(seeds: int = 2) -> Result:
    """Trains every network and shifts its test digits."""
    data = load_digits()
    images = F.interpolate(
        torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, (SIDE, SIDE), mode="bilinear"
    )
    targets = torch.tensor(data.target)
    numbers: dict[str, float] = {}
    consistency: dict[str, Tensor] = {}
    change: dict[str, Tensor] = {}
    for name in POOLS:
        rows, accuracies = [], []
        for seed in range(seeds):
            order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
            train, test = order[:800], order[1000:1400]
            model = trained(name, images[train], targets[train], seed)
            with torch.no_grad():
                rows.append(shifted(model, images[test]))
                hits = model(images[test]).argmax(1) == targets[test]
            accuracies.append(float(hits.float().mean()))
        consistency[name], change[name] = torch.tensor(rows).unbind(1)
        numbers[f"{name}: consistency after one pixel"] = float(consistency[name][:, 1].mean())
        numbers[f"{name}: its spread over seeds"] = float(consistency[name][:, 1].std())
        numbers[f"{name}: change of the logits"] = float(change[name][:, 1].mean())
        numbers[f"{name}: accuracy"] = sum(accuracies) / len(accuracies)
        alone, mean = pooling(name), pp.build("mean")
        before, after = mean(alone(images)), mean(alone(images.roll(1, 3)))
        numbers[f"{name}: change of the mean of pooled digits"] = float(
            ((after - before) / before).abs().mean()
        )
    corner = torch.ones(1, 1, 8, 8)
    zeros = F.pad(corner, (1, 1, 1, 1))
    numbers["corner of ones after a blur, zeros counted"] = float(BlurPool(3, 1)(zeros)[0, 0, 1, 1])
    numbers["corner of ones after a blur, BlurPool"] = float(BlurPool(3, 1)(corner)[0, 0, 0, 0])
    digit = images[7:8]
    pictures = {"digit": digit[0, 0]}
    for name in ("max, stride 2", "blurred max, 3 taps"):
        for by in (0, 1):
            pictures[f"{name}, shifted by {by}"] = pooling(name)(digit.roll(by, 3))[0, 0]
    return Result(numbers, consistency, change, pictures)


def draw(result: Result) -> Figure:
    """What pooling makes of a digit and its shift; consistency and change against the shift."""
    figure = plt.figure(figsize=(12, 4.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(0.8, 2), squeeze=False)[0]
    pictures = left.subplots(2, 2)
    names = list(result.pictures)[1:]
    for ax, name in zip(pictures.flat, names, strict=True):
        ax.imshow(result.pictures[name].numpy(), cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
    pictures[0, 0].set_title("a digit, pooled", fontsize=10)
    pictures[0, 1].set_title("shifted, then pooled", fontsize=10)
    pictures[0, 0].set_ylabel("max, stride 2")
    pictures[1, 0].set_ylabel("blurred max")
    panels = right.subplots(1, 2)
    for ax, lines in zip(panels, (result.consistency, result.change), strict=True):
        for name, (colour, marker) in POOLS.items():
            ax.plot(SHIFTS, lines[name].T, color=colour, lw=0.6, alpha=0.4)
            ax.plot(SHIFTS, lines[name].mean(0), color=colour, marker=marker, lw=2, label=name)
        ax.set_xticks(SHIFTS)
        ax.set_xlabel("shift, pixels (the strides multiply to 4)")
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].set(title="How often the class stays", ylabel="consistency", ylim=(None, 1.01))
    panels[1].set(title="How far the logits move", ylabel="relative change")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=4, fontsize=9)
    return figure


# %%
# What came out
# -------------
# A shift by one pixel changes the class of every sixth digit with max and stride 2, and of one to three in a
# hundred with a blur. After four pixels, the product of the two strides, every network is back where it was.

if __name__ == "__main__":
    result = measure()
    for name, value in result.numbers.items():
        print(f"{name:64} {value:8.4f}")
    draw(result)
    plt.show()
