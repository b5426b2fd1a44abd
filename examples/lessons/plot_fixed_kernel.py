"""
Averaging is a convolution, and commutes with what is linear
============================================================

**The claim.** Average pooling is a convolution whose kernel is fixed: every weight of a window of k pixels is 1/k. So
it is linear: it makes no difference whether a bias, a factor or a 1x1 convolution comes before the average or after it.

**What is measured.** Average pooling by ``Grid.windows`` against a convolution with the fixed kernel, for many
kernels, strides, paddings and groups. Then each global pooling before and after six functions of pixels: the norm of
the difference over the sum of the norms, 0 when the order makes no difference and 1 when the results have nothing in
common.

**Where the claim stops being true.** At borders with padding. A convolution counts the zeros that it put there, and its
average darkens; an average over real pixels is a convolution of the image divided by the same convolution of ones. And
nothing curved commutes with an average: ReLU before the average and after it are different networks. The maximum and
the median are the other way round. They commute with everything that keeps the order of numbers, ReLU and tanh
among them, and not with mixing channels. A mean of powers, like ``gem``, keeps only positive factors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import matplotlib.pyplot as plt
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

import polypool as pp

CHANNELS = 6
KERNELS = ((1, 1), (2, 2), (3, 3), (2, 5), (7, 7))
STRIDES = (1, 2, 3)
GROUPS = (1, 2, 3, 6)
POOLS = ("mean", "sum", "max", "median", "std", "gem")


@dataclass(frozen=True)
class Result:
    """What the page measures.

    Attributes:
        numbers: What is printed.
        gaps: For each kernel the largest difference between pooling and convolution at each stride, padding and group.
        apart: `(poolings, functions)`, how far pooling before and after a function are apart.
        functions: The names of the functions.
    """

    numbers: dict[str, float]
    gaps: dict[tuple[int, int], list[float]]
    apart: Tensor
    functions: tuple[str, ...]


# %%
# The kernel
# ----------
# One group mixes all channels, so its kernel is zero between different ones; as many groups as channels is the
# depthwise form. All give the same.


def fixed_kernel(size: tuple[int, int], groups: int) -> Tensor:
    """The weights `(C, C / groups, *size)` that average each channel."""
    own = torch.eye(CHANNELS // groups).repeat(groups, 1)
    return own[:, :, None, None].expand(-1, -1, *size) / (size[0] * size[1])


def gap(images: Tensor, size: tuple[int, int], stride: int, padding: tuple[int, int], groups: int) -> float:
    """The largest difference between average pooling and the convolution, divided by that of ones where padded."""
    kernel = fixed_kernel(size, groups)

    def convolved(x: Tensor) -> Tensor:
        return F.conv2d(x, kernel, stride=stride, padding=padding, groups=groups)

    pooled = pp.build("mean")(pp.Grid(images).windows(size, stride, padding))
    return float((pooled - convolved(images) / convolved(torch.ones_like(images))).abs().max())


# %%
# Before or after
# ---------------
# The image has an odd number of pixels, so that its median is one of them.


def functions(generator: torch.Generator) -> dict[str, Callable[[Tensor], Tensor]]:
    """Functions of maps `(B, C, *S)` that act on every pixel, and as well on pooled vectors `(B, C, 1, 1)`."""
    bias = torch.randn(CHANNELS, 1, 1, generator=generator)
    mix = torch.randn(CHANNELS, CHANNELS, 1, 1, generator=generator) / CHANNELS**0.5
    return {
        "+ bias": lambda x: x + bias.abs(),
        "x 2": lambda x: 2 * x,
        "x -1": lambda x: -x,
        "1x1 conv": lambda x: F.conv2d(x, mix),
        "ReLU": lambda x: (x - 0.5).relu(),
        "tanh": torch.tanh,
    }


def measure() -> Result:
    """Compares pooling with convolutions, and pooling first with pooling last."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, CHANNELS, 15, 17, generator=generator)
    gaps = {
        size: [
            gap(images, size, stride, padding, groups)
            for stride, padding, groups in product(STRIDES, ((0, 0), (size[0] // 2, size[1] // 2)), GROUPS)
        ]
        for size in KERNELS
    }
    maps = torch.rand(8, CHANNELS, 15, 17, generator=generator) + 0.1
    applied = functions(generator)
    apart = torch.zeros(len(POOLS), len(applied))
    for row, name in enumerate(POOLS):
        pool = pp.build(name, learn=False) if name == "gem" else pp.build(name)
        for column, function in enumerate(applied.values()):
            before = pool(function(maps))
            after = function(pool(maps)[..., None, None])[..., 0, 0]
            apart[row, column] = (before - after).norm() / (before.norm() + after.norm())
    numbers = {"pooling against convolution, largest difference": max(map(max, gaps.values()))}
    numbers["kernels, strides, paddings and groups compared"] = sum(map(len, gaps.values()))
    ones = torch.ones(1, CHANNELS, 15, 17)
    zeros_counted = F.conv2d(ones, fixed_kernel((3, 3), 1), padding=1)
    numbers["a corner of ones, 3x3, zeros counted"] = float(zeros_counted.min())
    real_counted = pp.build("mean")(pp.Grid(ones).windows(3, 1, 1))
    numbers["a corner of ones, 3x3, real pixels counted"] = float(real_counted.min())
    for row, name in enumerate(POOLS):
        for column, function_name in enumerate(applied):
            numbers[f"{name} before and after {function_name}"] = float(apart[row, column])
    return Result(numbers, gaps, apart, tuple(applied))


def draw(result: Result) -> Figure:
    """What commutes with what, and the differences from a convolution."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4.4), layout="constrained", gridspec_kw={"width_ratios": (1.35, 1)}
    )
    shown = left.imshow(
        result.apart.clamp(min=1e-7).numpy(), cmap="cividis_r", norm=LogNorm(1e-7, 1), aspect="auto"
    )
    for row, column in product(range(len(POOLS)), range(len(result.functions))):
        value = float(result.apart[row, column])
        same = value < 1e-5
        colour = "black" if same else "white"
        left.text(column, row, "same" if same else f"{value:.2g}", ha="center", va="center", color=colour)
    left.set_xticks(range(len(result.functions)), result.functions)
    left.set_yticks(range(len(POOLS)), POOLS)
    left.set(title="Function first or pooling first: how far apart", xlabel="function", ylabel="pooling")
    figure.colorbar(shown, ax=left, label="difference over the sum of the norms")
    for place, (size, values) in enumerate(result.gaps.items()):
        spread = torch.linspace(-0.3, 0.3, len(values)) + place
        right.scatter(spread, [max(value, 1e-9) for value in values], s=14, color="#0072B2")
        right.text(place, 3e-10, f"{size[0]}x{size[1]}", ha="center")
    right.axhline(1e-6, color="#D55E00", lw=1)
    right.text(-0.4, 1.2e-6, "one millionth", color="#D55E00")
    right.set(
        yscale="log", ylim=(2e-10, 1e-5), xticks=[], xlabel="window, at all strides, paddings and groups"
    )
    right.set(title="Average pooling less the convolution", ylabel="largest difference (at least 1e-9)")
    right.spines[["top", "right"]].set_visible(False)
    return figure


# %%
# What came out
# -------------
# All of the comparisons with a convolution agree to a millionth. A corner of ones stays 1 when real pixels are
# counted, and falls to 4/9 when the zeros are. In the table the row of the mean says "same" at every linear function
# and nowhere else; a sum counts a bias once for every pixel. The row of the maximum says "same" at every increasing
# function, that of the median also where the order is turned round.

if __name__ == "__main__":
    result = measure()
    for name, value in result.numbers.items():
        print(f"{name:50} {value:10.3g}")
    draw(result)
    plt.show()
