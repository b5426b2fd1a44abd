"""From whatever a user has to a layout, without guessing."""

from typing import Any

import torch
from torch import Tensor

from polypool import _checks
from polypool.layouts.grid import Grid
from polypool.layouts.layout import Layout
from polypool.layouts.nodes import Nodes
from polypool.layouts.packed import Packed
from polypool.layouts.tokens import Tokens


def as_layout(
    x: Layout | Tensor,
    *,
    mask: Tensor | None = None,
    lengths: Tensor | None = None,
    offsets: Tensor | None = None,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
) -> Layout:
    """The layout of a tensor and what came with it.

    A layout passes through. A jagged nested tensor is `Packed`; 4-D and 5-D tensors are grids; with `mask` or
    `lengths` a 3-D tensor is `Tokens`; with `offsets` a 2-D one is `Packed`, with `batch` it is `Nodes`.

    Args:
        x: A layout or a tensor.
        mask: `(B, T)` or `(B, *S)`.
        lengths: `(B,)` integers, real tokens per row of a right-padded batch.
        offsets: `(B + 1,)` integers.
        batch: `(N,)` integers.
        num_graphs: Goes with `batch`.

    Raises:
        TypeError: `x` is neither a layout nor a tensor, or an argument has a dtype that does not fit.
        ValueError: The form is ambiguous or arguments contradict each other.

    Example:
        >>> import torch, polypool as pp
        >>> pp.as_layout(torch.ones(2, 3, 4), lengths=torch.tensor([3, 1]))
        Tokens(values=(2, 3, 4), num_cells=2)
    """
    if isinstance(x, Layout):
        if num_graphs is None and mask is lengths is offsets is batch is None:
            return x
        extra = _listed(_given(mask=mask, lengths=lengths, offsets=offsets, batch=batch) or ["num_graphs"])
        raise ValueError(
            f"a layout already says where its elements are; found {extra} too. Pass the layout alone."
        )
    if num_graphs is not None and batch is None:
        raise ValueError("num_graphs goes with batch; found it alone. Pass batch=, the graph of each node.")
    if not isinstance(x, Tensor):
        raise TypeError(
            f"expected a layout or a torch.Tensor; found {type(x).__name__}. Convert with torch.as_tensor."
        )
    given = _given(mask=mask, lengths=lengths, offsets=offsets, batch=batch)
    if len(given) > 1:
        raise ValueError(
            f"at most one of mask, lengths, offsets and batch may be given; found {_listed(given)}. "
            "Pass the one that belongs to the values."
        )
    if x.is_nested:
        return _from_nested(x, given)
    if offsets is not None:
        return Packed(x, offsets)
    if batch is not None:
        return Nodes(x, batch, num_graphs)
    if lengths is not None:
        return Tokens.from_lengths(x, lengths)
    if x.dim() in (4, 5):
        return Grid(x, mask)
    if mask is not None:
        return Tokens(x, mask)
    raise ValueError(
        f"a bare tensor of shape {_checks.shape(x)} could be several things; say which: "
        "Grid(x) for images or signals (B, C, *S), Tokens(x, mask) or mask=/lengths= for sequences (B, T, C), "
        "Packed(x, offsets) or offsets= for packed ones (N, C), Nodes(x, batch) or batch= for graphs (N, C)."
    )


def _from_nested(x: Any, given: list[str]) -> Packed:
    if given:
        raise ValueError(
            f"a nested tensor already says where its elements are; found {_listed(given)} too. Pass it alone."
        )
    if x.layout != torch.jagged or x.dim() != 3 or getattr(x, "_ragged_idx", 1) != 1:
        raise ValueError("a nested tensor must be jagged, (B, *, C); make it with layout=torch.jagged.")
    if x.lengths() is not None:
        raise ValueError(
            "a nested tensor must have no holes between its rows; call .contiguous() on it first."
        )
    return Packed(x.values(), x.offsets())


def _given(**extras: Tensor | None) -> list[str]:
    return [name for name, value in extras.items() if value is not None]


def _listed(names: list[str]) -> str:
    return " and ".join(names)
