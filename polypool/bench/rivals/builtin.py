"""torch's own reductions of dense tensors, and loops where it has none."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

import polypool as pp
from polypool.bench.data import Data
from polypool.bench.rivals.rival import Rival
from polypool.bench.subjects import FUSED, QUANTILES

LOOP = 2000  # more cells than that, and nobody would write a loop


def offers(subject: str, data: Data) -> Iterator[Rival]:
    """What torch has for such data."""
    if isinstance(data.layout, pp.Grid):
        yield from _plain(subject, (2, 3), lambda x: x.flatten(2))
        pools: dict[str, Callable[..., Tensor]] = {
            "mean": F.adaptive_avg_pool2d,
            "max": F.adaptive_max_pool2d,
        }
        pooled = pools.get(subject)
        if pooled is not None:
            yield Rival(f"F.{pooled.__name__}", lambda: lambda x: pooled(x, 1).flatten(1))
    elif isinstance(data.layout, pp.Tokens) and data.mask is None:
        yield from _plain(subject, (1,), lambda x: x.transpose(1, 2))
    elif isinstance(data.layout, pp.Tokens) and data.lengths is not None:
        yield from _masked(subject, data)
    elif subject == "median" and data.order is None and data.lengths is not None and data.cells <= LOOP:
        sizes = data.lengths.tolist()
        yield Rival(
            "torch.median, a loop over cells",
            lambda: lambda x: torch.stack([part.median(0).values for part in x.split(sizes)]),
        )


def _plain(subject: str, dims: tuple[int, ...], flat: Callable[[Tensor], Tensor]) -> Iterator[Rival]:
    """Reductions of a tensor without padding; `flat` puts the elements last, `(B, C, N)`."""
    simple: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
        "sum": ("x.sum", lambda x: x.sum(dims)),
        "mean": ("x.mean", lambda x: x.mean(dims)),
        "min": ("x.amin", lambda x: x.amin(dims)),
        "var": ("x.var", lambda x: x.var(dims, correction=0)),
        "std": ("x.std", lambda x: x.std(dims, correction=0)),
        "logsumexp": ("x.logsumexp", lambda x: x.logsumexp(dims) - math.log(flat(x).shape[-1])),
        "softmax": ("x.softmax", lambda x: (flat(x).softmax(-1) * flat(x)).sum(-1)),
        "quantile": ("torch.quantile", lambda x: flat(x).quantile(0.5, dim=-1)),
        "quantiles": ("torch.quantile", lambda x: _quantiles(flat(x))),
        "top_k": ("x.topk", lambda x: flat(x).topk(5, dim=-1).values.mean(-1)),
        FUSED: (
            "torch.std_mean, amax, amin",
            lambda x: _fused(x, dims),
        ),
    }
    if subject in simple:
        name, call = simple[subject]
        yield Rival(name, lambda: call)
    if subject == "max":
        yield Rival("x.amax", lambda: lambda x: x.amax(dims))
        yield Rival("x.max", lambda: lambda x: flat(x).max(-1).values)
    if subject == "median":
        yield Rival(
            "torch.median (lower)", lambda: lambda x: flat(x).median(-1).values, definition=_lower(flat)
        )


def _quantiles(rows: Tensor) -> Tensor:
    found = rows.quantile(torch.tensor(QUANTILES, dtype=rows.dtype), dim=-1)
    return torch.cat(list(found), dim=1)


def _fused(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    std, mean = torch.std_mean(x, dims, correction=0)
    return torch.cat([mean, x.amax(dims), x.amin(dims), std], dim=1)


def _lower(flat: Callable[[Tensor], Tensor]) -> Callable[[pp.Layout, Sequence[Tensor]], Tensor]:
    """The lower of the two in the middle."""

    def definition(_: pp.Layout, inputs: Sequence[Tensor]) -> Tensor:
        rows = flat(inputs[0])
        return rows.sort(-1).values[..., (rows.shape[-1] - 1) // 2]

    return definition


def _masked(subject: str, data: Data) -> Iterator[Rival]:
    mask, lengths = data.mask, data.lengths
    if mask is None or lengths is None:
        return
    padding = ~mask[..., None]
    places = (lengths - 1)[:, None, None]
    calls: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
        "softmax": ("x.softmax", lambda x: (x.masked_fill(padding, -torch.inf).softmax(1) * x).sum(1)),
        "median": ("x.nanmedian", lambda x: x.masked_fill(padding, torch.nan).nanmedian(1).values),
        "last": ("x.gather", lambda x: x.gather(1, places.expand(-1, 1, x.shape[2])).squeeze(1)),
        "first": ("x[:, 0]", lambda x: x[:, 0]),
    }
    if subject in calls:
        name, call = calls[subject]
        yield Rival(name, lambda: call)
    if subject == "mean":
        weight = mask / lengths[:, None]
        yield Rival(
            "torch.bmm with the mask", lambda: lambda x: torch.bmm(weight[:, None].to(x.dtype), x).squeeze(1)
        )
