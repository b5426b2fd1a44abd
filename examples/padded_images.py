"""
Images of different sizes in one padded batch
=============================================

A batch is a tensor, so images of different sizes are padded to the largest. A mean over the tensor then divides by the
padding too: what a network says of an image depends on the other images of its batch. With a mask, the squeeze of
every Squeeze-and-Excitation block, the sampling and the head see each image alone.

The same small network learns digits of 8 to 20 pixels, with masks and without, from the same initial weights. Both are
tested on the images in a batch as in training, on the same images with twice the padding, and one image at a time.

    python examples/padded_images.py
    python examples/padded_images.py --seeds 5 --epochs 30 --json padded.json

It prints the accuracy of both, with the spread over seeds, and how far the padding moves the answers.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import polypool as pp
from polypool.vision import BlurPool

SMALLEST, LARGEST = 8, 20
WAYS = ("as in training", "twice the padding", "alone")


@dataclass(frozen=True)
class Run:
    """One network after its training.

    Attributes:
        masked: Whether padding was masked.
        seed: Of the weights, the sizes and the order of the batches.
        accuracy: The part of the test images that is named rightly, for each of `WAYS`.
        moved: For each of `WAYS`, the part of the test images whose answer is not that of the first.
        change: The largest change of a logit by the padding, in units of their standard deviation.
    """

    masked: bool
    seed: int
    accuracy: dict[str, float]
    moved: dict[str, float]
    change: float


class Network(nn.Module):
    """Two convolutions, each with a block that weighs its channels, a mean and a linear layer.

    With `masked` everything that pools knows where the image is. A convolution sees zeros beyond it, as at the border
    of a tensor, because the blocks and the sampling leave zeros in the padding.
    """

    def __init__(self, masked: bool, channels: int = 16) -> None:
        super().__init__()
        self.masked = masked
        self.first = nn.Conv2d(1, channels, 3, padding=1)
        self.first_block = pp.blocks.SqueezeExcite(channels, reduction=4)
        self.sample = BlurPool(3)
        self.second = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.second_block = pp.blocks.SqueezeExcite(2 * channels, reduction=4)
        self.head = pp.build("mean")
        self.classify = nn.Linear(2 * channels, 10)

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """The logits `(B, 10)` of images `(B, 1, H, W)` with a mask `(B, H, W)`."""
        grid = pp.Grid(images, mask if self.masked else None)
        grid = self.first_block(grid.with_values(F.relu(self.first(grid.values))))
        grid = self.sample(grid)
        grid = self.second_block(grid.with_values(F.relu(self.second(grid.values))))
        return self.classify(self.head(grid))


def scaled_digits(seed: int, limit: int | None = None) -> tuple[list[Tensor], Tensor]:
    """The digits of scikit-learn, each with a height and a width of its own, and what they are."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = load_digits(return_X_y=True)
    pixels = torch.as_tensor(images, dtype=torch.float32).reshape(-1, 1, 1, 8, 8)[:limit]
    pixels = (pixels - pixels.mean()) / pixels.std()
    sizes = torch.randint(SMALLEST, LARGEST + 1, (pixels.shape[0], 2), generator=generator).tolist()
    scaled = [
        F.interpolate(image, size=size, mode="bilinear")[0] for image, size in zip(pixels, sizes, strict=True)
    ]
    return scaled, torch.as_tensor(labels)[:limit]


def padded(images: list[Tensor], side: int) -> tuple[Tensor, Tensor]:
    """One tensor `(B, 1, side, side)` with the images in its corner, and a mask `(B, side, side)` of where they are."""
    batch = torch.zeros(len(images), 1, side, side)
    mask = torch.zeros(len(images), side, side, dtype=torch.bool)
    for i, image in enumerate(images):
        height, width = image.shape[-2:]
        batch[i, :, :height, :width] = image
        mask[i, :height, :width] = True
    return batch, mask


def trained(masked: bool, images: list[Tensor], labels: Tensor, seed: int, epochs: int) -> Network:
    """A network that has seen the images `epochs` times; the same weights and batches for both kinds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Network(masked)
    batch, mask = padded(images, LARGEST)
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * -(-len(images) // 50)
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(images), generator=generator).split(50):
            loss = F.cross_entropy(model(batch[rows], mask[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def tested(model: Network, images: list[Tensor], labels: Tensor, seed: int) -> Run:
    """What the network says of the same images in three paddings."""
    logits = {
        "as in training": model(*padded(images, LARGEST)),
        "twice the padding": model(*padded(images, 2 * LARGEST)),
        "alone": torch.cat(
            [model(image[None], torch.ones(1, *image.shape[1:], dtype=torch.bool)) for image in images]
        ),
    }
    usual = logits[WAYS[0]]
    change = max(float((logits[way] - usual).abs().max()) for way in WAYS) / float(usual.std())
    return Run(
        model.masked,
        seed,
        {way: float((logits[way].argmax(1) == labels).float().mean()) for way in WAYS},
        {way: float((logits[way].argmax(1) != usual.argmax(1)).float().mean()) for way in WAYS},
        change,
    )


def compare(seeds: int, epochs: int, limit: int | None, quiet: bool = False) -> list[Run]:
    """Trains and tests both networks for every seed."""
    runs = []
    plan = [(seed, masked) for seed in range(seeds) for masked in (True, False)]
    for seed, masked in track(plan, "training", disable=quiet, transient=True):
        images, labels = scaled_digits(seed, limit)
        cut = 2 * len(images) // 3
        model = trained(masked, images[:cut], labels[:cut], seed, epochs)
        runs.append(tested(model, images[cut:], labels[cut:], seed))
    return runs


def table(runs: list[Run]) -> Table:
    """Accuracy and its spread over seeds, and what the padding changes."""
    seeds = len({run.seed for run in runs})
    shown = Table(title=f"Digits of {SMALLEST} to {LARGEST} pixels, {seeds} seed{'s' if seeds > 1 else ''}")
    for title in ("padding", *WAYS, "moved", "logits"):
        shown.add_column(title, justify="left" if title == "padding" else "right", no_wrap=True)
    for masked in (True, False):
        own = [run for run in runs if run.masked == masked]
        cells = [spread([run.accuracy[way] for run in own]) for way in WAYS]
        moved = max(run.moved[way] for run in own for way in WAYS)
        change = max(run.change for run in own)
        shown.add_row("masked" if masked else "counted", *cells, f"{moved:.1%}", f"{change:.2g} sd")
    return shown


def spread(values: list[float]) -> str:
    """The mean and the standard deviation."""
    numbers = torch.tensor(values, dtype=torch.float64)
    deviation = f" ± {float(numbers.std()):.3f}" if len(values) > 1 else ""
    return f"{float(numbers.mean()):.3f}{deviation}"


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Networks of each kind.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 20,
    images: Annotated[
        int | None,
        typer.Option(min=30, help="Use the first so many digits of 1797, a third of them for testing."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every run to this file.")] = None,
) -> None:
    """Trains the same network on padded batches with masks and without, and tests it in other paddings."""
    console = Console()
    runs = compare(seeds, epochs, images, quiet=not console.is_terminal)
    console.print(table(runs))
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(run) for run in runs], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
