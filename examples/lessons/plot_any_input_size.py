"""
Any input size
==============

**The claim.** A network whose head sees an average of the last feature map takes images of any size: the average has
one number per channel, however many places there are, and no parameter knows the size.

**What is measured.** A small network learns digits of 12x12 pixels and reads the test digits at sizes from 6x6 to
24x24. Another with the same parameters learns on sizes from 8 to 20, a new one for each batch. Beside it: how much each
pixel counts when a map of 7x7 is averaged in 4x4 bins, which do not divide it.

**Where the claim stops being true.** The network runs at any size; it is not right at any size. A convolution knows
strokes of so many pixels: what saw one size forgets the digits as they grow or shrink. And where bins do not divide
the map, those of ``AdaptiveAvgPool2d`` overlap and count pixels unequally, so the average of the bins is not the
average of the map. The bins of ``Grid.bins`` have equal areas; a pixel on a border counts in each by its part.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import polypool as pp

TRAINED_AT = 12
MIXED = (8, 10, 12, 14, 16, 18, 20)
READ_AT = (6, 8, 10, 12, 14, 16, 18, 20, 24)
MAP, BINS = 7, 4


@dataclass(frozen=True)
class Result:
    """What the page measures.

    Attributes:
        numbers: What is printed.
        accuracy: Test accuracy `(seeds, sizes)`, for each way to train.
        counted: What each pixel of the map counts in the average of its bins, for both kinds of bins; 1 is fair.
    """

    numbers: dict[str, float]
    accuracy: dict[str, Tensor]
    counted: dict[str, Tensor]


# %%
# One network, many sizes
# -----------------------
# Three convolutions, the average of whatever is there, a linear layer.


class Network(nn.Module):
    """Digits of any size to ten logits."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 24, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(24, 32, 3, padding=1),
            nn.ReLU(),
        )
        self.pool = pp.build("mean")
        self.head = nn.Linear(self.pool.out_channels(32), 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.pool(self.maps(images)))


def resized(images: Tensor, size: int) -> Tensor:
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)


def trained(images: Tensor, targets: Tensor, sizes: tuple[int, ...], seed: int, epochs: int) -> Network:
    """A network that sees each batch at one of the sizes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    steps = epochs * -(-len(images) // 50)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(images), generator=generator).split(50):
            size = sizes[int(torch.randint(len(sizes), (), generator=generator))]
            loss = F.cross_entropy(network(resized(images[rows], size)), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.no_grad()
def accuracies(network: Network, images: Tensor, targets: Tensor) -> Tensor:
    """The accuracy at each size."""
    right = [network(resized(images, size)).argmax(1) == targets for size in READ_AT]
    return torch.stack(right).double().mean(1)


# %%
# What a pixel counts
# -------------------
# The derivative of the average of all bins with respect to each pixel, times the number of pixels.


def counted(kind: str) -> Tensor:
    """`(MAP, MAP)`, 1 where a pixel counts as in the average of the map."""
    map_ = torch.zeros(1, 1, MAP, MAP, dtype=torch.float64, requires_grad=True)
    if kind == "AdaptiveAvgPool2d":
        bins = F.adaptive_avg_pool2d(map_, BINS)
    else:
        bins = pp.build("mean")(pp.Grid(map_).bins(BINS))
    (slope,) = torch.autograd.grad(bins.mean(), map_)
    return slope[0, 0] * MAP**2


def measure(seeds: int = 3, epochs: int = 12) -> Result:
    """Trains both networks for each seed, and weighs the pixels of both kinds of bins."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    targets = torch.tensor(digits.target)
    accuracy = {}
    for name, sizes in (("size 12", (TRAINED_AT,)), ("sizes 8 to 20", MIXED)):
        runs = []
        for seed in range(seeds):
            order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
            learn, test = order[:900], order[900:1400]
            network = trained(images[learn], targets[learn], sizes, seed, epochs)
            runs.append(accuracies(network, images[test], targets[test]))
        accuracy[name] = torch.stack(runs)
    weights = {kind: counted(kind) for kind in ("AdaptiveAvgPool2d", "Grid.bins")}
    numbers = {
        "parameters of the network, at any size": float(sum(p.numel() for p in Network().parameters()))
    }
    for name, runs_of in accuracy.items():
        for size in (8, TRAINED_AT, 20, 24):
            numbers[f"accuracy at {size}x{size}, trained at {name}"] = float(
                runs_of[:, READ_AT.index(size)].mean()
            )
    for kind, weight in weights.items():
        numbers[f"least a pixel counts in {kind}"] = float(weight.min())
        numbers[f"most a pixel counts in {kind}"] = float(weight.max())
    return Result(numbers, accuracy, weights)


def draw(result: Result) -> Figure:
    """Accuracy against size, and what pixels count."""
    figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.6), layout="constrained", width_ratios=(1.5, 1, 1))
    for (name, runs), colour, marker in zip(
        result.accuracy.items(), ("#D55E00", "#0072B2"), ("s", "o"), strict=True
    ):
        mean, spread = runs.mean(0), runs.std(0, correction=0)
        axes[0].fill_between(READ_AT, mean - spread, mean + spread, color=colour, alpha=0.2, lw=0)
        axes[0].plot(READ_AT, mean, color=colour, marker=marker, label=f"trained at {name}")
    axes[0].axvline(TRAINED_AT, color="0.6", lw=0.8, ls=":")
    axes[0].axhline(0.1, color="0.6", lw=0.8, ls="--")
    axes[0].text(READ_AT[-1], 0.11, "chance", color="0.4", fontsize=8, ha="right")
    axes[0].set(
        title="It runs at any size; is it right?",
        xlabel="side of the test digits, pixels",
        ylabel="test accuracy",
    )
    axes[0].set(ylim=(0, 1), xticks=READ_AT)
    axes[0].legend(loc="lower center", fontsize=9)
    for ax, (kind, weight) in zip(axes[1:], result.counted.items(), strict=True):
        shown = ax.imshow(weight.numpy(), cmap="cividis", vmin=0, vmax=2.2)
        for row, column in torch.cartesian_prod(torch.arange(MAP), torch.arange(MAP)).tolist():
            value = float(weight[row, column])
            ink = "k" if value > 1.2 else "w"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=ink)
        edges = torch.arange(1, BINS) * MAP / BINS - 0.5
        for edge in edges.tolist():
            ax.axhline(edge, color="w", lw=0.8, ls=":")
            ax.axvline(edge, color="w", lw=0.8, ls=":")
        ax.set(title=f"{kind}\n{MAP}x{MAP} in {BINS}x{BINS}", xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes[1:], shrink=0.8, label="what a pixel counts (1 is fair)")
    return figure


# %%
# What came out
# -------------
# The network that saw one size is best at that size and loses most digits at twice the size. The one that saw many is
# worse there after the same number of steps, and better at nearly every other size. In ``AdaptiveAvgPool2d`` some
# pixels count six times as much as others; bins of equal areas count all alike.

if __name__ == "__main__":
    result = measure()
    for name, value in result.numbers.items():
        print(f"{name:48} {value:8.4g}")
    draw(result)
    plt.show()
