"""Ragged primitives in plain torch. `cell` is `(M,)` int64 in `[0, bins)`, in any order."""

import torch
from torch import Tensor


def total(v: Tensor, cell: Tensor, bins: int) -> Tensor:
    """Rows summed per cell, `(bins, c)`.

    In float64: a running float32 sum of 21 million ones is 16.7 million.
    """
    wide = torch.float64 if v.is_floating_point() else v.dtype
    zeros = torch.zeros((bins, v.shape[-1]), dtype=wide, device=v.device)
    return zeros.index_add(0, cell, v.to(wide)).to(v.dtype)


def expand(y: Tensor, cell: Tensor) -> Tensor:
    """Each cell's row to its members, `(M, c)`; through float64, so that the gradient is `total` and as exact."""
    if y.requires_grad:
        return y.double().index_select(0, cell).to(y.dtype)
    return y.index_select(0, cell)


def argbest(v: Tensor, cell: Tensor, bins: int) -> Tensor:
    """The first member with the largest value per cell and channel, `(bins, c)` int64; M where a cell is empty."""
    members, channels = v.shape
    where = cell[:, None].expand(members, channels)
    lowest = torch.full((bins, channels), float("-inf"), dtype=v.dtype, device=v.device)
    largest = lowest.scatter_reduce(0, where, v, "amax").index_select(0, cell)
    won = (v == largest) | (v.isnan() & largest.isnan())
    place = torch.arange(members, device=v.device)[:, None]
    place = torch.where(won, place, torch.full_like(place, members))
    nobody = torch.full((bins, channels), members, dtype=torch.int64, device=v.device)
    return nobody.scatter_reduce(0, where, place, "amin")


def rank(v: Tensor, cell: Tensor, starts: Tensor) -> Tensor:
    """The place of each row in its cell and channel, ascending, stable, NaN last, `(M, c)` int64."""
    by_value = v.argsort(dim=0, stable=True)
    by_cell = cell[by_value].argsort(dim=0, stable=True)
    order = by_value.gather(0, by_cell)
    return order.argsort(dim=0) - starts[cell][:, None]
