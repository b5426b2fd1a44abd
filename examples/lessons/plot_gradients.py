"""
Who gets the gradient
=====================

**The claim.** The mean gives every pixel the same small gradient, 1/(H W); the maximum gives one pixel all of it. The
squared norm of the maximum's gradient is ``H W`` times larger, and yet a pixel expects the same from both: where any
pixel may be the winner, each wins one time in ``H W``.

**What is measured.** The gradient of mean, top-9, log-sum-exp and maximum for maps of 8x8 independent numbers: how many
pixels get some, its squared norm times the number of pixels, and what each pixel gets on average over 20,000 maps.

**Where the claim stops being true.** "Expects the same" needs pixels that are alike. On digits the ink decides, and the
maximum hardly ever teaches the outer columns. Where many pixels are equally large the first of them takes everything:
strokes are full of ink from end to end, so it is their first pixel, near the top, that wins. A map that a ReLU has made
all zero sends its whole gradient to one corner, while the mean spreads it.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor

import polypool as pp

SIDE = 8
POOLS: dict[str, pp.Pooling] = {
    "mean": pp.build("mean"),
    "top-9": pp.build("top_k", k=9),
    "logsumexp, t = 0.5": pp.build("logsumexp", t=0.5),
    "max": pp.build("max"),
}


@dataclass(frozen=True)
class Result:
    """What the page measures.

    Attributes:
        numbers: What is printed.
        single: The gradient of one map of noise, for each pooling.
        noise: The mean absolute gradient over maps of noise.
        digits: The same over digits.
    """

    numbers: dict[str, float]
    single: dict[str, Tensor]
    noise: dict[str, Tensor]
    digits: dict[str, Tensor]


# %%
# Gradients of a pooled map
# -------------------------


def gradient(pool: pp.Pooling, maps: Tensor) -> Tensor:
    """The gradient of each map's pooled number, in the shape of the maps."""
    maps = maps.clone().requires_grad_()
    return torch.autograd.grad(pool(maps).sum(), maps)[0]


def measure(draws: int = 20000) -> Result:
    """Gradients for noise and for digits."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(draws, 1, SIDE, SIDE, generator=generator)
    digits = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16
    numbers: dict[str, float] = {}
    single, over_noise, over_digits = {}, {}, {}
    for name, pool in POOLS.items():
        found = gradient(pool, noise)
        single[name] = found[0, 0]
        over_noise[name] = found.abs().mean((0, 1))
        over_digits[name] = gradient(pool, digits).abs().mean((0, 1))
        numbers[f"{name}: pixels with a gradient"] = float((found != 0).sum((2, 3)).float().mean())
        numbers[f"{name}: squared norm x H W"] = float(found.square().sum((2, 3)).mean()) * SIDE**2
        numbers[f"{name}: least expected x H W"] = float(over_noise[name].min()) * SIDE**2
        numbers[f"{name}: most expected x H W"] = float(over_noise[name].max()) * SIDE**2
        numbers[f"{name}: most expected x H W, digits"] = float(over_digits[name].max()) * SIDE**2
    dead = torch.zeros(1, 1, SIDE, SIDE)
    numbers["max: gradient of the first pixel of a map of zeros"] = float(
        gradient(POOLS["max"], dead)[0, 0, 0, 0]
    )
    return Result(numbers, single, over_noise, over_digits)


def draw(result: Result) -> Figure:
    """One column for each pooling: one map, many maps, digits."""
    figure, axes = plt.subplots(3, len(POOLS), figsize=(9.6, 6.6), layout="constrained")
    rows = {
        "one map of noise": result.single,
        "20,000 maps of noise": result.noise,
        "1,797 digits": result.digits,
    }
    shades = PowerNorm(0.35, 0, 1)
    for row, (title, maps) in zip(axes, rows.items(), strict=True):
        for ax, (name, image) in zip(row, maps.items(), strict=True):
            shown = ax.imshow(image.numpy(), cmap="cividis", norm=shades)
            ax.set(xticks=[], yticks=[])
            if maps is result.single:
                norm = result.numbers[f"{name}: squared norm x H W"]
                ax.set_title(f"{name}\nsquared norm {norm:.3g} / (H W)", fontsize=10)
        row[0].set_ylabel(title)
    bar = figure.colorbar(shown, ax=axes, label="mean absolute gradient of a pixel", shrink=0.8)
    bar.set_ticks([0, 1 / SIDE**2, 0.1, 0.3, 1], labels=["0", "1/64", "0.1", "0.3", "1"])
    return figure


# %%
# What came out
# -------------
# The squared norms are 1/64 and 1: their ratio is 64, the number of pixels, for every map without ties. The poolings
# between mean and maximum lie between them. Over many maps of noise all columns look alike, every pixel gets 1/64 but
# for the chance of the draws. Over digits only the first column does.

if __name__ == "__main__":
    result = measure()
    for name, value in result.numbers.items():
        print(f"{name:56} {value:10.4g}")
    draw(result)
    plt.show()
