"""The graphs' vectors, beside PyG's `global_*_pool`."""

from __future__ import annotations

from torch import Tensor

from polypool.graph.aggregation import as_pooling
from polypool.graph.along import pool_along
from polypool.layouts import Layout
from polypool.pooling import Pooling
from polypool.registry import build, card, lookup


def global_pool(
    x: Tensor, batch: Tensor | Layout | None, size: int | None = None, pool: Pooling | str = "mean"
) -> Tensor:
    """The vector of each graph: `global_mean_pool`, `global_add_pool` and `global_max_pool` of PyG, for any pooling.

    Args:
        x: `(N, C)` floating; also `(N,)` or `(*, N, C)`.
        batch: `(N,)` integers, the graph of each node, in any order; None for one graph. A polypool layout of the N
            nodes serves as well: its structure is used and nothing is sorted again.
        size: The number of graphs; one more than the largest of `batch` when None. Graphs without nodes give zeros.
        pool: A pooling, or the name of one without parameters.

    Returns:
        `(size, C_out)`; for `(*, N, C)` without a batch the dimension of the nodes is gone, as in PyG.

    Raises:
        ValueError: The name is of a pooling with parameters, which a function cannot keep; or an argument does not fit.
        TypeError: An argument has a dtype that does not fit.

    Example:
        >>> import torch
        >>> from polypool.graph import global_pool
        >>> x, batch = torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1])
        >>> global_pool(x, batch, pool="mean+max")
        tensor([[2., 3.],
                [5., 5.]])
    """
    operator = _built(pool) if isinstance(pool, str) else as_pooling(pool)
    dim = -1 if x.dim() == 1 else -2
    if batch is not None:
        return pool_along(operator, x, batch, None, size, dim)
    if size not in (None, 1):
        raise ValueError(
            f"size must be 1 without a batch; found {size}. Pass batch=, the graph of each node."
        )
    pooled = pool_along(operator, x, None, None, 1, dim)
    return pooled if x.dim() <= 2 else pooled.squeeze(dim)


class _Kept:
    """Poolings without parameters, as attributes: what a compiled model looks up and need not build."""


_kept = _Kept()
#: The classes that each was built of.
_made: dict[str, list[type[Pooling]]] = {}


def _built(name: str) -> Pooling:
    pool: Pooling = getattr(_kept, _build(name))
    return pool


def _build(name: str) -> str:
    """Builds a pooling when nobody has yet, or when its name has got another class since; says where it is kept."""
    if not isinstance(name, str):
        raise TypeError(f"pool must be a pooling or the name of one; found {type(name).__name__}.")
    place = "__".join(name.replace(" ", "").split("+"))
    classes = [lookup(part.strip())[0] for part in name.split("+")]
    if _made.get(name) == classes:
        return place
    if any(card(part.strip()).learnable for part in name.split("+")):
        raise ValueError(
            f"{name} has parameters, which would be new at each call. Build it once in the model, "
            f"self.readout = polypool.graph.Readout({name!r}, channels=...), and call that."
        )
    setattr(_kept, place, build(name))
    _made[name] = classes
    return place


# The compiler cannot look into how a pooling is built. It asks when it compiles, for a name that is known then.
setattr(_build, "_dynamo_marked_constant", True)  # noqa: B010 - functions have no such attribute in typing
