"""What is not in a cell is not read: padding, elements of weight 0, and cells of nothing."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from polypool.testing.bags import Bags, draw
from polypool.testing.check import check
from polypool.testing.forms import all_forms, one_of_each, padded_forms
from polypool.testing.measure import Measured, compare, cotangent, describe, measured, pooled
from polypool.testing.samples import Sample
from polypool.testing.subject import Subject
from polypool.testing.tolerances import Skip, agree, identical, require
from polypool.testing.written import grid, nodes, packed, tokens

UNREADABLE = (torch.nan, torch.inf, -torch.inf, 1e30)


@check()
def padding_never_read(subject: Subject) -> None:
    """NaN, infinities or huge numbers in padding change nothing, forward or backward; its gradient is exactly 0."""
    samples = list(padded_forms(subject.kinds, draw((4, 0, 7, 1), subject.channels, seed=10)))
    if not samples:
        raise Skip("none of its layouts has padding")
    ignores(subject, samples)


@check()
def weight_zero_never_read(subject: Subject) -> None:
    """NaN, infinities or huge numbers in elements of weight 0 change nothing; their gradient is exactly 0."""
    if not subject.takes_weights:
        raise Skip("it takes no weights")
    ignores(
        subject, list(all_forms(subject.kinds, draw((4, 0, 7, 1), subject.channels, weighted=True, seed=11)))
    )


def ignores(subject: Subject, samples: list[Sample]) -> None:
    for dtype in (torch.float64, torch.float32):
        pool = subject.pool(dtype)
        for sample in samples if dtype == torch.float64 else samples[:2]:
            sample = cast(sample, dtype)
            before = measured(pool, sample)
            for fill in UNREADABLE:
                where = describe(sample, f"{fill:g} where nothing is read")
                after = measured(pool, sample.refilled(fill))
                compare(after, before, where)
                unread = after.rows[~sample.real()]
                require(
                    bool((unread == 0).all()),
                    f"{where}: gradient {largest(unread)} there instead of exactly 0",
                )


def cast(sample: Sample, dtype: torch.dtype) -> Sample:
    """The same sample with its values, and weights, in another dtype."""
    structure = {k: t.to(dtype) if t.is_floating_point() else t for k, t in sample.structure.items()}
    return replace(sample, values=sample.values.to(dtype), structure=structure)


def largest(t: Tensor) -> str:
    return "NaN" if bool(t.isnan().any()) else f"{float(t.abs().amax()):.2g}"


@check()
def empty_cell(subject: Subject) -> None:
    """An empty cell is zeros and gives zero, finite gradients, to parameters too; so is a batch of nothing."""
    pool = subject.pool()
    for sample in all_forms(subject.kinds, draw((0, 3, 0, 5, 0), subject.channels, seed=12)):
        found = measured(pool, sample)
        empty = torch.tensor([index.numel() == 0 for index in sample.members])
        require(
            bool((found.out[empty] == 0).all()),
            f"{describe(sample)}: {largest(found.out[empty])} in empty cells",
        )
        finite(found, describe(sample, "gradients beside empty cells"))
        parameter_gradients_ignore_empty_cells(pool, sample, empty)
        bend = second_order(pool, sample)
        require(
            bool(bend.isfinite().all()),
            f"{describe(sample)}: second derivatives beside empty cells are not finite",
        )
    for sample in nothing(subject):
        zeros(pool, sample)
    no_cells(subject)


def parameter_gradients_ignore_empty_cells(pool: torch.nn.Module, sample: Sample, empty: Tensor) -> None:
    """What only empty cells are asked for is 0 for every parameter."""
    parameters = [p for p in pool.parameters() if p.requires_grad]
    out = pooled(pool, sample)  # type: ignore[arg-type]
    if not parameters or not out.requires_grad:
        return
    grads = torch.autograd.grad(out[empty].sum(), parameters, allow_unused=True, materialize_grads=True)
    for grad in grads:
        require(
            bool((grad == 0).all()),
            f"{describe(sample)}: an empty cell gives a parameter gradient {largest(grad)}",
        )


def finite(found: Measured, where: str) -> None:
    for name, grad in {"the values": found.rows, **found.parameters}.items():
        require(bool(grad.isfinite().all()), f"{where}: {name} have NaN or inf")


def second_order(pool: torch.nn.Module, sample: Sample) -> Tensor:
    """The gradient of the gradient's squared length, as rows."""
    values = sample.values.clone().requires_grad_()
    out = pooled(pool, sample, values)  # type: ignore[arg-type]
    if not out.requires_grad:
        return torch.zeros_like(values)
    (first,) = torch.autograd.grad(out, values, cotangent(out), create_graph=True, materialize_grads=True)
    if not first.requires_grad:
        return torch.zeros_like(values)
    (second,) = torch.autograd.grad((first**2).sum(), values, allow_unused=True, materialize_grads=True)
    return second


def nothing(subject: Subject) -> list[Sample]:
    """Batches in which every cell is empty, with padding and without a single element (N = 0)."""
    bags = Bags(draw((0, 0, 0), subject.channels).elements)
    bare = [packed(bags), tokens(bags, extra=0), nodes(bags), grid(bags, dims=1, extra=0)]
    return [*all_forms(subject.kinds, bags), *(sample for sample in bare if sample.kind in subject.kinds)]


def zeros(pool: torch.nn.Module, sample: Sample) -> None:
    found = measured(pool, sample)  # type: ignore[arg-type]
    where = describe(sample, "all cells empty")
    identical(found.out, torch.zeros_like(found.out), where)
    require(found.out.shape[0] == len(sample.members), f"{where}: result {list(found.out.shape)}")
    for grad in (found.rows, *found.parameters.values()):
        agree(grad, torch.zeros_like(grad), f"{where}, gradients")


def no_cells(subject: Subject) -> None:
    """A batch without a cell gives (0, C_out)."""
    pool = subject.pool()
    width = pool.out_channels(subject.channels)
    for sample in one_of_each(
        [k for k in subject.kinds if k in ("grid", "tokens", "packed")], draw((2, 2), subject.channels)
    ):
        structure = {k: t[:1] if k == "offsets" else t[:0] for k, t in sample.structure.items()}
        out = pool(sample.make(sample.values[:0], **structure))
        require(
            out.shape == (0, width),
            f"{sample.label} without cells: {list(out.shape)} instead of [0, {width}]",
        )
