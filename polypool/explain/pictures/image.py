"""A map on its image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from polypool import _checks
from polypool.explain.contributions import Contributions
from polypool.explain.pictures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_image(
    found: Contributions | Tensor,
    image: Tensor,
    path: str | os.PathLike[str] | None = None,
    *,
    axes: Axes | Sequence[Axes] | None = None,
    titles: Sequence[str] | None = None,
    end: float | None = None,
    unit: str | None = "adds to the logit",
    smooth: bool = True,
) -> Figure:
    """Draws a map over its image: red adds to the score, blue takes away, grey does neither.

    Args:
        found: What `class_activation_map` gives, or the contributions of a `Grid`, or numbers `(B, h, w)`.
        image: `(C, H, W)` or `(B, C, H, W)`; shown in grey between its own smallest and largest value.
        path: Where to write the picture; its ending says the format.
        axes: Where to draw, one per image, so that a figure of your own may hold the maps; a new figure when None.
        titles: One line per image; the score and the error when None.
        end: The number, on both sides of 0, from which on the colour is strongest; the largest one when None.
        unit: What the colour bar says; None draws no bar.
        smooth: Whether to draw between the places of the map; otherwise each is one square.

    Returns:
        The figure. All images of a call share one scale, symmetric about 0.

    Raises:
        ModuleNotFoundError: Matplotlib is not installed.
        TypeError: An argument has a type that does not fit.
        ValueError: The map and the image do not go together, the axes are not as many, or the end is not above 0.
    """
    values = (
        (found.values if isinstance(found, Contributions) else _checks.tensor(found, "found"))
        .detach()
        .float()
        .cpu()
    )
    pixels = _checks.tensor(image, "image").detach().float().cpu()
    pixels = pixels.unsqueeze(0) if pixels.dim() == 3 else pixels
    values = values.unsqueeze(0) if values.dim() == 2 else values
    if values.dim() != 3 or pixels.dim() != 4 or len(values) != len(pixels):
        raise ValueError(
            "a map (B, h, w) goes with an image (B, C, H, W) of as many rows; found "
            f"{_checks.shape(values)} and {_checks.shape(pixels)}."
        )
    count, end = len(values), style.scale(end, values)
    lines = _titles(found, count) if titles is None else list(titles)
    if axes is None:
        height, width = pixels.shape[2:]
        size = (3.2 * count + 0.9, min(3.2 * height / width, 8.0) + 0.4)
        axes = list(style.figure(*size).subplots(1, count, squeeze=False)[0])
    drawing, panels = style.on(axes, count)
    for panel, one, picture, line in zip(panels, values, pixels, lines, strict=True):
        panel.imshow(_overlay(one, picture, end, smooth).numpy(), interpolation="nearest")
        panel.set_title(style.plain(line), fontsize=9, color=style.INK)
        style.bare(panel)
    if unit is not None:
        style.colour_bar(drawing, panels, end, unit, strongest=1.0)
    return style.save(drawing, path)


def _titles(found: Contributions | Tensor, count: int) -> list[str]:
    if not isinstance(found, Contributions) or found.score.shape != (count,):
        return [""] * count
    target = getattr(found, "target", None)
    return [
        f"{'' if target is None else f'class {int(target[row])}: '}score {found.score[row]:+.3f}, "
        f"error {found.error[row]:+.0e}"
        for row in range(count)
    ]


def _overlay(values: Tensor, image: Tensor, end: float, smooth: bool) -> Tensor:
    """`(H, W, 3)` in [0, 1]: the image in pale grey, coloured as strongly as the map is far from 0."""
    grey = image.mean(0)
    spread = grey.max() - grey.min()
    grey = 0.35 + 0.65 * ((grey - grey.min()) / spread if spread > 0 else torch.ones_like(grey))
    mode = {"mode": "bilinear", "align_corners": False} if smooth else {"mode": "nearest-exact"}
    spread_out = F.interpolate(values[None, None], grey.shape, **mode)[0, 0].nan_to_num()
    share = (spread_out.abs() / end).clamp(max=1).unsqueeze(-1)
    ends = [torch.tensor(end) / 255 for end in (style.POSITIVE, style.NEGATIVE)]
    colour = torch.where(spread_out.unsqueeze(-1) > 0, ends[0], ends[1])
    return (1 - share) * grey.unsqueeze(-1) + share * colour * (0.4 + 0.6 * grey.unsqueeze(-1))
