"""Power means on the CPU: which kernel runs, over what, and where its results go."""

from __future__ import annotations

import torch
from torch import Tensor

from polypool.ops.cpu.job import MASS, Job
from polypool.ops.power import fields
from polypool.ops.power.contiguous import HANDFUL_BYTES, powers_of_stretches
from polypool.ops.power.contiguous_backward import HANDFUL_BYTES as HANDFUL_OF_SLOPES
from polypool.ops.power.contiguous_backward import gradients_of_stretches
from polypool.ops.power.finish import joined_powers
from polypool.ops.power.rows import KNOWN, powers_of_rows
from polypool.ops.power.rows_backward import KNOWN as KNOWN_OF_SLOPES
from polypool.ops.power.rows_backward import gradients_of_rows
from polypool.ops.source import Source

#: Between these powers float32 can often hold sums as they are. Higher ones are soon too large; and lower ones leave
#: something of numbers that are too small to be normal, which are not read where nothing is divided.
PLAIN_POWERS = (1.0, 16.0)


def forward(
    source: Source, p: float | Tensor, signed: bool = False, floor: float | None = None
) -> tuple[Tensor, Tensor]:
    """The power means `(K, C)` and masses `(K, 1)`, which are empty without weights."""
    job = Job(source)
    _prepare(job, p, signed, floor)
    out = torch.empty((job.cells, job.channels), dtype=job.computed)
    job.put(fields.OUT, out)
    mass = torch.empty((0,), dtype=job.computed)
    if source.weight is not None and job.contiguous:
        mass = source.weight.sum(1, dtype=job.computed)
    elif source.weight is not None:
        mass = torch.empty((job.cells, 1), dtype=job.computed)
        job.put(MASS, mass)
    if job.contiguous:
        job.run(powers_of_stretches, HANDFUL_BYTES, joined_powers, fields.STATE)
    else:
        job.run(powers_of_rows, KNOWN + 16 * job.channels, joined_powers, fields.STATE)
    return out, mass


def backward(
    grad: Tensor,
    source: Source,
    out: Tensor,
    mass: Tensor,
    p: float | Tensor,
    signed: bool = False,
    floor: float | None = None,
    of_power: bool = False,
) -> tuple[Tensor, Tensor]:
    """The gradient of the values from that of the power means `(K, C)`, and that of p, empty unless it is wanted."""
    job = Job(source)
    _prepare(job, p, signed, floor)
    job.put(fields.OUT, out)
    job.put(fields.G_OUT, grad.to(job.computed).contiguous())
    if source.weight is not None:
        job.put(MASS, mass)
    shares = None
    if of_power:
        job.fields[fields.PRODUCTS] = 0
        shares = torch.empty((int(job.items), 1 if job.contiguous else job.channels), dtype=job.computed)
        job.put(fields.G_POWER, shares)
    result = job.gradient()
    if job.contiguous:
        job.run(gradients_of_stretches, HANDFUL_OF_SLOPES)
    else:
        job.run(gradients_of_rows, KNOWN_OF_SLOPES + 8 * job.channels)
    if shares is None or isinstance(p, float):
        return result, torch.empty((0,), dtype=job.computed)
    if job.contiguous and source.offsets is None:
        shares = shares.view(job.cells, job.channels, -1).transpose(1, 2).flatten(0, 1)
    return result, gradient_of_parameter(shares, p)


def gradient_of_parameter(shares: Tensor, p: Tensor) -> Tensor:
    """What cells and their pieces add to the gradient of p, in a sum that is the same for any number of threads."""
    columns = shares.shape[1]
    if columns == 1:  # torch would cut the sum of one column between threads
        shares = shares.expand(-1, 2)
    total = shares.sum(0)[:columns]
    return (total.sum() if p.numel() == 1 else total).reshape(p.shape).to(p.dtype)


def _prepare(job: Job, p: float | Tensor, signed: bool, floor: float | None) -> None:
    least = float("nan") if floor is None else floor  # nothing is below
    numbers = torch.tensor([least, p if isinstance(p, float) else 0.0], dtype=job.computed)
    job.put(fields.FLOOR, numbers[:1])
    powers = numbers[1:] if isinstance(p, float) else p.detach().to(job.computed).reshape(-1)
    known = float(powers[0])
    if powers.shape[0] > 1 and not bool((powers == known).all()):
        job.fields[fields.STEP], known = powers.element_size(), 0.0
    job.put(fields.POWERS, powers)
    job.fields[fields.PERIOD] = job.channels
    job.fields[fields.PRODUCTS] = int(known) if known in (1.0, 2.0, 3.0) else 0
    low, high = (known, known) if known else map(float, powers.aminmax())
    job.fields[fields.PLAIN] = PLAIN_POWERS[0] <= low and high <= PLAIN_POWERS[1]
    job.fields[fields.SIGNED] = signed
