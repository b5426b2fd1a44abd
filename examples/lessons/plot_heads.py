"""
What a pooled head saves
========================

**The claim.** A head that flattens the last maps and multiplies them by a matrix has a weight for every channel, place
and class. A head that averages first has one for every channel and class: ``H W`` times fewer, whatever the size of
the maps.

**What is measured.** Weights, multiplications and additions, and the time for one image, of both heads: on maps of 128
channels and 64x64 places with 10 classes, and on the last maps of AlexNet (with its three layers, as published),
GoogLeNet, ResNet-18 and ResNet-50 with 1000 classes. Weights and operations are counted on the modules themselves.

**Where the claim stops being true.** It is about the head. The body of a ResNet-50 does about 4.1 thousand million
multiply-adds for an image; even a flattened head would add no more than 0.1. What weighs is memory: hundreds of
megabytes of weights that few images have to fill. And the two heads do not compute the same thing: the average does not
know where. Networks with pooled heads make up for it with more channels; on AlexNet's 256 the average is a narrow
vector for 1000 classes.
"""

import time
from dataclasses import dataclass
from itertools import pairwise

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import polypool as pp


@dataclass(frozen=True)
class Maps:
    """The last maps of a network and what its head makes of them.

    Attributes:
        channels: Channels of the maps.
        side: Height and width.
        classes: Outputs of the head.
        hidden: The widths of the layers between, in the flattened head.
    """

    channels: int
    side: int
    classes: int
    hidden: tuple[int, ...] = ()


NETWORKS = {
    "128 x 64 x 64": Maps(128, 64, 10),
    "AlexNet": Maps(256, 6, 1000, (4096, 4096)),
    "GoogLeNet": Maps(1024, 7, 1000),
    "ResNet-18": Maps(512, 7, 1000),
    "ResNet-50": Maps(2048, 7, 1000),
}
HEADS = {"flattened": "#D55E00", "pooled": "#0072B2"}
COUNTED = ("weights", "operations", "microseconds")


@dataclass(frozen=True)
class Result:
    """What the page measures.

    Attributes:
        numbers: What is printed.
        table: For each head and network: weights, operations and microseconds for an image.
    """

    numbers: dict[str, float]
    table: dict[str, dict[str, tuple[float, float, float]]]


# %%
# The two heads
# -------------
# They are made without memory first, on torch's ``meta`` device: that is enough to count, and a flattened head of
# ResNet-50 would fill 400 megabytes.


def head(kind: str, maps: Maps) -> nn.Sequential:
    """Either head, without biases."""
    if kind == "pooled":
        return nn.Sequential(pp.build("mean"), nn.Linear(maps.channels, maps.classes, bias=False))
    widths = (maps.channels * maps.side**2, *maps.hidden, maps.classes)
    layers: list[nn.Module] = [nn.Flatten()]
    for width, following in pairwise(widths):
        layers += [nn.Linear(width, following, bias=False), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def counted(kind: str, maps: Maps) -> tuple[int, int]:
    """Weights, and multiplications and additions for one image."""
    with torch.device("meta"):
        module, image = head(kind, maps), torch.empty(1, maps.channels, maps.side, maps.side)
    with FlopCounterMode(display=False) as counter:
        module(image)
    weights = sum(weight.numel() for weight in module.parameters())
    # torch counts products of matrices; an average adds every number of the maps once.
    additions = image.numel() if kind == "pooled" else 0
    return weights, counter.get_total_flops() + additions


def timed(kind: str, maps: Maps, batch: int) -> float:
    """Microseconds for an image in a batch, the fastest of some runs."""
    with torch.device("meta"):
        module = head(kind, maps)
    module = module.to_empty(device="cpu")
    images = torch.ones(batch, maps.channels, maps.side, maps.side)
    with torch.no_grad():
        for weight in module.parameters():
            weight.fill_(0.01)
        seconds = []
        for _ in range(4):
            start = time.perf_counter()
            module(images)
            seconds.append(time.perf_counter() - start)
    return min(seconds) / batch * 1e6


def measure(batch: int = 4) -> Result:
    """Counts and times both heads on all maps."""
    table: dict[str, dict[str, tuple[float, float, float]]] = {kind: {} for kind in HEADS}
    numbers: dict[str, float] = {}
    for name, maps in NETWORKS.items():
        for kind in HEADS:
            row = (*counted(kind, maps), timed(kind, maps, batch))
            table[kind][name] = row
            for what, value in zip(COUNTED, row, strict=True):
                numbers[f"{name}, {kind}: {what}"] = value
    return Result(numbers, table)


def draw(result: Result) -> Figure:
    """One panel for each of the three prices."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 4.2), sharey=True, layout="constrained")
    titles = ("Weights", "Multiplications and additions", "Time for an image, microseconds")
    places = torch.arange(len(NETWORKS))
    for column, (ax, title) in enumerate(zip(axes, titles, strict=True)):
        every = [row[column] for rows in result.table.values() for row in rows.values()]
        for kind, shift in (("flattened", -0.2), ("pooled", 0.2)):
            values = [row[column] for row in result.table[kind].values()]
            bars = ax.barh(places + shift, values, height=0.36, color=HEADS[kind], label=f"{kind} head")
            ax.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3, fontsize=8)
        ax.set(xscale="log", title=title, xlim=(min(every) / 20, max(every) * 100))
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(places, NETWORKS)
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


# %%
# What came out
# -------------
# 1,280 weights against 5,242,880 on 128 channels of 64x64: the ratio is the number of places, 4,096. On AlexNet the
# pooled head has 229 times fewer weights, and on maps of 7x7 it has 49 times fewer. Operations shrink less, because an
# average still reads every number once. The time is what the machine said when this page was made: it goes with what
# has to be read, which for one image is mostly weights.

if __name__ == "__main__":
    result = measure()
    for name, value in result.numbers.items():
        print(f"{name:40} {value:14,.0f}")
    draw(result)
    plt.show()
