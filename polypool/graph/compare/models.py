"""The networks that are compared: GIN with some readout, and GIN around a coarsening."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import GINConv, MessagePassing

from polypool.graph.readout import Readout


def perceptron(width: int, out: int) -> nn.Sequential:
    """Two layers, as the GIN paper has them."""
    return nn.Sequential(nn.Linear(width, out), nn.BatchNorm1d(out), nn.ReLU(), nn.Linear(out, out))


class Weighted(MessagePassing):  # type: ignore[misc]
    """`GINConv` on a graph whose edges have weights, as a coarse one may have; without them it is `GINConv`.

    Args:
        network: What follows the sum.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__(aggr="sum")
        self.network = network

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        return self.network(x + self.propagate(edge_index, x=x, edge_weight=edge_weight))

    def message(self, x_j: Tensor, edge_weight: Tensor | None) -> Tensor:
        return x_j if edge_weight is None else edge_weight[:, None] * x_j


class Layers(nn.Module):
    """Graph isomorphism layers with batch normalisation.

    Args:
        features: The channels of a node.
        hidden: The channels of each layer.
        count: How many layers there are.
        kind: What is around each layer's network.
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        count: int,
        kind: Callable[[nn.Module], nn.Module] = GINConv,
    ) -> None:
        super().__init__()
        widths = [features, *[hidden] * count]
        self.convs = nn.ModuleList(kind(perceptron(a, b)) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) for _ in range(count))

    def forward(self, x: Tensor, edge_index: Tensor, *weight: Tensor | None) -> list[Tensor]:
        """What each layer makes of the nodes."""
        outputs = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x, edge_index, *weight)).relu()
            outputs.append(x)
        return outputs


class GIN(nn.Module):
    """The network of Xu et al. 2019: what goes in and what each layer makes of it is read out, and classified linearly.

    Args:
        features: The channels of a node.
        classes: How many classes there are.
        hidden: The channels of a layer.
        layers: How many layers there are, with the input as the first.
        dropout: The share of the graph's vector that is dropped in training.
        build: Makes the readout from the channels of all layers together.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        hidden: int,
        layers: int,
        dropout: float,
        build: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        width = features + (layers - 1) * hidden
        self.layers = Layers(features, hidden, layers - 1)
        self.dropout = nn.Dropout(dropout)
        # In this order, so that readouts without parameters leave the others' first weights as they are.
        self.readout = build(width)
        with torch.no_grad():
            wide = self.readout(torch.zeros(1, width), torch.zeros(1, dtype=torch.int64), dim_size=1).shape[1]
        self.classify = nn.Linear(wide, classes)

    def forward(self, batch: Any) -> tuple[Tensor, Tensor]:
        """The logits, and what else is to be minimised."""
        joined = torch.cat([batch.x, *self.layers(batch.x, batch.edge_index)], dim=-1)
        graphs = self.readout(joined, batch.batch, dim_size=batch.num_graphs)
        return self.classify(self.dropout(graphs)), graphs.new_zeros(())


class Pooled(nn.Module):
    """The network of Bianchi and Lachi 2023: layers, a coarsening, layers on the coarse graph, a sum, and two more.

    Args:
        features: The channels of a node.
        classes: How many classes there are.
        hidden: The channels of a layer.
        layers: How many layers there are before the coarsening, and after it.
        dropout: The share of the graph's vector that is dropped in training.
        build: Makes what coarsens from the channels, or None for no coarsening. It is called with `(x, batch)` and
            gives x, edge_index, edge_weight or None, the graph of each coarse node, and a loss.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        hidden: int,
        layers: int,
        dropout: float,
        build: Callable[[int], nn.Module | None],
    ) -> None:
        super().__init__()
        self.before = Layers(features, hidden, layers)
        self.after = Layers(hidden, hidden, layers, Weighted)
        self.readout = Readout("sum")
        self.classify = nn.Sequential(
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, classes)
        )
        self.coarsen = build(hidden)

    def forward(self, batch: Any) -> tuple[Tensor, Tensor]:
        """The logits, and what else is to be minimised."""
        x, graph, edge_index = self.before(batch.x, batch.edge_index)[-1], batch.batch, batch.edge_index
        weight, extra = None, x.new_zeros(())
        if self.coarsen is not None:
            x, edge_index, weight, graph, extra = self.coarsen(x, batch)
        x = self.after(x, edge_index, weight)[-1]
        return self.classify(self.readout(x, graph, dim_size=batch.num_graphs)), extra
