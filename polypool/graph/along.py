"""Pooling along one dimension of a tensor, by PyG's calling convention."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor
from torch_geometric import Index

from polypool import _checks
from polypool.layouts import Layout, Nodes, Packed
from polypool.layouts.ragged import RaggedLayout
from polypool.pooling import Pooling


def pool_along(
    pool: Pooling,
    x: Tensor,
    index: Tensor | Layout | None = None,
    ptr: Tensor | None = None,
    dim_size: int | None = None,
    dim: int = -2,
) -> Tensor:
    """Pools the elements along `dim`; every other dimension but the last is a batch of its own.

    Args:
        pool: What becomes of a cell.
        x: `(*, N, *, C)` floating, 1 to any number of dimensions; N is the size of `dim`.
        index: `(N,)` integers, the cell of each element, in any order; or a layout of N elements, for its structure.
        ptr: `(K + 1,)` integers, where each cell begins and the last ends; with it `index` is not read.
        dim_size: The number of cells K; one more than the largest index when None.
        dim: The dimension of the elements.

    Returns:
        As `x` with K cells in `dim`. What makes several numbers of each, such as `"mean+max"`, concatenates them along
        the last dimension, as PyG does.

    Raises:
        ValueError: `dim`, `dim_size`, `index` or `ptr` does not fit; in PyG's words where it has some.
        TypeError: An argument has a dtype that does not fit.
    """
    if dim >= x.dim() or dim < -x.dim():
        raise ValueError(f"Encountered invalid dimension '{dim}' of source tensor with {x.dim()} dimensions")
    dim = dim % x.dim()
    if x.dim() == 2 and dim == 0:
        return pool(structured(x, index, ptr, dim_size))
    has_channels = dim != x.dim() - 1
    elements = x.movedim(dim, 0)
    others = elements.shape[1:-1] if has_channels else elements.shape[1:]
    channels = x.shape[-1] if has_channels else 1
    batch, width = prod(others), prod(others) * channels
    layout = structured(elements.reshape(x.shape[dim], width), index, ptr, dim_size)
    if batch < 2 or _channelwise(pool, width):
        pooled = pool(layout)
    else:
        # It reads the channels of an element together: each slice of the batch is pooled by itself.
        settle(layout)
        slices = elements.reshape(x.shape[dim], batch, channels).unbind(1)
        each = [pool(layout.with_values(part)).unflatten(1, (-1, channels)) for part in slices]
        pooled = torch.stack(each, dim=2).flatten(1)
    if batch == 1 and has_channels:
        return pooled.reshape(pooled.shape[0], *others, pooled.shape[1]).movedim(0, dim)
    return _arranged(pooled, (*others, channels) if has_channels else others, width, dim)


def structured(
    rows: Tensor, index: Tensor | Layout | None, ptr: Tensor | None, dim_size: int | None
) -> Layout:
    """The layout of rows `(N, C)`: a structure that is given is used as it is, and nothing is kept."""
    if isinstance(index, Layout):
        if dim_size is not None and dim_size != index.num_cells:
            raise _wrong_size(dim_size, f"'{index.num_cells}'")
        settle(index)
        return index.with_values(rows)
    if ptr is not None:
        return _packed(rows, ptr, dim_size)
    if index is None:
        return Nodes(rows, None if dim_size in (None, 1) else _zeros(rows), dim_size)
    if isinstance(index, Index):
        if index.is_sorted and dim_size is not None and index.dim_size == dim_size:
            return _packed(rows, index.get_indptr(), dim_size)
        plain: Tensor = index.as_tensor()
        return _nodes(rows, plain, dim_size)
    return _nodes(rows, index, dim_size)


def settle(layout: Layout) -> None:
    """Has a layout compute its structure, so that all that `with_values` makes of it find it there."""
    if isinstance(layout, RaggedLayout) and not torch.compiler.is_compiling():
        _ = layout.members


def _packed(rows: Tensor, ptr: Tensor, dim_size: int | None) -> Packed:
    if dim_size is not None and dim_size != ptr.numel() - 1:
        raise _wrong_size(dim_size, f"'{ptr.numel() - 1}'")
    try:
        return Packed(rows, ptr)
    except ValueError as error:
        raise ValueError(f"Encountered invalid 'ptr': {error}") from error


def _nodes(rows: Tensor, index: Tensor, dim_size: int | None) -> Nodes:
    if index.dim() != 1:
        raise ValueError(f"The `index` argument must be one-dimensional (got {index.dim()} dimensions)")
    index = _checks.index(index, "index", rows.shape[:1], "(N,)", rows)
    try:
        return Nodes(rows, index, dim_size)
    except ValueError as error:
        # Values out of range: whoever gets here has them in memory that may be read.
        if dim_size is not None and index.numel() and int(index.max()) >= dim_size:
            raise _wrong_size(dim_size, f">= '{int(index.max()) + 1}'") from error
        raise ValueError(f"Encountered invalid 'index': {error}") from error


def _wrong_size(found: int, expected: str) -> ValueError:
    return ValueError(f"Encountered invalid 'dim_size' (got '{found}' but expected {expected})")


def _zeros(rows: Tensor) -> Tensor:
    return torch.zeros(rows.shape[0], dtype=torch.int64, device=rows.device)


def _channelwise(pool: Pooling, width: int) -> bool:
    """Whether more channels are just more of the same: the operator was not built for some number of them."""
    fits = pool.channels is None or pool.channels == width
    return fits and width > 0 and pool.out_channels(width) % width == 0


def _arranged(pooled: Tensor, rest: tuple[int, ...], width: int, dim: int) -> Tensor:
    """Rows `(K, k * width)`, k blocks of the dimensions `rest`, with cells in `dim` and blocks along the last one."""
    if pooled.shape[1] == width:
        return pooled.reshape(pooled.shape[0], *rest).movedim(0, dim)
    blocks = pooled.reshape(pooled.shape[0], pooled.shape[1] // width, *rest)
    if dim == len(rest):  # the last dimension is that of the cells
        return blocks.movedim(1, 0).flatten(0, 1).movedim(0, -1)
    return blocks.movedim(1, -2).flatten(-2).movedim(0, dim)
