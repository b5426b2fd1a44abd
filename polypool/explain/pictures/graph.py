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
    from matplotlib.figure import Figure


def draw_graph(
    found: Contributions,
    edges: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    graph: int = 0,
    positions: Tensor | None = None,
    unit: str = "adds to the logit",
) -> Figure:
    """Draws one graph: red nodes add to the score, blue ones take away.

    Args:
        found: What `node_contributions` gives, or the contributions of `Nodes` with one graph.
        edges: `(2, E)` integers, those of a whole batch too; or a networkx graph, whose nodes are in the order of
            the contributions.
        path: Where to write the picture; its ending says the format.
        graph: Which graph of the batch.
        positions: `(N, 2)`, where all the nodes lie; from networkx when None.
        unit: What the colour bar says.

    Returns:
        The figure.

    Raises:
        ModuleNotFoundError: Matplotlib is not installed; or networkx is not, and there are no positions.
        ValueError: The edges or positions do not fit, or there is no such graph.
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
    end = style.largest(values[inside])

    drawing = style.figure(5.4, 4.4)
    axes = drawing.subplots()
    for a, b in pairs.T.tolist():
        axes.plot(*spots[[a, b]].T.tolist(), color=style.MUTED, linewidth=1.2, zorder=1)
    across, up = spots[inside].T.tolist()
    shades = [[c / 255 for c in style.rgb(value, end)] for value in values[inside].tolist()]
    count = len(shades)
    axes.scatter(
        across, up, s=min(620, 16000 / max(count, 1)), c=shades, edgecolors=style.INK, linewidths=1, zorder=2
    )
    # Where nodes are too small for a number, the colour has to do.
    for x, y, value in zip(across, up, values[inside].tolist(), strict=True) if count <= 26 else ():
        axes.text(x, y, f"{value:+.2f}", ha="center", va="center", fontsize=7, color=style.INK, zorder=3)
    axes.set_title(
        f"score {found.score[graph]:+.3f}, error {found.error[graph]:+.0e}", fontsize=9, color=style.INK
    )
    axes.margins(0.15)
    style.bare(axes)
    style.colour_bar(drawing, axes, end, unit)
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
