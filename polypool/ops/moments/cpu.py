"""Moments on the CPU: which kernel runs, over what, and where its results go."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from polypool.ops.cpu.job import MASS, Job
from polypool.ops.cpu.stretch import STRETCH_BYTES
from polypool.ops.cpu.walk import BLOCK, BLOCK_BYTES
from polypool.ops.moments import fields
from polypool.ops.moments.contiguous import moments_of_stretches
from polypool.ops.moments.contiguous_backward import gradients_of_stretches
from polypool.ops.moments.finish import joined_moments
from polypool.ops.moments.rows import moments_of_rows
from polypool.ops.moments.rows_backward import gradients_of_rows
from polypool.ops.moments.shares import gradients_of_shares
from polypool.ops.source import Source

#: The fields of each statistic: where it goes, where its place goes, where its gradient comes from.
FIELDS = {
    "sum": (fields.SUM, None, fields.G_SUM),
    "mean": (fields.MEAN, None, fields.G_MEAN),
    "m2": (fields.M2, None, fields.G_M2),
    "m3": (fields.M3, None, fields.G_M3),
    "m4": (fields.M4, None, fields.G_M4),
    "max": (fields.MAX, fields.ARGMAX, fields.G_MAX),
    "min": (fields.MIN, fields.ARGMIN, fields.G_MIN),
}
CODES = tuple(FIELDS)


def forward(source: Source, wanted: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """The statistics `(S, K, C)`, places of extremes `(P, K, C)` int32 (-1 in empty cells) and masses `(K, H)`."""
    job = Job(source)
    keys = [CODES[code] for code in wanted]
    extremes = sum(FIELDS[key][1] is not None for key in keys)
    stats = torch.empty((len(keys), job.cells, job.channels), dtype=job.computed)
    places = torch.empty((extremes, job.cells, job.channels), dtype=torch.int32)
    _put(job, keys, stats, places)
    if source.weight is None:
        mass = torch.empty((0,), dtype=job.computed)
    elif job.contiguous:
        mass = _steady_sum(source.weight.to(job.computed), -2)
    else:
        mass = torch.empty((job.cells, source.weight.shape[-1]), dtype=job.computed)
        job.put(MASS, mass)
    if {"m3", "m4"} & set(keys):
        level = fields.SHAPE
    elif "m2" in keys:
        level = fields.SPREAD
    else:
        level = fields.EXTREMES if extremes else fields.SUMS
    job.fields[fields.LEVEL] = level
    if job.contiguous:
        job.run(moments_of_stretches, STRETCH_BYTES, joined_moments, fields.STATE)
    else:
        scratch = BLOCK_BYTES + 8 * fields.STATE * job.channels
        job.run(moments_of_rows, scratch, joined_moments, fields.STATE)
    return stats, places, mass


def backward(
    grad: Tensor, source: Source, stats: Tensor, places: Tensor, mass: Tensor, wanted: Sequence[int]
) -> Tensor:
    """The gradient of the values, from those of the statistics `(S, K, C)`."""
    job = Job(source)
    keys = _prepared(job, grad, source, stats, places, mass, wanted)
    result = job.gradient()
    if {"m3", "m4"} & set(keys):
        level = fields.CUBIC
    elif "m2" in keys:
        level = fields.LINEAR
    else:
        level = fields.CHOSEN if places.numel() else fields.EVEN
    job.fields[fields.LEVEL] = level
    job.run(gradients_of_stretches if job.contiguous else gradients_of_rows, _scratch(job))
    return _as_told(result, source.values)


def expand(y: Tensor, offsets: Tensor, rows: Tensor | None, size: int) -> Tensor:
    """Each cell's row `(K, C)` to its members, `(size, C)`: the gradient of a sum. 0 for what is in no cell."""
    result = torch.empty((size, y.shape[-1]), dtype=y.dtype)
    job = Job(Source(result, offsets, rows))
    job.gradient(into=result)
    job.put(fields.G_SUM, y.to(job.computed).contiguous())
    job.fields[fields.LEVEL] = fields.EVEN
    job.run(gradients_of_stretches if job.contiguous else gradients_of_rows, _scratch(job))
    return result


def _as_told(result: Tensor, values: Tensor) -> Tensor:
    """The gradient with the strides that a compiler was told: those of a fresh tensor like the values."""
    if result.stride() == values.stride():
        return result
    told = torch.empty_like(values, device="meta").stride()
    return result if result.stride() == told else torch.empty_like(values).copy_(result)


def _steady_sum(x: Tensor, dim: int) -> Tensor:
    """A sum that does not depend on the number of threads, between which torch cuts one with a single result."""
    return x.expand(2, *x.shape).sum(dim)[0] if x.numel() == x.shape[dim] else x.sum(dim)


def _scratch(job: Job) -> int:
    return STRETCH_BYTES if job.contiguous else BLOCK_BYTES


def backward_of_weight(
    grad: Tensor, source: Source, stats: Tensor, places: Tensor, mass: Tensor, wanted: Sequence[int]
) -> Tensor:
    """The gradient of the weights of sums, means and variances; of contiguous cells sums and means alone."""
    job, weight = Job(source), source.weight
    if weight is None:
        raise ValueError("there are no weights to differentiate by")
    if job.contiguous:
        return _backward_of_weight_in_stretches(grad, source.values, weight, stats, mass, wanted)
    _prepared(job, grad, source, stats, places, mass, wanted)
    result = torch.zeros_like(weight, dtype=job.computed, memory_format=torch.contiguous_format)
    job.put(fields.GRAD_WEIGHT, result)
    job.run(gradients_of_shares, BLOCK_BYTES + 8 * BLOCK)
    return result


def _backward_of_weight_in_stretches(
    grad: Tensor, values: Tensor, weight: Tensor, stats: Tensor, mass: Tensor, wanted: Sequence[int]
) -> Tensor:
    """Here channels are the members that are added up, weighed by the gradients."""
    heads = weight.shape[-1]
    part = 1.0 / torch.where(mass == 0, torch.ones_like(mass), mass)[..., None]
    x = values.transpose(1, 2).to(stats.dtype).unflatten(1, (heads, -1))
    by_key = {
        CODES[code]: (grad[i].unflatten(-1, (heads, -1)), stats[i].unflatten(-1, (heads, -1)))
        for i, code in enumerate(wanted)
    }
    slope, rest = torch.zeros_like(x[..., 0]), torch.zeros_like(part)
    if "sum" in by_key:
        slope += by_key["sum"][0]
    if "mean" in by_key:
        g, mean = by_key["mean"]
        slope += g * part
        rest -= _steady_sum(g * mean * part, -1).unsqueeze(-1)
    found = _channels_joined(x, slope)
    if "m2" in by_key:
        (g, m2), (_, mean) = by_key["m2"], by_key["mean"]
        rest -= _steady_sum(g * m2 * part, -1).unsqueeze(-1)
        for b in range(
            x.shape[0]
        ):  # one image at a time: a square of all of them would be as large as the values
            squares = (x[b] - mean[b].unsqueeze(-1)).square_()
            found[b] += _channels_joined(squares[None], (g[b] * part[b])[None])[0]
    found += rest
    # What has weight 0 is not read.
    unread = (weight.transpose(1, 2) == 0) & ~found.isfinite()
    return found.masked_fill(unread, 0.0).transpose(1, 2).contiguous()


def _channels_joined(x: Tensor, slope: Tensor) -> Tensor:
    """`(B, H, D, N)` and a weight for each channel `(B, H, D)`, added up over the channels of a head: `(B, H, N)`."""
    rows, weight = x.flatten(0, 1), slope.flatten(0, 1).unsqueeze(-1)
    return forward(Source(rows, weight=weight), [CODES.index("sum")])[0][0].unflatten(0, x.shape[:2])


def _prepared(
    job: Job,
    grad: Tensor,
    source: Source,
    stats: Tensor,
    places: Tensor,
    mass: Tensor,
    wanted: Sequence[int],
) -> list[str]:
    keys = [CODES[code] for code in wanted]
    _put(job, keys, stats, places)
    grad = grad.contiguous()
    for i, key in enumerate(keys):
        job.put(FIELDS[key][2], grad[i])
    if source.weight is not None:
        job.put(MASS, mass)
    return keys


def _put(job: Job, keys: Sequence[str], stats: Tensor, places: Tensor) -> None:
    extremes = 0
    for i, key in enumerate(keys):
        result, place, _ = FIELDS[key]
        job.put(result, stats[i])
        if place is not None and places.numel():
            job.put(place, places[extremes])
            extremes += 1
