"""
Averages of noise
=================

**The claim.** The mean of ``H W`` independent numbers of variance sigma^2 has the variance sigma^2 / (H W). So a pooled
feature is quiet, and so is the gradient of weights that all places share: one image of 64 places is as good as a batch
of 64 images of one.

**What is measured.** The variance of the mean over thousands of draws, for maps of 1x1 to 64x64 pixels. Then the
variance of the gradient of a logistic regression on the pooled pixel, at the start of its training, against the batch
size: for images of one pixel, and for images of 8x8.

**Where the claim stops being true.** Neighbouring pixels are seldom independent. After a blur with the taps ``b`` the
variance of the mean stays what it was, while that of each pixel falls to sum b^2 of it: so the map behaves like one of
``H W sum b^2`` pixels. And what all pixels of an image share is not averaged away by more pixels. With a brightness
that differs between images the gradient is as noisy as the brightness, however large the images; only more images
help.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

import polypool as pp
from polypool.vision import BlurPool

SIDES = (1, 2, 4, 8, 16, 32, 64)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SIDE = 8  # of the images whose gradients are compared
SIGNAL, SHARED = 0.3, 0.5
ONE, POOLED, BRIGHT = "one pixel", "8x8 pixels", "8x8 pixels, brightness differs"
COLOURS = {ONE: "#D55E00", POOLED: "#0072B2", BRIGHT: "#CC79A7"}


@dataclass(frozen=True)
class Result:
    """What the page measures.

    Attributes:
        numbers: What is printed.
        independent: The variance of the mean over that of a pixel, by side.
        blurred: The same for maps that were blurred.
        gradients: The variance of the gradient for each batch size, for each kind of image.
        share: sum b^2 of the blur, over both dimensions.
    """

    numbers: dict[str, float]
    independent: dict[int, float]
    blurred: dict[int, float]
    gradients: dict[str, list[float]]
    share: float


# %%
# Pixels
# ------
# The blur goes round the border, so that every pixel of the blurred map has the same variance.


def variances(side: int, blur: BlurPool | None, generator: torch.Generator) -> tuple[float, float]:
    """The variance of the mean over maps, and of one pixel."""
    draws = 4000 if side < 64 else 2000
    maps = torch.randn(draws, 1, side, side, generator=generator)
    maps = maps if blur is None else blur(maps)
    return float(pp.build("mean")(maps).var()), float(maps.var())


# %%
# Gradients
# ---------
# Each image shows a bright (+1) or a dark (-1) scene in noise. The model has one weight, which starts at 0. Its
# gradient is then half of the average of label times pixel: an average over the batch and over the places.


def gradients(side: int, batch: int, shared: float, draws: int, generator: torch.Generator) -> Tensor:
    """The gradient of the weight for each of `draws` batches."""
    labels = torch.randint(0, 2, (draws, batch), generator=generator) * 2.0 - 1
    brightness = SIGNAL * labels + shared * torch.randn(draws, batch, generator=generator)
    noise = torch.randn(draws * batch, 1, side, side, generator=generator)
    pooled = pp.build("mean")(brightness.view(-1, 1, 1, 1) + noise).view(draws, batch)
    weight = torch.zeros(draws, 1, requires_grad=True)
    loss = F.softplus(-labels * weight * pooled).mean(1).sum()
    return torch.autograd.grad(loss, weight)[0]


def measure(draws: int = 2000) -> Result:
    """Measures both variances against their formulas."""
    generator = torch.Generator().manual_seed(0)
    blur = BlurPool(5, 1, border="circular")
    share = float(blur(F.pad(torch.ones(1, 1, 1, 1), (8, 8, 8, 8))).square().sum())
    independent, blurred = {}, {}
    for side in SIDES:
        of_mean, of_pixel = variances(side, None, generator)
        independent[side] = of_mean / of_pixel
        if side >= 8:
            of_mean, of_pixel = variances(side, blur, generator)
            blurred[side] = of_mean / of_pixel
    kinds = {ONE: (1, 0.0, BATCHES), POOLED: (SIDE, 0.0, BATCHES[:5]), BRIGHT: (SIDE, SHARED, BATCHES[:5])}
    noise = {
        kind: [float(gradients(side, batch, shared, draws, generator).var()) for batch in batches]
        for kind, (side, shared, batches) in kinds.items()
    }
    numbers: dict[str, float] = {}
    for side in SIDES:
        numbers[f"variance of the mean x H W, {side}x{side}"] = independent[side] * side**2
    for side, value in blurred.items():
        numbers[f"the same after a blur, {side}x{side}"] = value * side**2
    numbers["1 / sum b^2"] = 1 / share
    for kind, values in noise.items():
        numbers[f"variance of the gradient, batch 1, {kind}"] = values[0]
    numbers["the same, batch 64, one pixel"] = noise[ONE][BATCHES.index(64)]
    return Result(numbers, independent, blurred, noise, share)


def draw(result: Result) -> Figure:
    """Variance against pixels, and against the batch size; lines are formulas, dots are measured."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    pixels = torch.tensor([float(side**2) for side in SIDES])
    left.plot(pixels, 1 / pixels, color="#0072B2", lw=1, label="1 / (H W)")
    left.plot(pixels, list(result.independent.values()), "o", color="#0072B2", label="independent pixels")
    correlated = torch.tensor([float(side**2) for side in result.blurred])
    formula = 1 / (correlated * result.share)
    left.plot(correlated, formula, color="#E69F00", lw=1, label="1 / (H W sum b$^2$)")
    left.plot(correlated, list(result.blurred.values()), "s", color="#E69F00", label="blurred with five taps")
    left.set(xscale="log", yscale="log", xlabel="pixels, H W", ylabel="variance of the mean / of a pixel")
    left.set(title="Means of noise")
    batches = torch.tensor([float(batch) for batch in BATCHES])
    lines = {ONE: 1.0, POOLED: 1 / SIDE**2, BRIGHT: SHARED**2 + 1 / SIDE**2}
    markers = {ONE: "o", POOLED: "s", BRIGHT: "^"}
    for kind, variance in lines.items():
        dots = result.gradients[kind]
        some = batches[: len(dots)]
        right.plot(some, variance / some / 4, color=COLOURS[kind], lw=1)
        right.plot(some, dots, markers[kind], color=COLOURS[kind], label=kind)
    precise = 1 / SIDE**2 / 4
    right.hlines(precise, 1, 64, color="0.4", ls=":")
    right.vlines(64, 1.5e-4, precise, color="0.4", ls=":")
    right.text(1.15, 1.15 * precise, "one image of 64 pixels\nas 64 images of one", fontsize=9, color="0.3")
    right.set(xscale="log", yscale="log", xlabel="images in the batch", ylabel="variance of the gradient")
    right.set(title="Gradient of a shared weight", ylim=(1.5e-4, 0.5))
    for ax in (left, right):
        ax.legend(fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


# %%
# What came out
# -------------
# The variance of the mean times the number of pixels is 1 at every size, to the precision of the draws. The blurred
# maps are 13 times noisier than their size says, as 1 / sum b^2 has it. One image of 8x8 gives the gradient the
# precision of 64 images of one pixel; when images differ in brightness, that of four.

if __name__ == "__main__":
    result = measure()
    for name, value in result.numbers.items():
        print(f"{name:64} {value:10.4g}")
    draw(result)
    plt.show()
