"""What the pictures share: the figure, and the colour of a signed number. Matplotlib is imported on use."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1f2933"
MUTED = "#7b8794"
# The ends of the scale: for and against, told apart by people who do not see red or green too.
POSITIVE, NEGATIVE = (178, 24, 43), (33, 102, 172)
# The share of an end that text stays readable on, with a contrast of 4.5.
STRONGEST = 0.6


def figure(width: float, height: float) -> Figure:
    """An empty figure, made without pyplot: no display and no global state.

    Raises:
        ModuleNotFoundError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures need matplotlib, which is not installed; install polypool[vision]. The numbers need nothing.",
            name="matplotlib",
        ) from error
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def on(axes: Any, count: int) -> tuple[Figure, list[Axes]]:
    """The axes that a user wants `count` pictures on, and their figure.

    Raises:
        TypeError: Something else than matplotlib's axes.
        ValueError: More or fewer of them.
    """
    from matplotlib.axes import Axes

    found = list(axes.flat if hasattr(axes, "flat") else axes if isinstance(axes, Sequence) else [axes])
    for one in found:
        if not isinstance(one, Axes):
            raise TypeError(f"axes must be matplotlib's; found {type(one).__name__}.")
    if len(found) != count:
        raise ValueError(f"axes must be one for each of {count} pictures; found {len(found)}.")
    return found[0].get_figure(root=True), found


def scale(end: float | None, values: Tensor) -> float:
    """Where the scale ends: where the user says, or at the largest number.

    Raises:
        ValueError: The end is not a finite number above 0.
    """
    if end is None:
        return largest(values)
    if not 0 < end < math.inf:
        raise ValueError(f"end must be finite and > 0; found {end}. Leave it out for the largest number.")
    return float(end)


def largest(values: Tensor) -> float:
    """Where the scale ends, alike on both sides of 0."""
    finite = values.detach()[values.detach().isfinite()].abs()
    return (float(finite.max()) if finite.numel() else 0.0) or 1.0


def rgb(value: float, end: float, strongest: float = STRONGEST) -> tuple[int, int, int]:
    """The colour of a number, 0 to 255: white at 0, the strongest at `end`; grey for NaN."""
    if math.isnan(value):
        return (200, 200, 200)
    share = strongest * min(abs(value) / end, 1.0)
    red, green, blue = (round(255 + share * (c - 255)) for c in (POSITIVE if value > 0 else NEGATIVE))
    return red, green, blue


def colour_bar(drawing: Figure, axes: Any, end: float, label: str, strongest: float = STRONGEST) -> None:
    """The scale from `-end` to `end`, with its unit, in the colours of `rgb`."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    steps = [-1.0, -0.5, 0.0, 0.5, 1.0]
    colours = [tuple(c / 255 for c in rgb(step, 1.0, strongest)) for step in steps]
    scale = ScalarMappable(Normalize(-end, end), LinearSegmentedColormap.from_list("signed", colours))
    bar = drawing.colorbar(scale, ax=axes, fraction=0.046, pad=0.02)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)


def bare(axes: Any) -> None:
    """No ticks and no frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def plain(text: str) -> str:
    """Dollar signs would start a formula."""
    return text.replace("$", r"\$")


def save(drawing: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """Writes the figure where a path is given, without the parts that differ from run to run."""
    if path is not None:
        png = Path(path).suffix.lower() == ".png"
        drawing.savefig(path, dpi=150, metadata={"Software": None} if png else None)
    return drawing
