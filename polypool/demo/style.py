"""The look that all pictures share: size, fonts, and the colour of a signed number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from matplotlib.axes import Axes

INK = "#1f2933"
MUTED = "#7b8794"
FAINT = "#d9dee4"
RED = "#b3262b"
BLUE = "#2f6db5"
SKY = "#9cc3e6"
SAND = "#e3c9a8"
SIGNED = mpl.colormaps["RdBu_r"]


def figure(width: float, height: float) -> Figure:
    """An empty figure; built without pyplot, so that no display and no global state are needed."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def signed(values: Iterable[float]) -> TwoSlopeNorm:
    """Colours for signed numbers: white at 0, equally strong on both sides."""
    largest = max((abs(value) for value in values), default=0.0) or 1.0
    return TwoSlopeNorm(0.0, -largest, largest)


def rgb(value: float, norm: TwoSlopeNorm) -> tuple[float, float, float]:
    """The colour of one signed number, kept pale enough for dark text."""
    red, green, blue, _ = SIGNED(0.5 + 0.25 * (2 * float(norm(value)) - 1))
    return red, green, blue


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
