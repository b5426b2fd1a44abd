"""Order statistics in float64, one cell after the other, and how they are compared with the kernels."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from polypool.ops.order import op
from polypool.ops.source import Source
from tests.ops.moments.sources import count, members, poisoned_memory
from tests.support import close, normal, of_gradients

#: Each operation and what may be asked of it.
ASKED: tuple[tuple[str, Any], ...] = (
    ("quantiles", (0.5,)),
    ("quantiles", (0.0, 1 / 3, 0.9, 1.0)),
    ("trimmed", 0.1),
    ("trimmed", 0.34),
    ("top", 1),
    ("top", 7),
)


def picked(name: str, asked: Any, rank: Tensor, n: int) -> Tensor:
    """What each member of a rank brings to the result."""
    if name == "quantiles":
        place = asked * max(n - 1, 0)
        low = math.floor(place)
        return (rank == low).double() * (1 - (place - low)) + (rank == low + 1).double() * (place - low)
    if name == "trimmed":
        cut = math.floor(asked * n)
        return ((rank >= cut) & (rank < n - cut)).double() / (n - 2 * cut)
    return (rank < asked).double() / min(asked, n)


def one(name: str, asked: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """The result of a cell `(n, C)`, and its density: NaN at a NaN, which is the last in the order."""
    rank = (-x if name == "top" else x).argsort(dim=0, stable=True).argsort(dim=0)
    density = picked(name, asked, rank, len(x))
    density = torch.where(x.isnan(), x, density)
    return torch.where(density == 0, 0.0, density * x).sum(0), density


def defined(name: str, asked: Any, source: Source) -> tuple[Tensor, Tensor]:
    """The results `(Q, K, C)` or `(K, C)`, and the gradient of the values."""
    x = source.values.detach().double()
    weight = source.weight
    each = asked if name == "quantiles" else (asked,)
    rows = torch.arange(x[..., 0].numel()).view(*x.shape[:-1], 1)
    flat, density = x.flatten(0, -2), torch.zeros(len(each), x[..., 0].numel(), x.shape[-1]).double()
    out = torch.zeros(len(each), count(source), x.shape[-1]).double()
    g = cotangent(out if name == "quantiles" else out[0]).view(out.shape)
    for k in range(count(source)):
        listed, share = members(source, rows, weight, k)
        listed = listed[:, 0] if share is None else listed[share[:, 0] > 0, 0]
        if len(listed):
            for i, each_asked in enumerate(each):
                out[i, k], part = one(name, each_asked, flat[listed])
                density[i, listed] = part * g[i, k]
    return (out if name == "quantiles" else out[0]), density.sum(0).view(x.shape)


def cotangent(result: Tensor) -> Tensor:
    """What gradients are taken with."""
    return normal(*result.shape, seed=4).to(result.dtype)


def measured(name: str, asked: Any, source: Source) -> tuple[Tensor, Tensor]:
    """The result and the gradient by the operation, in memory that holds NaN where nothing is written."""
    values = source.values.detach().requires_grad_()
    with poisoned_memory():
        result = getattr(op, name)(source._replace(values=values), asked)
        (gradient,) = torch.autograd.grad(result, values, cotangent(result))
    return result.detach(), gradient


def agree(name: str, asked: Any, source: Source) -> None:
    """Compares the operation with the loops."""
    found, wanted = measured(name, asked, source), defined(name, asked, source)
    what = f"{name} of {asked}"
    assert found[0].dtype == torch.promote_types(source.values.dtype, torch.float32)
    close(found[0], wanted[0], what)
    close(found[1], wanted[1], f"gradient, {what}", of_gradients(source.values.dtype))
    with torch.no_grad():  # which keeps nothing
        close(getattr(op, name)(source, asked), wanted[0], f"{what} alone")


def agree_all(source: Source) -> None:
    """All operations."""
    for name, asked in ASKED:
        agree(name, asked, source)
