"""A pooling as PyG's `Aggregation`."""

from __future__ import annotations

from typing import Any

import polypool as pp


def aggregation(pool: pp.Pooling) -> Any:
    """What any `MessagePassing` takes as `aggr`."""
    from torch_geometric.nn.aggr import Aggregation

    class Pooled(Aggregation):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.pool = pool

        def forward(
            self,
            x: Any,
            index: Any = None,
            ptr: Any = None,
            dim_size: int | None = None,
            dim: int = -2,
            max_num_elements: int | None = None,
        ) -> Any:
            # With towers there are rows (E, towers, C): each tower is pooled by itself.
            rows = x.flatten(1)
            layout = pp.Packed(rows, ptr) if index is None else pp.Nodes(rows, index, dim_size)
            pooled = self.pool(layout)
            if x.dim() == 2:
                return pooled
            return pooled.unflatten(1, (-1, *x.shape[1:])).movedim(1, -2).flatten(-2)

    return Pooled()
