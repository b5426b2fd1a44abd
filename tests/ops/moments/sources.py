"""What moments kernels read, and the same statistics by loops over cells in float64."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from polypool.ops.moments import CODES
from polypool.ops.source import Source
from tests.support import TOLERANCES, Tolerance, close, identical, normal, of_gradients, uniform

SIZES = (0, 1, 2, 31, 63, 64, 65, 100, 1023, 1025)
CHANNELS = (1, 3, 7, 16, 17, 64, 65, 100, 130)
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
ALL = ("sum", "mean", "m2", "m3", "m4", "max", "min")
#: One set for each amount of work that kernels know: sums, extremes, second and higher moments.
SETS = (("sum",), ("mean",), ("min",), ("mean", "max"), ("mean", "m2"), ("mean", "m2", "max", "min"), ALL)


class Found(NamedTuple):
    """Statistics `(S, K, C)`, places of the extremes `(P, K, C)`, and the gradients of one combination of them."""

    stats: Tensor
    places: Tensor
    values: Tensor
    weight: Tensor | None


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Fresh memory is full of NaN and of the largest integers."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def listed(
    sizes: Sequence[int],
    channels: int,
    dtype: torch.dtype = torch.float32,
    shuffled: bool = False,
    heads: int = 0,
) -> Source:
    """Cells of these sizes; `heads` is that of the weights, a third of which are 0, 0 for none."""
    count = sum(sizes)
    offsets = torch.tensor([0, *sizes]).cumsum(0)
    values = (normal(count, channels, seed=channels) * 2 + 0.5).to(dtype)
    rows = torch.randperm(count, generator=torch.Generator().manual_seed(1)) if shuffled else None
    return Source(values, offsets, rows, shares(count, heads, dtype, offsets[:-1]) if heads else None)


def dense(
    batch: int,
    places: int,
    channels: int,
    dtype: torch.dtype = torch.float32,
    heads: int = 0,
    first: bool = False,
) -> Source:
    """Cells of one size; with `first` the numbers of a channel follow each other in memory."""
    values = (normal(batch, places, channels, seed=channels) * 2 + 0.5).to(dtype)
    if first:
        values = values.transpose(1, 2).contiguous().transpose(1, 2)
    weight = None
    if heads:
        weight = shares(batch * places, heads, dtype, torch.arange(batch) * places).view(batch, places, heads)
    return Source(values, weight=weight)


def shares(count: int, heads: int, dtype: torch.dtype, begins: Tensor) -> Tensor:
    """Weights of which a third are 0, and none of those where cells begin."""
    weight = uniform(count, heads, seed=2) * (uniform(count, heads, seed=3) > 1 / 3)
    weight[begins[begins < count]] = 0.75
    return weight.to(torch.promote_types(dtype, torch.float32))


def cotangent(stats: Tensor) -> Tensor:
    """What gradients are taken with."""
    return normal(*stats.shape, seed=4).to(stats.dtype)


def measured(source: Source, keys: Sequence[str], weights: bool = False) -> Found:
    """By the operation, in memory that holds NaN where nothing is written."""
    values = source.values.detach().requires_grad_()
    weight = source.weight
    if weight is not None and weights:
        weight = weight.detach().requires_grad_()
    codes = [CODES.index(key) for key in keys]
    with poisoned_memory():
        stats, places, _ = torch.ops.polypool.moments(values, source.offsets, source.rows, weight, codes)
        inputs = [values] if weight is None or not weights else [values, weight]
        grads = torch.autograd.grad(stats, inputs, cotangent(stats))
    return Found(stats.detach(), places, grads[0], grads[1] if len(grads) > 1 else None)


def defined(source: Source, keys: Sequence[str], weights: bool = False) -> Found:
    """By loops, in float64: one cell and head at a time."""
    x = source.values.detach().double().requires_grad_()
    w = None if source.weight is None else source.weight.detach().double().requires_grad_()
    heads = 1 if w is None else w.shape[-1]
    width = x.shape[-1] // heads
    stats: list[Tensor] = []
    chosen: list[Tensor] = []
    for k in range(count(source)):
        rows, share = members(source, x, w, k)
        parts = [
            one(rows[:, h * width : (h + 1) * width], None if share is None else share[:, h], keys)
            for h in range(heads)
        ]
        stats.append(torch.cat([part for part, _ in parts], -1))
        chosen.append(torch.cat([place for _, place in parts], -1))
    found = torch.stack(stats, 1)
    inputs = [x] if w is None or not weights else [x, w]
    grads = torch.autograd.grad(found, inputs, cotangent(found), materialize_grads=True, allow_unused=True)
    return Found(found.detach(), torch.stack(chosen, 1), grads[0], grads[1] if len(grads) > 1 else None)


def count(source: Source) -> int:
    """The number of cells."""
    return source.values.shape[0] if source.offsets is None else source.offsets.shape[0] - 1


def members(source: Source, x: Tensor, w: Tensor | None, k: int) -> tuple[Tensor, Tensor | None]:
    """The rows of a cell `(n, C)` and their weights `(n, H)`."""
    if source.offsets is None:
        return x[k], None if w is None else w[k]
    begin, end = int(source.offsets[k]), int(source.offsets[k + 1])
    rows = x[begin:end] if source.rows is None else x[source.rows[begin:end]]
    return rows, None if w is None else w[begin:end]


def one(x: Tensor, w: Tensor | None, keys: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The statistics `(S, c)` of one cell and the places `(P, c)` of its extremes; 0 and -1 where it is empty."""
    real = torch.arange(x.shape[0]) if w is None else w.detach().nonzero()[:, 0]
    if not real.numel():
        nothing = x[:0].sum(0).expand(len(keys), -1)
        return nothing, x.new_full((extremes(keys), x.shape[1]), -1, dtype=torch.int32)
    among = x[real]
    if w is not None and not x.isfinite().all():
        x, w = among, w[real]  # what has weight 0 is not read
    share = x.new_ones(x.shape[0], 1) if w is None else w[:, None]
    mass = share.sum()
    mean = (share * x).sum(0) / mass

    def central(p: int) -> Tensor:
        return (share * (x - mean) ** p).sum(0) / mass

    largest, smallest = among.detach().argmax(0), (-among.detach()).argmax(0)
    by_key: dict[str, Any] = {
        "sum": lambda: (share * x).sum(0),
        "mean": lambda: mean,
        "m2": lambda: central(2),
        "m3": lambda: central(3),
        "m4": lambda: central(4),
        "max": lambda: among.gather(0, largest[None])[0],
        "min": lambda: among.gather(0, smallest[None])[0],
    }
    places = [real[largest if key == "max" else smallest] for key in keys if key in ("max", "min")]
    found = torch.stack([by_key[key]() for key in keys])
    return found, torch.stack(places).int() if places else x.new_zeros((0, x.shape[1]), dtype=torch.int32)


def extremes(keys: Sequence[str]) -> int:
    """How many of the statistics are extremes."""
    return sum(key in ("max", "min") for key in keys)


def agree(
    source: Source, keys: Sequence[str] = ALL, weights: bool = False, tolerance: Tolerance | None = None
) -> Found:
    """Compares the operation with the loops: statistics and their places, and gradients."""
    found, wanted = measured(source, keys, weights), defined(source, keys, weights)
    computed = torch.promote_types(source.values.dtype, torch.float32)
    assert found.stats.dtype == computed
    assert found.values.dtype == source.values.dtype
    for i, key in enumerate(keys):
        close(found.stats[i], wanted.stats[i], key, tolerance)
    filled = wanted.places >= 0
    identical(found.places.where(filled, -1), wanted.places, "places")
    close(found.values, wanted.values, "gradient of the values", of_gradients(source.values.dtype))
    if weights:
        assert found.weight is not None
        assert wanted.weight is not None
        close(found.weight, wanted.weight, "gradient of the weights", of_gradients(found.weight.dtype))
    return found


__all__ = ["TOLERANCES", "Found", "agree", "defined", "dense", "listed", "measured", "poisoned_memory"]
