"""The six pictures of the demo, each a function from numbers to a figure."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np

from polypool.demo import style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure
    from torch import Tensor

    from polypool.demo.graphs import NodeContributions
    from polypool.demo.images import ActivationMaps
    from polypool.demo.sentences import TokenContributions


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


def activation_maps(cam: ActivationMaps, attention: Tensor) -> Figure:
    """Three rows: the scans, what each position adds to the class, and the attention shares."""
    count = len(cam.images)
    scans, maps, shares = cam.images.numpy(), cam.maps.numpy(), attention.numpy()
    figure = style.figure(1.25 * count, 4.4)
    grid = figure.subplots(3, count)
    norm = style.signed(maps.flat)
    for i in range(count):
        scan, evidence, share = grid[:, i]
        scan.imshow(scans[i], cmap="gray_r")
        right = cam.predicted[i] == cam.labels[i]
        scan.set_title(
            f"{cam.predicted[i]}" if right else f"{cam.predicted[i]}, is {cam.labels[i]}",
            fontsize=10,
            color=style.INK if right else style.RED,
        )
        colors = evidence.imshow(maps[i], cmap=style.SIGNED, norm=norm)
        evidence.set_xlabel(f"{cam.margins[i]:.2f}", fontsize=10, color=style.INK)
        tints = share.imshow(shares[i], cmap="Purples", vmin=0, vmax=shares.max())
        for axes in (evidence, share):
            axes.contour(scans[i], levels=[0.4], colors=style.INK, linewidths=0.7)
        for axes in (scan, evidence, share):
            style.bare(axes, frame=True)
    for axes, label in zip(grid[:, 0], ("scan", "mean head", "attention head"), strict=True):
        axes.set_ylabel(label, fontsize=10, color=style.INK)
    bar = figure.colorbar(colors, ax=grid[1], fraction=0.02, pad=0.01)
    bar.set_label("map", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar = figure.colorbar(tints, ax=grid[2], fraction=0.02, pad=0.01, format="{x:.0%}")
    bar.set_label("share", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


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


def token_contributions(parts: Sequence[TokenContributions]) -> Figure:
    """One line of coloured boxes per sentence: the token, and below it what it adds."""
    width = max(sum(_box_width(token) for token in part.tokens) for part in parts)
    figure = style.figure(max(6.0, 0.13 * width), 1.25 * len(parts))
    norm = style.signed(value for part in parts for value in part.values.tolist())
    for axes, part in zip(figure.subplots(len(parts), squeeze=False)[:, 0], parts, strict=True):
        left = 0.0
        for token, value in zip(part.tokens, part.values.tolist(), strict=True):
            box = _box_width(token)
            axes.barh(0, box - 0.4, left=left, height=1, color=style.rgb(value, norm), align="edge")
            middle = left + box / 2 - 0.2
            axes.text(middle, 0.5, _plain(token), ha="center", va="center", fontsize=10, color=style.INK)
            axes.text(middle, -0.15, f"{value:+.3f}", ha="center", va="top", fontsize=7.5, color=style.MUTED)
            left += box
        axes.set_xlim(0, width)
        axes.set_ylim(-0.7, 1.05)
        axes.set_title(
            f"with: {_plain(part.other)}   sum {part.values.sum().item():.3f}",
            loc="left",
            fontsize=9,
            color=style.INK,
        )
        style.bare(axes)
    return figure


def _box_width(token: str) -> float:
    return max(5.0, len(token) + 2.0)


def _plain(text: str) -> str:
    """Dollar signs would start a formula."""
    return text.replace("$", r"\$")


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


def node_contributions(drawn: Sequence[NodeContributions]) -> Figure:
    """Graphs side by side: nodes coloured by what they add, the edges of 4-cliques thick."""
    figure = style.figure(4.6 * len(drawn), 4.0)
    norm = style.signed(value for part in drawn for value in part.values.tolist())
    panels = figure.subplots(1, len(drawn), squeeze=False)[0]
    for axes, part in zip(panels, drawn, strict=True):
        cliques = [clique for clique in nx.find_cliques(part.graph) if len(clique) >= 4]
        thick = {frozenset(edge) for clique in cliques for edge in combinations(clique, 2)}
        place = nx.kamada_kawai_layout(part.graph)
        for edge in part.graph.edges:
            ends = np.array([place[node] for node in edge])
            strong = frozenset(edge) in thick
            axes.plot(
                *ends.T,
                color=style.INK if strong else style.MUTED,
                linewidth=2.6 if strong else 1.0,
                zorder=1,
                solid_capstyle="round",
            )
        spots = np.array([place[node] for node in part.graph])
        shades = [style.rgb(value, norm) for value in part.values.tolist()]
        axes.scatter(*spots.T, s=900, c=shades, edgecolors=style.INK, linewidths=1, zorder=2, clip_on=False)
        for (x, y), value in zip(spots, part.values.tolist(), strict=True):
            axes.text(x, y, f"{value:+.2f}", ha="center", va="center", fontsize=8, color=style.INK, zorder=3)
        answer = "contains a 4-clique" if part.label else "contains no 4-clique"
        says = "yes" if part.logit > 0 else "no"
        axes.set_title(
            f"{answer}, the network says {says}\n"
            f"sum of the nodes {part.values.sum().item():+.3f}, logit - bias {part.logit - part.bias:+.3f}",
            fontsize=10,
            color=style.INK,
        )
        axes.margins(0.16)
        axes.set_aspect("equal", adjustable="datalim")
        style.bare(axes)
    return figure
