"""The look that all pictures share: size, lines, and the colour of a signed number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure

from polypool.explain.pictures import style as explained

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

INK, MUTED = explained.INK, explained.MUTED
FAINT = "#d9dee4"
RED = "#b3262b"
BLUE = "#2f6db5"
SKY = "#9cc3e6"
SAND = "#e3c9a8"


def figure(width: float, height: float) -> Figure:
    """An empty figure; built without pyplot, so that no display and no global state are needed."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def shades(values: Sequence[float]) -> list[tuple[int, int, int]]:
    """The colour of each signed number, as in the pictures of `polypool.explain`."""
    end = explained.largest(torch.tensor(values, dtype=torch.float64))
    return [explained.rgb(value, end) for value in values]


def bare(axes: Axes, *, frame: bool = False) -> None:
    """No ticks, and no frame or a faint one."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(frame)
        spine.set_color(FAINT)


def open_frame(axes: Axes) -> None:
    """Left and bottom lines only, in grey."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=9)


def save(drawing: Figure, path: Path) -> None:
    """Write a PNG without the parts that would differ from run to run."""
    drawing.savefig(path, dpi=150, bbox_inches="tight", pad_inches=0.1, metadata={"Software": None})
