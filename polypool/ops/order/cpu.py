"""Order statistics on the CPU: which kernel runs, over what, and where its results go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from polypool.ops.cpu import compiler, team
from polypool.ops.cpu.job import ITEMS, LENGTH, OFFSETS, Job
from polypool.ops.cpu.stretch import STRETCH_BYTES
from polypool.ops.cpu.walk import BLOCK_BYTES
from polypool.ops.order import fields
from polypool.ops.order.contiguous_backward import gradients_of_order_in_stretches
from polypool.ops.order.feed import feed_tiles
from polypool.ops.order.kept import means_of_kept
from polypool.ops.order.long import split_long_tiles
from polypool.ops.order.quantiles import quantiles_of_tiles
from polypool.ops.order.rows_backward import gradients_of_order_in_rows
from polypool.ops.order.work import LONG
from polypool.ops.source import Source

#: Scratch memory of all threads: one twentieth of the values or 4 MB, whichever is more.
_SHARE, _MEMORY = 20, 1 << 22
#: Rows that are staged at most, between these.
_ROOM = (2048, 32768)


class Quantiles(NamedTuple):
    """What quantiles leave.

    Attributes:
        out: `(Q, K, C)` in the precision that is computed with.
        low: `(Q, K, C)` int32, the place in its cell of the member at or below each; -1 where there is none. Empty if
            nobody will ask for gradients.
        high: The same of the next member.
    """

    out: Tensor
    low: Tensor
    high: Tensor


class Kept(NamedTuple):
    """What the mean of some members leaves.

    Attributes:
        out: `(K, C)` in the precision that is computed with.
        values: `(E, K, C)`, where what is kept begins and ends: E is 2 for trimmed means, 1 for those of the largest
            and 0 if nobody will ask for gradients.
        places: `(E, K, C)` int32, where among members of that value.
    """

    out: Tensor
    values: Tensor
    places: Tensor


def quantiles(source: Source, q: Sequence[float], keep: bool) -> Quantiles:
    """Several quantiles of each cell and channel; `keep` also their places, for gradients."""
    job = Job(source)
    n = _quantile_tables(job, source, q)
    shape = (len(q), job.cells, job.channels)
    out = torch.empty(shape, dtype=job.computed)
    places = shape if keep else (0, *shape[1:])
    low, high = (torch.empty(places, dtype=torch.int32) for _ in range(2))
    job.put(fields.OUT, out)
    if keep:
        job.put(fields.LOW_AT, low)
        job.put(fields.HIGH_AT, high)
    _run(job, n)
    return Quantiles(out, low, high)


def quantiles_backward(grad: Tensor, source: Source, q: Sequence[float], found: Sequence[Tensor]) -> Tensor:
    """The gradient of the values from that of the quantiles, `(Q, K, C)`."""
    job = Job(source)
    _quantile_tables(job, source, q)
    out, low, high = found
    job.put(fields.LOW_AT, low)
    job.put(fields.HIGH_AT, high)
    return _backward(job, grad, out)


def trimmed(source: Source, t: float, keep: bool) -> Kept:
    """The mean of each cell and channel without its `floor(t n)` smallest and largest members."""
    return _kept(source, fields.TRIMMED, t, keep)


def trimmed_backward(grad: Tensor, source: Source, t: float, found: Sequence[Tensor]) -> Tensor:
    """The gradient of the values from that of the trimmed means, `(K, C)`."""
    return _kept_backward(grad, source, fields.TRIMMED, t, found)


def top(source: Source, k: int, keep: bool) -> Kept:
    """The mean of the `min(k, n)` largest members of each cell and channel."""
    return _kept(source, fields.TOP, k, keep)


def top_backward(grad: Tensor, source: Source, k: int, found: Sequence[Tensor]) -> Tensor:
    """The gradient of the values from that of the means of the largest, `(K, C)`."""
    return _kept_backward(grad, source, fields.TOP, k, found)


def _kept(source: Source, statistic: int, number: float, keep: bool) -> Kept:
    job = Job(source)
    n = _kept_tables(job, source, statistic, number)
    shape = (job.cells, job.channels)
    ends = 0 if not keep else 2 if statistic == fields.TRIMMED else 1
    found = Kept(
        torch.empty(shape, dtype=job.computed),
        torch.empty((ends, *shape), dtype=job.computed),
        torch.empty((ends, *shape), dtype=torch.int32),
    )
    job.put(fields.OUT, found.out)
    _put_ends(job, found.values, found.places)
    _run(job, n)
    return found


def _kept_backward(
    grad: Tensor, source: Source, statistic: int, number: float, found: Sequence[Tensor]
) -> Tensor:
    job = Job(source)
    _kept_tables(job, source, statistic, number)
    out, values, places = found
    _put_ends(job, values, places)
    return _backward(job, grad, out)


def _put_ends(job: Job, values: Tensor, places: Tensor) -> None:
    by_end = (fields.LOW_VALUE, fields.LOW_AT), (fields.HIGH_VALUE, fields.HIGH_AT)
    for (value, at), number, place in zip(by_end, values, places, strict=False):
        job.put(value, number)
        job.put(at, place)


def _backward(job: Job, grad: Tensor, out: Tensor) -> Tensor:
    job.put(fields.OUT, out)
    job.put(fields.G_OUT, grad.to(job.computed).contiguous())
    result = job.gradient()
    if job.contiguous:
        job.run(gradients_of_order_in_stretches, STRETCH_BYTES)
    else:
        job.run(gradients_of_order_in_rows, BLOCK_BYTES)
    return result


def _quantile_tables(job: Job, source: Source, q: Sequence[float]) -> Tensor:
    n = _numbers(job, source)
    # In float64: float32 places are wrong beyond 100,000 members.
    place = torch.tensor(q, dtype=torch.float64)[:, None] * (n - 1).clamp(min=0).double()
    below = place.floor()
    job.fields[fields.PARTS] = len(q)
    job.put(fields.RANK, below.to(torch.int32))
    job.put(fields.SHARE, (place - below).to(job.computed))
    return n


def _kept_tables(job: Job, source: Source, statistic: int, number: float) -> Tensor:
    n = _numbers(job, source)
    rank = (number * n.double()).floor() if statistic == fields.TRIMMED else n.clamp(max=int(number))
    job.fields[fields.STATISTIC] = statistic
    job.put(fields.RANK, rank.to(torch.int32))
    return n


def _numbers(job: Job, source: Source) -> Tensor:
    """How many members each cell has: one number where all have the same."""
    values, offsets, _, weight = source
    job.fields[fields.STEP] = 1
    if offsets is not None:
        n = offsets.diff()
    elif weight is not None:
        n = (weight != 0).sum(1).flatten()
    else:
        n = torch.tensor([values.shape[1]])
        job.fields[fields.STEP] = 0
    job.put(fields.NUMBER, n.to(torch.int32))
    return n


def _run(job: Job, n: Tensor) -> None:
    """Cuts the work into tiles and runs the kernel."""
    told = job.fields
    lanes = 32 if job.computed is torch.float32 else 16
    height = int(n.max()) if told[OFFSETS] and len(n) else int(told[LENGTH])
    if job.contiguous:
        cells = job.cells * job.channels
        # Few cells are shared among the threads one by one, many as they fit into vectors.
        told[fields.GROUP] = group = 1 if job.members * job.channels > LONG * cells else lanes
        items = -(-cells // group)
        height = max(-(-height // lanes), min(height, LONG))
    else:
        told[fields.TILES] = -(-job.channels // lanes)
        items = job.cells * int(told[fields.TILES])
    job.items = job.pieces_of_all = told[ITEMS] = items
    memory = max(job.values.numel() * job.values.element_size() // _SHARE, _MEMORY)
    room = min(max(memory // fields.TILE_ROW // team.threads(), _ROOM[0]), _ROOM[1])
    told[fields.ROOM] = min(room, height)
    told[fields.FEED] = compiler.address(feed_tiles, job.computed)
    if height > room:
        told[fields.SPLIT_LONG] = compiler.address(split_long_tiles, job.computed)
    kernel = quantiles_of_tiles if told[fields.PARTS] else means_of_kept
    # A square of numbers more than asked for may be fed.
    job.run(kernel, fields.STAGED_ROWS + (min(room, height) + lanes) * fields.TILE_ROW)
