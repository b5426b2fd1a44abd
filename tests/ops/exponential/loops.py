"""Exponential operations in float64, one cell after the other, and how they are compared with the kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from polypool.ops.exponential import op
from polypool.ops.source import Source
from polypool.testing.tolerances import Tolerance
from tests.ops.moments.sources import count, members, poisoned_memory
from tests.support import close, normal, of_gradients

Parameter = float | Tensor


def average(x: Tensor, w: Tensor, k: Tensor) -> Tensor:
    """`sum w e^(k x) x / sum w e^(k x)` of one cell whose weights are above 0."""
    return (w * density(x, w, k) * x).sum(0)


def log_mean_exp(x: Tensor, w: Tensor, t: Tensor) -> Tensor:
    """`t log(sum w e^(x / t) / sum w)` of one cell whose weights are above 0."""
    return t * (torch.logsumexp(x / t + w.log(), 0) - w.sum().log())


def density(x: Tensor, w: Tensor, k: Tensor) -> Tensor:
    """`e^(k x) / sum w e^(k x)` of one cell whose weights are above 0."""
    y = k * x
    e = (y - y.detach().amax(0)).exp()
    return e / (w * e).sum(0)


LOOPS = {"average": average, "log_mean_exp": log_mean_exp, "softmax": density}


def defined(name: str, source: Source, parameter: Tensor) -> tuple[Tensor, ...]:
    """The result in float64, and the gradients of the values and of the parameter."""
    x = source.values.detach().double().requires_grad_()
    w = None if source.weight is None else source.weight.double()
    p = parameter.detach().double().requires_grad_()
    rows = torch.arange(x[..., 0].numel()).view(x.shape[:-1])
    results, places = [], []
    for cell in range(count(source)):
        among, share = members(source, x, w, cell)
        # The numbers of the rows, found as the rows are.
        number, _ = members(source, rows.unsqueeze(-1), w, cell)
        real = torch.ones(len(among), dtype=torch.bool) if share is None else share[:, 0] > 0
        weight = torch.ones(len(among), 1, dtype=x.dtype) if share is None else share
        places.append(number[real][:, 0])
        if real.any():
            results.append(LOOPS[name](among[real], weight[real], p))
        else:
            results.append(among.new_zeros((0, x.shape[-1]) if name == "softmax" else x.shape[-1:]))
    if name == "softmax":
        flat = torch.zeros_like(x).flatten(0, -2).index_copy(0, torch.cat(places), torch.cat(results))
        found = flat.view(x.shape)
    else:
        found = torch.stack(results)
    grads = torch.autograd.grad(found, (x, p), cotangent(found), materialize_grads=True, allow_unused=True)
    return found.detach(), *grads


def cotangent(result: Tensor) -> Tensor:
    """What gradients are taken with."""
    return normal(*result.shape, seed=4).to(result.dtype)


def measured(name: str, source: Source, parameter: Parameter) -> tuple[Tensor, ...]:
    """The result and all gradients by the operation, in memory that holds NaN where nothing is written."""
    inputs = [source.values.detach().requires_grad_()]
    if isinstance(parameter, Tensor) and name != "softmax":
        parameter = parameter.detach().requires_grad_()
        inputs.append(parameter)
    with poisoned_memory():
        result = getattr(op, name)(source._replace(values=inputs[0]), parameter)
        grads = torch.autograd.grad(result, inputs, cotangent(result))
    return result.detach(), *grads


def agree(
    name: str,
    source: Source,
    parameter: Parameter,
    tolerance: Tolerance | None = None,
    of_gradient: Tolerance | None = None,
) -> None:
    """Compares the operation with the loops: results in the computed dtype, gradients in that of their input."""
    found = measured(name, source, parameter)
    wanted = defined(name, source, torch.as_tensor(parameter, dtype=torch.float64))
    what = f"{name} at {parameter}"
    assert found[0].dtype == torch.promote_types(source.values.dtype, torch.float32)
    close(found[0], wanted[0], what, tolerance)
    for result, expected, of in zip(found[1:], wanted[1:], ("values", "parameter"), strict=False):
        close(result, expected, f"gradient of the {of}, {what}", of_gradient or of_gradients(result.dtype))


def agree_all(source: Source) -> None:
    """All operations, with a number, with a tensor of one number and with one for each channel."""
    channels = source.values.shape[-1]
    dtype = torch.promote_types(source.values.dtype, torch.float32)
    each = (0.3 + torch.arange(channels) % 5 / 3).to(dtype)
    for parameter in (0.7, torch.tensor([1.5], dtype=dtype), each):
        for name in LOOPS:
            agree(name, source, parameter)
    for name in ("average", "softmax"):
        agree(name, source, -each)
