"""From the outputs of a graph network's layers to one vector per graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from polypool.graph.aggregation import PoolingAggregation, as_pooling
from polypool.graph.along import pool_along
from polypool.graph.edges import graph_of_edges
from polypool.graph.layers import JoinLayers
from polypool.layouts import Layout
from polypool.pooling import Pooling
from polypool.registry import card


class Readout(PoolingAggregation):
    """Joins the layers' outputs at each node, then pools the nodes of each graph.

    Called as `readout(x, batch)`, or `readout([x1, x2, x3], batch)` with the outputs of several layers, and
    `dim_size=` for the number of graphs. Being an `Aggregation`, it survives PyG's `to_hetero`, which gives each node
    type a readout of its own and joins their vectors.

    Args:
        pool: A pooling, or the name of one.
        layers: What to keep of several layers: `"last"`, `"cat"`, `"sum"`, `"max"` or `"attention"`; see `JoinLayers`.
        channels: The channels of one layer; poolings with parameters and `layers="attention"` need it.
        num_layers: How many layers there are; `layers="attention"` needs it, and `"cat"` with a pooling by name that
            has parameters.

    Shapes:
        `(num_graphs, C_out)`; `readout.out_channels(C)` tells C_out, for the classifier that follows.

    Raises:
        TypeError: An argument is missing or of the wrong kind.
        ValueError: A name is unknown, or the layers do not fit together.

    Example:
        >>> import torch
        >>> from polypool.graph import Readout
        >>> readout = Readout("sum+max", layers="cat", num_layers=2)
        >>> h1, h2, batch = torch.randn(5, 8), torch.randn(5, 8), torch.tensor([0, 0, 1, 1, 1])
        >>> readout([h1, h2], batch).shape, readout.out_channels(8)
        (torch.Size([2, 32]), 32)
    """

    def __init__(
        self,
        pool: Pooling | str = "mean",
        layers: str = "last",
        *,
        channels: int | None = None,
        num_layers: int | None = None,
    ) -> None:
        join = JoinLayers(layers, channels, num_layers)
        if isinstance(pool, str) and channels is not None:
            learned = any(card(part.strip()).learnable for part in pool.split("+"))
            if layers == "cat" and num_layers is None and learned:
                raise TypeError(
                    f"num_layers must be given: {pool} has parameters, for the channels of all layers together; "
                    "found None."
                )
            if not (layers == "cat" and num_layers is None):
                pool = as_pooling(pool, channels=join.out_channels(channels))
        super().__init__(pool)
        self.join = join

    def __call__(self, x: Any, index: Any = None, *args: Any, **kwargs: Any) -> Tensor:
        # A node's batch says which graphs there are, also when x are edges: PyG's checks would count neither right.
        pooled: Tensor = nn.Module.__call__(self, x, index, *args, **kwargs)
        return pooled

    def forward(
        self,
        x: Tensor | Layout | Sequence[Tensor],
        index: Tensor | Layout | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        max_num_elements: int | None = None,
        *,
        edge_index: Tensor | None = None,
    ) -> Tensor:
        """The vector of each graph.

        Args:
            x: `(N, C)` nodes, or one such tensor per layer; with `edge_index` they are `(E, C)` edges. Or a layout
                of the nodes, which says all the rest.
            index: `(N,)`, the graph of each node (`batch`), or a layout of N nodes; None for one graph.
            ptr: `(num_graphs + 1,)`, in place of `index`, when the nodes come graph by graph.
            dim_size: The number of graphs; one more than the largest of `index` when None.
            dim: The dimension of the nodes.
            max_num_elements: Accepted, as by every aggregation; nothing is padded.
            edge_index: `(2, E)`: x are edges, and an edge belongs to the graph of its nodes. `index` is still the
                graph of each node.
        """
        if isinstance(x, Layout):
            if any(each is not None for each in (index, ptr, dim_size, edge_index)):
                raise ValueError("a layout already says which node is in which graph. Pass the layout alone.")
            pooled: Tensor = self.pool(x)
            return pooled
        joined = x if isinstance(x, Tensor) else self.join(x)
        if edge_index is None:
            return pool_along(self.pool, joined, index, ptr, dim_size, dim)
        if ptr is not None or isinstance(index, Layout):
            raise ValueError("edge_index goes with index, the graph of each node. Pass batch as a tensor.")
        if dim_size is None and index is not None:
            dim_size = int(index.max()) + 1 if index.numel() else 0  # graphs without edges count too
        return pool_along(self.pool, joined, graph_of_edges(edge_index, index), None, dim_size, dim)

    def out_channels(self, in_channels: int | Sequence[int]) -> int:
        """How many channels the result has: `in_channels` of every layer, or a list, one number for each."""
        return self.pool.out_channels(self.join.out_channels(in_channels))

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.join.reset_parameters()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pool.card.name}, layers={self.join.mode})"
