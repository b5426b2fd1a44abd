"""Nodes of a graph coloured by what they add."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polypool import _checks
from polypool.explain.contributions import Contributions
from polypool.explain.nodes import NodeContributions
from polypool.explain.pictures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_graph(
    found: Contributions,
    edges: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    graph: int = 0,
    positions: Tensor | None = None,
    axes: Axes | None = None,
    end: float | None = None,
    unit: str | None = "adds to the logit",
) -> Figure:
    """Draws one graph: red nodes add to the score, blue ones take away.

    Args:
        found: What `node_contributions` gives, or the contributions of `Nodes` with one graph.
        edges: `(2, E)` integers, those of a whole batch too; or a networkx graph, whose nodes are in the order of
            the contributions.
        path: Where to write the picture; its ending says the format.
        graph: Which graph of the batch.
        positions: `(N, 2)`, where all the nodes lie; from networkx when None.
        axes: Where to draw, so that a figure of your own may hold several graphs; a new figure when None.
        end: The number, on both sides of 0, from which on the colour is strongest; the largest one when None.
        unit: What the colour bar says; None draws no bar.

    Returns:
        The figure.

    Raises:
        ModuleNotFoundError: Matplotlib is not installed; or networkx is not, and there are no positions.
        TypeError: The axes are none of matplotlib's.
        ValueError: The edges or positions do not fit, there is no such graph, or the end is not above 0.
    """
    values = found.values.detach().float().cpu()
    if values.dim() != 1:
        raise ValueError(f"found must have one number per node, (N,); found {_checks.shape(values)}.")
    if not 0 <= graph < found.score.shape[0]:
        raise ValueError(f"graph must be in [0, {found.score.shape[0]}); found {graph}.")
    batch = (
        found.batch.cpu()
        if isinstance(found, NodeContributions)
        else torch.zeros(len(values), dtype=torch.int64)
    )
    pairs = _pairs(edges, len(values))
    inside = batch == graph
    pairs = pairs[:, inside[pairs[0]] & inside[pairs[1]]]
    spots = _spots(inside, pairs) if positions is None else _given(positions, len(values))
    end = style.scale(end, values[inside])
    drawing, (panel,) = style.on(style.figure(5.4, 4.4).subplots() if axes is None else axes, 1)

    for a, b in pairs.T.tolist():
        panel.plot(*spots[[a, b]].T.tolist(), color=style.MUTED, linewidth=1.2, zorder=1)
    across, up = spots[inside].T.tolist()
    shades = [[c / 255 for c in style.rgb(value, end)] for value in values[inside].tolist()]
    count = len(shades)
    panel.scatter(
        across,
        up,
        s=min(620, 16000 / max(count, 1)),
        c=shades,
        edgecolors=style.INK,
        linewidths=1,
        zorder=2,
        clip_on=False,
    )
    # Where nodes are too small for a number, the colour has to do.
    for x, y, value in zip(across, up, values[inside].tolist(), strict=True) if count <= 26 else ():
        panel.text(x, y, f"{value:+.2f}", ha="center", va="center", fontsize=7, color=style.INK, zorder=3)
    panel.set_title(
        f"score {found.score[graph]:+.3f}, error {found.error[graph]:+.0e}", fontsize=9, color=style.INK
    )
    panel.margins(0.15)
    style.bare(panel)
    if unit is not None:
        style.colour_bar(drawing, panel, end, unit)
    return style.save(drawing, path)


def _pairs(edges: Any, nodes: int) -> Tensor:
    if not isinstance(edges, Tensor):
        place = {node: i for i, node in enumerate(edges.nodes)}
        edges = (
            torch.tensor([(place[a], place[b]) for a, b in edges.edges], dtype=torch.int64).reshape(-1, 2).T
        )
    if edges.dim() != 2 or edges.shape[0] != 2 or edges.is_floating_point():
        raise ValueError(f"edges must be integers (2, E); found {_checks.shape(edges)} of {edges.dtype}.")
    edges = edges.detach().cpu().to(torch.int64)
    _checks.in_range(edges, "edges", 0, nodes, "the nodes", "Pass the edges of the same batch.")
    return edges


def _given(positions: Tensor, nodes: int) -> Tensor:
    if tuple(positions.shape) != (nodes, 2):
        raise ValueError(
            f"positions must have shape (N, 2) = ({nodes}, 2); found {_checks.shape(positions)}."
        )
    return positions.detach().double().cpu()


def _spots(inside: Tensor, pairs: Tensor) -> Tensor:
    """`(N, 2)`, where networkx puts the nodes of one graph; 0 for the others."""
    try:
        import networkx as nx
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "placing the nodes needs networkx, which is not installed; install it or pass positions=.",
            name="networkx",
        ) from error
    drawn = nx.Graph()
    drawn.add_nodes_from(inside.nonzero()[:, 0].tolist())
    drawn.add_edges_from(pairs.T.tolist())
    spots = torch.zeros(len(inside), 2, dtype=torch.float64)
    for node, place in nx.spring_layout(drawn, seed=0, iterations=200).items():
        spots[node] = torch.as_tensor(place)
    return spots
