"""Every layout gives the same, and refuses what it should."""

from __future__ import annotations

import torch
from torch import Tensor

from polypool.testing.bags import draw
from polypool.testing.check import check
from polypool.testing.forms import LAYOUTS, all_forms, full_forms, one_of_each
from polypool.testing.measure import compare, describe, measured, pooled, separately
from polypool.testing.samples import Sample
from polypool.testing.subcells import subcells
from polypool.testing.subject import Subject
from polypool.testing.tolerances import TOLERANCES, CheckFailure, Skip, agree, identical, require


@check()
def matches_oracle(subject: Subject) -> None:
    """One cell by itself gives what the float64 oracle gives, with and without weights."""
    if subject.oracle is None:
        raise Skip("no oracle: pass one as oracle=; layouts are only compared with each other")
    pool = subject.pool()
    for weighted in (False, True)[: 1 + subject.takes_weights]:
        bags = draw(subject.sizes, subject.channels, weighted=weighted, seed=1)
        weights = bags.weights or (None,) * len(bags.elements)
        for x, w in zip(bags.elements, weights, strict=True):
            where = f"one cell {list(x.shape)} float64{', with weights' if weighted else ''}"
            answer = subject.answer(pool, x, w)
            assert answer is not None  # noqa: S101 - an oracle is there
            agree(subject.alone(pool, x, w), answer, where)


@check()
def same_on_every_layout(subject: Subject) -> None:
    """The same elements give the same values and gradients on every layout."""
    for dtype in (torch.float64, torch.float32):
        pool = subject.pool(dtype)
        wide = subject.pool()
        for sample in every_sample(subject, dtype):
            wanted = separately(subject, wide, widened(sample))
            compare(measured(pool, sample), wanted, describe(sample), TOLERANCES[dtype])


def every_sample(subject: Subject, dtype: torch.dtype) -> list[Sample]:
    bags = draw(subject.sizes, subject.channels, dtype, seed=2)
    full = draw((30, 30), subject.channels, dtype, seed=2)
    inside = [s for s in subcells(subject.channels, dtype, False) if s.kind in subject.kinds]
    return [*all_forms(subject.kinds, bags), *full_forms(subject.kinds, full), *inside]


def widened(sample: Sample) -> Sample:
    """The sample's cells in float64, for a reference."""
    weights = None if sample.weights is None else tuple(w.double() for w in sample.weights)
    return Sample(
        sample.label, sample.kind, sample.values.double(), sample.members, weights, sample.make,
        sample.structure, sample.channel_dim, sample.disjoint,
    )  # fmt: skip


@check()
def layout_input_forms(subject: Subject) -> None:
    """`pool(x, mask=m)`, `lengths=`, `offsets=` and `batch=` are the layouts that they name."""
    pool = subject.pool()
    bags = draw((3, 0, 5, 1), subject.channels, seed=3)
    lengths = torch.tensor(bags.sizes)
    for sample in all_forms(subject.kinds, bags):
        keywords = dict(sample.structure)
        if sample.kind == "nodes":
            keywords["num_graphs"] = len(bags.sizes)  # type: ignore[assignment]
        if sample.kind == "clusters" or "channels last" in sample.label:
            continue  # as_layout has no spelling for these
        if sample.kind == "grid" and sample.values.dim() == 3:
            continue  # three dimensions with a mask are tokens
        identical(
            pool(sample.values, **keywords), pool(sample.layout()), f"pool(x, {', '.join(keywords)}=...)"
        )
        if sample.label == "Tokens, right padding":
            agree(pool(sample.values, lengths=lengths), pooled(pool, sample), "pool(x, lengths=...)")


@check()
def non_contiguous(subject: Subject) -> None:
    """Strides do not matter: slices, transposes and channels_last memory give what a contiguous copy gives."""
    pool = subject.pool()
    bags = draw((7, 4, 2), subject.channels, seed=4)
    for sample in one_of_each(subject.kinds, bags):
        wanted = pooled(pool, sample)
        for name, values in strided(sample.values).items():
            agree(pooled(pool, sample, values), wanted, describe(sample, name))


def strided(values: Tensor) -> dict[str, Tensor]:
    """The same numbers with other strides."""
    wide = torch.full((*values.shape[:-1], 2 * values.shape[-1]), torch.nan, dtype=values.dtype)
    wide[..., ::2] = values
    order = list(reversed(range(values.dim())))
    views = {"every other number of a wider tensor": wide[..., ::2]}
    views["transposed memory"] = values.permute(order).contiguous().permute(order)
    if values.dim() == 4:
        views["channels_last memory"] = values.contiguous(memory_format=torch.channels_last)
    return views


@check()
def input_untouched(subject: Subject) -> None:
    """Pooling and its backward change neither the values nor what says where the cells are."""
    pool = subject.pool()
    for sample in one_of_each(subject.kinds, draw((4, 0, 3), subject.channels, seed=5)):
        values, structure = sample.values.clone(), {k: t.clone() for k, t in sample.structure.items()}
        leaf = sample.values.requires_grad_()
        out = pooled(pool, sample, leaf)
        if out.requires_grad:
            out.sum().backward()
        identical(sample.values.detach(), values, describe(sample, "values after pooling"))
        for name, tensor in structure.items():
            identical(sample.structure[name], tensor, describe(sample, f"{name} after pooling"))


@check()
def out_channels(subject: Subject) -> None:
    """`out_channels(in_channels)` is the width of the result."""
    pool = subject.pool()
    widths = {subject.channels} if any(True for _ in pool.parameters()) else {1, 3, subject.channels}
    for channels in sorted(widths):
        for sample in one_of_each(subject.kinds, draw((2, 3), channels)):
            found, promised = pooled(pool, sample).shape, pool.out_channels(channels)
            message = (
                f"{describe(sample)}: out_channels({channels}) is {promised}, the result is {list(found)}"
            )
            require(found == (2, promised), message)


@check()
def unsupported_layouts_refused(subject: Subject) -> None:
    """A layout that the operator cannot do is NotImplementedError naming those it can."""
    pool = subject.pool()
    bags = draw((2, 3), subject.channels)
    missing = [kind for kind in LAYOUTS if kind not in subject.kinds]
    refused = list(one_of_each(missing, bags))
    if not subject.takes_weights:
        refused += list(one_of_each(subject.kinds, draw((2, 3), subject.channels, weighted=True)))
    if not refused:
        raise Skip("it claims every layout, weights included")
    for sample in refused:
        where = describe(sample, "weights" if sample.weights else "")
        try:
            pool(sample.layout())
        except NotImplementedError as error:
            message = str(error).lower()
            named = sample.weights is not None or all(kind in message for kind in subject.kinds)
            require(named, f"{where}: the message does not name {', '.join(subject.kinds)}: {error}")
        else:
            raise CheckFailure(f"{where}: gave a number instead of NotImplementedError")
