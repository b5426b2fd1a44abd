"""Exponential operations on the CPU: which kernels run, over what, and where their results go."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from polypool.ops.cpu.job import ITEMS, NEXT, ROW, ROWS, WEIGHT, WORKER, Job
from polypool.ops.cpu.stretch import STRETCH_BYTES
from polypool.ops.cpu.walk import BLOCK_BYTES
from polypool.ops.exponential import fields
from polypool.ops.exponential.batch import BYTES
from polypool.ops.exponential.contiguous import exponentials_of_stretches
from polypool.ops.exponential.contiguous_backward import shares_of_stretches
from polypool.ops.exponential.finish import joined_exponentials
from polypool.ops.exponential.narrow import CHANNELS_TOGETHER, softmax_of_narrow_rows
from polypool.ops.exponential.rows import BYTES_OF_CHANNEL, exponentials_of_rows
from polypool.ops.exponential.rows_backward import shares_of_rows
from polypool.ops.moments import CODES
from polypool.ops.moments import cpu as moments
from polypool.ops.source import Source

LOG2_E = math.log2(math.e)


def average(
    source: Source, k: float | Tensor, keep: bool = False, slope: bool = False
) -> tuple[Tensor, Tensor]:
    """`sum w e^(k x) x / sum w e^(k x)`, `(K, C)`, and what is kept of it, `(0 to 4, K, C)`.

    Args:
        source: What is read; weights have one head.
        k: One number, or a tensor of one or C.
        keep: Whether to keep what `average_backward` needs.
        slope: Whether to keep the derivative by k too, last.
    """
    job, _ = _job(source)
    _tell(job, k)
    level = fields.AVERAGE_SLOPE if slope else fields.AVERAGE
    kept = (fields.TOP, fields.SHARE_OF_ONE, fields.MEAN_EXPONENT) * keep + (fields.SLOPE,) * slope
    return _forward(job, level, (fields.OUT, *kept))


def log_mean_exp(
    source: Source, t: float | Tensor, keep: bool = False, slope: bool = False
) -> tuple[Tensor, Tensor]:
    """`t log(sum w e^(x / t) / sum w)`, `(K, C)`, and what is kept of it, `(0 to 3, K, C)`.

    Args:
        source: What is read; weights have one head.
        t: One number, or a tensor of one or C.
        keep: Whether to keep what `log_mean_exp_backward` needs.
        slope: Whether to keep the derivative by t too, last.
    """
    job, _ = _job(source)
    _tell(job, 1 / t)
    kept = (fields.TOP, fields.SHARE_OF_ONE) * keep + (fields.SLOPE,) * slope
    return _forward(job, fields.LOG_MEAN_SLOPE if slope else fields.LOG_MEAN, (fields.OUT, *kept))


def average_backward(grad: Tensor, source: Source, k: float | Tensor, kept: Tensor) -> Tensor:
    """The gradient of the values, from that of the averages."""
    job, rows = _job(source)
    _tell(job, k)
    job.put(fields.MEAN_EXPONENT, kept[2])
    return _backward(job, fields.OF_AVERAGE, grad, kept, rows, source.values)


def log_mean_exp_backward(grad: Tensor, source: Source, t: float | Tensor, kept: Tensor) -> Tensor:
    """The gradient of the values, from that of the log-mean-exps."""
    job, rows = _job(source)
    _tell(job, 1 / t)
    return _backward(job, fields.OF_LOG_MEAN, grad, kept, rows, source.values)


def softmax(source: Source, k: float | Tensor) -> Tensor:
    """`e^(k x) / sum w e^(k x)` of each member, where its value is; 0 of what is in no cell or has no weight."""
    source = source._replace(values=_wide(source.values))
    job, rows = _job(source)
    _tell(job, k)
    if _narrow(job):
        return _backward(job, fields.DENSITY, None, None, rows, source.values)
    _, kept = _forward(job, fields.AVERAGE, (None, fields.TOP, fields.SHARE_OF_ONE))
    job.fields[[NEXT, WORKER]], job.fields[ITEMS] = 0, job.items
    return _backward(job, fields.DENSITY, None, kept, rows, source.values)


def softmax_backward(grad: Tensor, source: Source, k: float | Tensor, density: Tensor) -> Tensor:
    """The gradient of the values of a softmax, from its result and the gradient of that."""
    source = source._replace(values=density)
    job, rows = _job(source)
    _tell(job, k)
    h = torch.empty_like(job.values).copy_(grad if rows is None else grad.index_select(0, rows))
    job.put(fields.G_DENSITY, h)
    job.fields[fields.G_DENSITY] -= job.values.data_ptr()
    if _narrow(job):
        return _backward(job, fields.OF_DENSITY, None, None, rows, density)
    product = job.values * h
    if source.weight is not None:  # what is not read may have any gradient
        product = product.masked_fill_(job.values == 0, 0.0)
    listed = rows is None and not (job.contiguous and source.offsets is not None)
    source = Source(product, source.offsets, source.rows if listed else None)
    total = moments.forward(source, [CODES.index("sum")])[0]
    return _backward(job, fields.OF_DENSITY, total[0], None, rows, density)


def _narrow(job: Job) -> bool:
    """Whether rows are so short, and follow each other, that one vector holds several; long cells go to all threads."""
    dense = job.fields[ROW] == job.channels * job.values.element_size() and not job.fields[ROWS]
    return bool(dense and not job.contiguous and not job.joined and job.channels in CHANNELS_TOGETHER)


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _job(source: Source) -> tuple[Job, Tensor | None]:
    """The job of a source, and where its members come from when they had to be brought in order for it.

    A list of single numbers is contiguous once it is in order, with weights too.
    """
    values, offsets, rows, weight = source
    if offsets is None or values.shape[1] != 1:
        return Job(source), None
    values = values.contiguous() if rows is None else values.index_select(0, rows)
    job = Job(Source(values, offsets))
    if weight is not None:
        job.put(WEIGHT, weight.to(job.computed).contiguous())
    return job, rows


def _limits(dtype: torch.dtype) -> tuple[float, float, float]:
    """The smallest k, the smallest that is learned, and the largest: with room to multiply and divide by them.

    A square of what is learned times a variance must not vanish in the derivative.
    """
    limits = torch.finfo(dtype)
    return 1 / (limits.max * limits.eps), limits.tiny**0.4, 1 / limits.tiny


LIMITS = {dtype: _limits(dtype) for dtype in (torch.float32, torch.float64)}


def _tell(job: Job, k: float | Tensor) -> None:
    """Writes k into a job, within what its precision can hold."""
    low, low_learned, high = LIMITS[job.computed]
    if isinstance(k, Tensor):
        low = low_learned
        if k.numel() == 1:
            k = k.item()
    if isinstance(k, Tensor):
        k = k.detach().reshape(-1).to(job.computed)
        sizes = k.abs().clamp(low, high)
        k2 = torch.where(k < 0, -sizes, sizes) * LOG2_E
        job.fields[fields.NEGATIVE] = bool((k < 0).any())
    else:
        number = math.copysign(min(max(abs(k), low), high), k) * LOG2_E
        k2 = torch.full((1 if job.contiguous else job.channels,), number, dtype=job.computed)
        job.fields[fields.NEGATIVE] = number < 0
    job.fields[fields.PERIOD] = k2.numel()
    job.put(fields.EXPONENT, k2)
    job.put(fields.INVERSE, 1 / k2)


def _forward(job: Job, level: int, wanted: tuple[int | None, ...]) -> tuple[Tensor, Tensor]:
    """The results of the cells, the first one by itself."""
    out = torch.empty((job.cells, job.channels), dtype=job.computed)
    kept = torch.empty((len(wanted) - 1, job.cells, job.channels), dtype=job.computed)
    for field, result in zip(wanted, (out, *kept), strict=True):
        if field is not None:
            job.put(field, result)
    job.fields[fields.LEVEL] = level
    if job.contiguous:
        job.run(exponentials_of_stretches, BYTES, joined_exponentials, fields.STATE)
    else:
        scratch = BLOCK_BYTES + BYTES_OF_CHANNEL * job.channels
        job.run(exponentials_of_rows, scratch, joined_exponentials, fields.STATE)
    return out, kept


def _backward(
    job: Job, level: int, grad: Tensor | None, kept: Tensor | None, rows: Tensor | None, like: Tensor
) -> Tensor:
    """What members have, where their values are; `rows` says where when they were brought in order for the job."""
    job.fields[fields.LEVEL] = level
    if grad is not None:
        job.put(fields.G_OUT, grad.to(job.computed).contiguous())
    if kept is not None:
        job.put(fields.TOP, kept[0])
        job.put(fields.SHARE_OF_ONE, kept[1])
    result = job.gradient()
    if level in (fields.DENSITY, fields.OF_DENSITY) and _narrow(job):
        job.run(softmax_of_narrow_rows, 0)
    elif job.contiguous:
        job.run(shares_of_stretches, STRETCH_BYTES)
    else:
        job.run(shares_of_rows, BLOCK_BYTES)
    if rows is not None:
        return torch.zeros_like(like).index_copy_(0, rows, result)
    if job.values is like:
        return result
    # The values were copied for the job, and a compiler expects the strides of theirs.
    stored = torch.empty_like(like)
    return result if stored.stride() == result.stride() else stored.copy_(result)
