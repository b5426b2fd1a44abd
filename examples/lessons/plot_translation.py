"""
Where does not matter, how much does
====================================

**The claim.** A convolution moves with its image: shift the image, and the maps shift. A pooling that does not look at
the order takes the shift away: the pooled vector stays what it was. And an average reports proportions: the same
fraction of the image gives the same output, whatever the size of the image.

**What is measured.** Random 3x3 convolutions on a torus, where a shift loses nothing: the difference between shifting
first and convolving first, and the change of the pooled vector, for every pooling of the package that says it ignores
order. The same for a convolution with zero padding, and for one with stride 2. Then images whose left part is striped
and whose right part is checked, of 16x16 to 128x128 pixels: the fraction that the pooled vector tells.

**Where the claim stops being true.** At borders, which an image has and a torus has not: with zero padding the vector
changes as soon as the object reaches them. At strides: a shift that is no multiple of the stride moves other pixels
into the samples, and no pooling afterwards can undo that. And the proportion is read from patches, so the seam between
the two parts counts too: the error falls as one over the side. A sum reports areas, not proportions, and a maximum only
whether there is some of it at all.
"""

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

import polypool as pp

SIDE, FEATURES = 16, 16
SIDES = (16, 32, 64, 128)
FRACTIONS = tuple(i / 8 for i in range(9))
BORDERS = {"torus": "#0072B2", "torus, stride 2": "#D55E00", "zero padding": "#009E73"}


@dataclass(frozen=True)
class Result:
    """What the page measures.

    Attributes:
        numbers: What is printed.
        moved: The relative change of the pooled vector after shifts of 0, 1, ... pixels, for each convolution.
        told: The fraction that mean and max tell, `(sizes, fractions)` each.
    """

    numbers: dict[str, float]
    moved: dict[str, list[float]]
    told: dict[str, Tensor]


# %%
# Convolutions with three borders
# -------------------------------


def features(images: Tensor, border: str, kernel: Tensor) -> Tensor:
    """A convolution and a ReLU."""
    stride = 2 if border.endswith("2") else 1
    mode = "constant" if border == "zero padding" else "circular"
    padded = F.pad(images, (1, 1, 1, 1), mode=mode)
    return F.conv2d(padded, kernel, stride=stride).relu()


def change(a: Tensor, b: Tensor) -> float:
    """The mean of `|a - b| / |a|` over rows; 0 where both are all zero."""
    size = a.flatten(1).norm(dim=1).clamp(min=1e-9)
    return float(((a - b).flatten(1).norm(dim=1) / size).mean())


def indifferent() -> list[str]:
    """The poolings without parameters that ignore the order, by their cards."""
    cards = {name: pp.card(name) for name in pp.names("grid")}
    return [name for name, card in cards.items() if card.permutation_invariant and not card.learnable]


# %%
# How much of it
# --------------
# The reading puts the pooled vector between that of pure stripes and that of a pure checkerboard, of 32x32 pixels: 0
# for a checkerboard, 1 for stripes.


def mixed(side: int, fraction: float) -> Tensor:
    """Stripes in the left `fraction` of the columns, a checkerboard elsewhere."""
    row = torch.arange(side)
    stripes = (row % 2).expand(side, side)
    checks = (row[:, None] + row) % 2
    return torch.where(row < round(fraction * side), stripes, checks).float().view(1, 1, side, side)


def reading(pool: pp.Pooling, kernel: Tensor) -> Callable[[Tensor], float]:
    """The fraction that a pooled image tells."""
    checked, striped = (pool(features(mixed(32, share), "torus", kernel))[0] for share in (0.0, 1.0))
    axis = striped - checked
    return lambda image: float(
        (pool(features(image, "torus", kernel))[0] - checked) @ axis / axis.square().sum()
    )


def measure(images: int = 200) -> Result:
    """Shifts digits and mixes textures."""
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(FEATURES, 1, 3, 3, generator=generator) / 3
    digits = torch.tensor(load_digits().images[:images], dtype=torch.float32)[:, None] / 16
    digits = F.pad(digits, (4, 4, 4, 4))
    numbers: dict[str, float] = {}
    before = features(digits.roll((3, 5), (2, 3)), "torus", kernel)
    after = features(digits, "torus", kernel).roll((3, 5), (2, 3))
    numbers["shift then convolve, less convolve then shift"] = change(before, after)
    maps = features(digits, "torus", kernel)
    for name in indifferent():
        pool = pp.build(name)
        numbers[f"change of {name} after a shift"] = change(pool(maps), pool(before))
    moved = {}
    mean = pp.build("mean")
    for border in BORDERS:
        still = mean(features(digits, border, kernel))
        shifted = [mean(features(digits.roll(by, 3), border, kernel)) for by in range(SIDE + 1)]
        moved[border] = [change(still, vector) for vector in shifted]
        numbers[f"change of the mean after one pixel, {border}"] = moved[border][1]
        numbers[f"the largest over all shifts, {border}"] = max(moved[border])
    told = {}
    for name in ("mean", "max"):
        read = reading(pp.build(name), kernel)
        rows = [[read(mixed(side, fraction)) for fraction in FRACTIONS] for side in SIDES]
        told[name] = torch.tensor(rows)
    exact = torch.tensor(FRACTIONS)
    for side, row in zip(SIDES, told["mean"], strict=True):
        numbers[f"fraction told by the mean, error, {side}x{side}"] = float((row - exact).abs().max())
    for name in ("mean", "sum"):
        small, large = (
            pp.build(name)(features(mixed(side, 0.5), "torus", kernel)).norm() for side in (32, 128)
        )
        numbers[f"{name} of 128x128 over that of 32x32, half striped"] = float(large / small)
    return Result(numbers, moved, told)


def draw(result: Result) -> Figure:
    """The pooled vector against shifts, and the fraction that it tells."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
    for (border, colour), marker in zip(BORDERS.items(), "os^", strict=True):
        values = [max(value, 1e-8) for value in result.moved[border]]
        axes[0].plot(range(SIDE + 1), values, color=colour, marker=marker, ms=5, lw=1.2, label=border)
    axes[0].set(yscale="log", xlabel="shift, pixels", ylabel="relative change (at least 1e-8)")
    axes[0].set(title="The mean of the maps after a shift", ylim=(3e-9, 1e3))
    axes[0].legend(loc="upper left", fontsize=9)
    colours = ("#56B4E9", "#E69F00", "#CC79A7", "#000000")
    for ax, name in zip(axes[1:], ("mean", "max"), strict=True):
        ax.plot([0, 1], [0, 1], color="0.8", lw=5)
        for side, row, colour, size in zip(SIDES, result.told[name], colours, (11, 8, 5.5, 3), strict=True):
            ax.plot(FRACTIONS, row, color=colour, marker="o", ms=size, lw=1.2, label=f"{side} x {side}")
        ax.set(
            xlabel="striped fraction of the image", ylabel="fraction told", title=f"The fraction, by {name}"
        )
        ax.legend(fontsize=9, loc="upper left" if name == "mean" else "lower right")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


# %%
# What came out
# -------------
# On a torus both differences are rounding, for every pooling that ignores order. With stride 2 the vector changes by
# a sixth at odd shifts and is back at even ones. With zero padding nothing changes until the digit reaches the
# border. The fractions told by the mean lie on the diagonal, the closer the larger the image.

if __name__ == "__main__":
    result = measure()
    for name, value in result.numbers.items():
        print(f"{name:56} {value:10.3g}")
    draw(result)
    plt.show()
