"""A pooling as PyG's `Aggregation`."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch_geometric.nn.aggr import Aggregation, MultiAggregation

from polypool.graph.along import pool_along
from polypool.graph.parameters import Start
from polypool.layouts import Layout
from polypool.pooling import Pooling
from polypool.registry import build


# SAGEConv and GENConv ask a `MultiAggregation`, and nothing else, how wide its result is. Being one, with nothing to
# join, makes them size their layers for "mean+max" without a word from the user.
class PoolingAggregation(MultiAggregation):  # type: ignore[misc]
    """Any pooling wherever PyG takes an aggregation: `aggr=` of a layer, a readout, inside other aggregations.

    Called as PyG's own: `aggr(x, index)` or `aggr(x, ptr=ptr)`, with `dim_size` and `dim`. A structure that is given
    (`ptr`, a sorted `EdgeIndex`, a polypool layout in place of `index`) is used as it is. Otherwise a call sorts once,
    or not at all when the index is in order, and keeps nothing for the next call.

    All dimensions but `dim` and the last are batches, as in PyG: the heads of `GATConv`, the towers of `PNAConv`. An
    operator with parameters is built for the channels C of one head and serves all heads, or for `heads * C` of them.

    Args:
        pool: A pooling, or the name of one.
        **settings: What the named pooling takes.

    Shapes:
        `(*, N, *, C)` to `(*, K, *, C_out)`; `pool.out_channels` tells C_out.

    Raises:
        TypeError: `pool` is neither a pooling nor a name, or has no such setting.
        ValueError: No pooling has this name.

    Empty cells give zeros, `ptr` must end at N, an infinity stays one, and NaN stays in its cell: `docs/contract.md`
    holds here too. Values must be floating.

    Example:
        >>> import torch
        >>> from torch_geometric.nn import SAGEConv
        >>> from polypool.graph import PoolingAggregation
        >>> conv = SAGEConv(8, 16, aggr=PoolingAggregation("mean+max+std"))
        >>> conv(torch.randn(3, 8), torch.tensor([[0, 1, 2], [1, 2, 0]])).shape
        torch.Size([3, 16])
    """

    def __init__(self, pool: Pooling | str, **settings: Any) -> None:
        Aggregation.__init__(self)  # not that of MultiAggregation: there is nothing to join
        self.pool = as_pooling(pool, **settings)
        self._start = Start(self.pool)

    def __call__(self, x: Any, index: Any = None, *args: Any, **kwargs: Any) -> Tensor:
        # PyG's own checks read x and index as tensors; what traces a model replaces either method.
        if isinstance(x, Tensor) and not isinstance(index, Layout):
            pooled: Tensor = super().__call__(x, index, *args, **kwargs)
        else:
            pooled = nn.Module.__call__(self, x, index, *args, **kwargs)
        return pooled

    def forward(
        self,
        x: Tensor,
        index: Tensor | Layout | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        max_num_elements: int | None = None,
    ) -> Tensor:
        """Pools the elements along `dim`; `max_num_elements` is accepted, and nothing is padded to it."""
        return pool_along(self.pool, x, index, ptr, dim_size, dim)

    def get_out_channels(self, in_channels: int) -> int:
        """How many channels the result has; what `SAGEConv` and `GENConv` ask."""
        return self.pool.out_channels(in_channels)

    def reset_parameters(self) -> None:
        """Networks of the pooling draw new weights; its other parameters become what they were at first."""
        self._start.restore(self.pool)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pool.card.name})"


def aggregation(pool: Pooling | str, **settings: Any) -> PoolingAggregation:
    """What any PyG layer takes as `aggr=`: `GINConv(mlp, aggr=aggregation("softmax", t=0.5))`.

    Args:
        pool: A pooling, or the name of one; `"mean+max+std"` measures them all in one pass.
        **settings: What the named pooling takes.

    Raises:
        TypeError: `pool` is neither a pooling nor a name, or has no such setting.
        ValueError: No pooling has this name.

    Example:
        >>> import torch
        >>> from polypool.graph import aggregation
        >>> aggregation("mean+max")(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 1, 0]))
        tensor([[3., 5.],
                [3., 3.]])
    """
    return PoolingAggregation(pool, **settings)


def as_pooling(pool: object, **settings: Any) -> Pooling:
    """A pooling as it is, or built by name."""
    if isinstance(pool, str):
        return build(pool, **settings)
    if not isinstance(pool, Pooling):
        raise TypeError(f"pool must be a pooling or the name of one; found {type(pool).__name__}.")
    if settings:
        raise TypeError(
            f"settings go with a name; found {', '.join(settings)} beside a pooling. Set them where it is built."
        )
    return pool
