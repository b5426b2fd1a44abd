"""Graphs with several types of nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from polypool.graph.readout import Readout
from polypool.layouts import Layout
from polypool.pooling import Pooling

JOINS = ("cat", "sum", "mean")


class HeteroReadout(nn.Module):
    """A readout for each type of node, and one vector per graph from all of them.

    For models that are written for several types. `torch_geometric.nn.to_hetero` makes one from a model with a
    `Readout`, where types are added up.

    Args:
        types: The node types, in the order in which `"cat"` joins them.
        pool: A pooling, of which each type gets a copy with parameters of its own, or the name of one.
        layers: What to keep of several layers; see `JoinLayers`.
        join: What becomes of the types' vectors: `"cat"`, `"sum"` or `"mean"`.
        channels: The channels of one layer, for all types; or a mapping, for each.
        num_layers: How many layers there are.

    Shapes:
        `(num_graphs, C_out)`; a graph without nodes of a type has zeros there.

    Raises:
        ValueError: Types or joins do not fit; in the call, when types are missing or graphs do not agree in number.
        TypeError: As for `Readout`.

    Example:
        >>> import torch, polypool as pp
        >>> from polypool.graph import HeteroReadout
        >>> readout = HeteroReadout(["paper", "author"], pool="mean+max")
        >>> paper = pp.Nodes(torch.randn(5, 8), batch=torch.tensor([0, 0, 1, 1, 1]))
        >>> author = pp.Nodes(torch.randn(3, 4), batch=torch.tensor([0, 1, 1]))
        >>> readout({"paper": paper, "author": author}).shape
        torch.Size([2, 24])
    """

    def __init__(
        self,
        types: Sequence[str],
        pool: Pooling | str = "mean",
        layers: str = "last",
        *,
        join: str = "cat",
        channels: int | Mapping[str, int] | None = None,
        num_layers: int | None = None,
    ) -> None:
        super().__init__()
        self.types = tuple(types)
        if isinstance(types, str) or not self.types or len(set(self.types)) != len(self.types):
            raise ValueError(f"types must be a list of different node types; found {types!r}.")
        if join not in JOINS:
            raise ValueError(f"join must be one of {', '.join(JOINS)}; found {join!r}.")
        self.join = join
        if isinstance(channels, Mapping):
            self._require_types(channels, "channels")
        readouts = []
        for one in self.types:
            width = channels[one] if isinstance(channels, Mapping) else channels
            readout = Readout(deepcopy(pool), layers, channels=width, num_layers=num_layers)
            if not isinstance(pool, str):
                readout.reset_parameters()
            readouts.append(readout)
        # By place: a ModuleList takes any type's name, a ModuleDict does not.
        self.readouts = nn.ModuleList(readouts)

    def forward(
        self,
        x: Mapping[str, Tensor | Layout | Sequence[Tensor]],
        batch: Mapping[str, Tensor] | None = None,
        size: int | None = None,
    ) -> Tensor:
        """The vector of each graph.

        Args:
            x: For each type its nodes `(N, C)`, a list of such, one per layer, or a layout.
            batch: For each type the graph of each node (`data.batch_dict`); None for one graph, or with layouts.
            size: The number of graphs; when None, one more than the largest number in any type's batch.
        """
        self._require_types(x, "x")
        if batch is not None:
            self._require_types(batch, "batch")
            if size is None:
                size = max(int(one.max()) + 1 if one.numel() else 0 for one in batch.values())
        pooled = []
        for one, readout in zip(self.types, self.readouts, strict=True):
            nodes = x[one]
            graph = None if batch is None else batch[one]
            if isinstance(nodes, Layout):
                pooled.append(readout(nodes, graph))
            else:
                pooled.append(readout(nodes, graph, dim_size=1 if batch is None else size))
        graphs = {one.shape[0] for one in pooled}
        if len(graphs) > 1:
            raise ValueError(
                f"all types must have the same graphs; found {' and '.join(map(str, sorted(graphs)))} of them. "
                "Give each layout num_graphs=, the number in the batch."
            )
        if self.join == "cat":
            return torch.cat(pooled, dim=-1)
        widths = {one.shape[1] for one in pooled}
        if len(widths) > 1:
            raise ValueError(
                f"join={self.join!r} needs types of one width; found {' and '.join(map(str, sorted(widths)))}. "
                'Use "cat".'
            )
        together = torch.stack(pooled)
        return together.sum(0) if self.join == "sum" else together.mean(0)

    def out_channels(self, in_channels: int | Mapping[str, int]) -> int:
        """How many channels the result has: `in_channels` of all types, or a mapping."""
        if isinstance(in_channels, Mapping):
            self._require_types(in_channels, "in_channels")
        widths = [
            readout.out_channels(in_channels[one] if isinstance(in_channels, Mapping) else in_channels)  # type: ignore[operator]
            for one, readout in zip(self.types, self.readouts, strict=True)
        ]
        return sum(widths) if self.join == "cat" else widths[0]

    def reset_parameters(self) -> None:
        """Sets the readouts of all types back."""
        for readout in self.readouts:
            readout.reset_parameters()  # type: ignore[operator]

    def _require_types(self, found: Mapping[str, object], what: str) -> None:
        if set(found) != set(self.types):
            raise ValueError(
                f"{what} must hold the types {', '.join(self.types)}; found {', '.join(map(str, found)) or 'none'}."
            )

    def extra_repr(self) -> str:
        return f"{', '.join(self.types)}, join={self.join}"
