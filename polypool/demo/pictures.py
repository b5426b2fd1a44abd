"""The pictures of the demo that `polypool.explain` does not draw alone, each a function from numbers to a figure."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
import torch

from polypool.demo import style
from polypool.explain import draw_graph, draw_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure
    from torch import Tensor

    from polypool.demo.graphs import Judged
    from polypool.explain import ActivationMap


def heads(scores: Mapping[str, Sequence[float]]) -> Figure:
    """Grouped bars: accuracy per head, in place and moved by 1 and 2 pixels."""
    figure = style.figure(8, 3.4)
    axes = figure.subplots()
    place = np.arange(len(scores))
    series = zip(
        ("in place", "moved 1 pixel", "moved 2 pixels"),
        zip(*scores.values(), strict=True),
        (style.BLUE, style.SKY, style.SAND),
        strict=True,
    )
    for i, (label, values, color) in enumerate(series):
        axes.bar(place + 0.27 * (i - 1), values, width=0.25, label=label, color=color)
    for x, accuracies in zip(place, scores.values(), strict=True):
        last = accuracies[-1]
        axes.text(x + 0.27, last + 0.015, f"{last:.2f}", ha="center", fontsize=8, color=style.INK)
    axes.set_xticks(place, list(scores))
    axes.set_ylim(0, 1.1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_ylabel("accuracy on test scans")
    style.open_frame(axes)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure


def activation_maps(scans: Tensor, labels: Tensor, maps: Mapping[str, ActivationMap]) -> Figure:
    """The scans in a row, and below them a row of maps for each head."""
    figure = style.figure(1.25 * len(scans), 1.3 + 1.32 * len(maps))
    grid = figure.subplots(1 + len(maps), len(scans))
    for axes, scan, label in zip(grid[0], scans, labels.tolist(), strict=True):
        axes.imshow(scan[0].numpy(), cmap="gray_r")
        axes.set_title(f"{label}", fontsize=10, color=style.INK)
    for row, (name, found) in zip(grid[1:], maps.items(), strict=True):
        # On white paper, with the digit as a line: the colours of a map are hard to see on ink.
        draw_image(
            found, torch.ones_like(scans), axes=list(row), titles=_verdicts(found, labels), smooth=False
        )
        for axes, scan, right in zip(row, scans, (found.target == labels).tolist(), strict=True):
            axes.contour(scan[0].numpy(), levels=[0.4], colors=style.INK, linewidths=0.7)
            axes.title.set_color(style.INK if right else style.RED)
        row[0].set_ylabel(name, fontsize=10, color=style.INK)
    for axes in grid.flat:
        style.bare(axes, frame=True)
    grid[0, 0].set_ylabel("scan", fontsize=10, color=style.INK)
    return figure


def _verdicts(found: ActivationMap, labels: Tensor) -> list[str]:
    """Logit minus bias, and the class where it is the wrong one."""
    return [
        f"{score:.2f}" if guess == label else f"as {guess}: {score:.2f}"
        for score, guess, label in zip(
            found.score.tolist(), found.target.tolist(), labels.tolist(), strict=True
        )
    ]


def similarity(matrix: Tensor, sentences: Sequence[str]) -> Figure:
    """A heat map with the sentences written beside it."""
    figure = style.figure(10, 6.4)
    axes = figure.subplots()
    colors = axes.imshow(matrix.numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.set_yticks(range(len(sentences)), list(sentences), fontsize=8, color=style.INK)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for edge in range(2, len(sentences), 2):
        axes.axhline(edge - 0.5, color="white", linewidth=1)
        axes.axvline(edge - 0.5, color="white", linewidth=1)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(colors, ax=axes, fraction=0.04, pad=0.02)
    bar.set_label("cosine similarity", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def readouts(scores: Mapping[str, float], baselines: Mapping[str, float]) -> Figure:
    """Horizontal bars, the baselines above the readouts and in another colour."""
    figure = style.figure(8, 3.2)
    axes = figure.subplots()
    both = {**baselines, **scores}
    colors = [style.SAND] * len(baselines) + [style.BLUE] * len(scores)
    bars = axes.barh(list(both), list(both.values()), color=colors, height=0.7)
    axes.bar_label(bars, fmt="%.3f", padding=4, fontsize=9, color=style.INK)
    axes.invert_yaxis()
    axes.set_xlim(0.5, 1.0)
    axes.set_xlabel("accuracy on graphs never seen in training (a coin gets 0.5)", fontsize=9)
    style.open_frame(axes)
    return figure


def node_contributions(drawn: Sequence[Judged]) -> Figure:
    """Graphs side by side: nodes coloured by what they add, the edges of 4-cliques thick."""
    figure = style.figure(4.6 * len(drawn), 4.0)
    end = max(part.found.values.abs().max().item() for part in drawn)
    panels = figure.subplots(1, len(drawn), squeeze=False)[0]
    for axes, part in zip(panels, drawn, strict=True):
        place = nx.kamada_kawai_layout(part.graph)
        spots = torch.tensor(np.array([place[node] for node in part.graph]))
        draw_graph(part.found, part.graph, positions=spots, axes=axes, end=end, unit=None)
        for clique in nx.find_cliques(part.graph):
            for edge in combinations(clique, 2) if len(clique) >= 4 else ():
                axes.plot(
                    *np.array([place[node] for node in edge]).T, color=style.INK, linewidth=2.6, zorder=1
                )
        answer = "contains a 4-clique" if part.label else "contains no 4-clique"
        says = "yes" if part.found.logit.item() > 0 else "no"
        axes.set_title(
            f"{answer}, the network says {says}\n"
            f"sum of the nodes {part.sum:+.3f}, logit - bias {part.margin:+.3f}",
            fontsize=10,
            color=style.INK,
        )
        axes.set_aspect("equal", adjustable="datalim")
    return figure
