"""What a weight means, and the weights that a pooling itself gives."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from polypool.testing.bags import Bags, draw
from polypool.testing.check import check
from polypool.testing.forms import all_forms, full_forms, one_of_each
from polypool.testing.measure import compare, describe, measured, pooled, separately
from polypool.testing.samples import Sample
from polypool.testing.subcells import subcells
from polypool.testing.subject import Subject
from polypool.testing.tolerances import TOLERANCES, Skip, agree, identical, require


@check()
def weights(subject: Subject) -> None:
    """Weights mean the same on every layout: weight 2 counts twice, weight 1 once, weight 0 not at all."""
    if not subject.takes_weights:
        raise Skip("it takes no weights")
    pool = subject.pool()
    bags = draw(subject.sizes, subject.channels, weighted=True, seed=17)
    inside = [s for s in subcells(subject.channels, torch.float64, True) if s.kind in subject.kinds]
    for sample in [*all_forms(subject.kinds, bags), *inside]:
        compare(measured(pool, sample), separately(subject, pool, sample), describe(sample, "weights"))
    ones_change_nothing(subject)
    zero_is_absent(subject)
    if subject.card.permutation_invariant:
        two_counts_twice(subject)
    other_dtypes(subject)


def other_dtypes(subject: Subject) -> None:
    """Weights need not have the dtype of the values; the result has that of the values."""
    bags = draw((5, 0, 8), subject.channels, torch.float32, weighted=True, seed=43)
    pool = subject.pool(torch.float32)
    for values, dtype in ((torch.float32, torch.float64), (torch.float16, torch.float32)):
        for sample in one_of_each(subject.kinds, bags.to(values)):
            structure = {k: t.to(dtype) if t.is_floating_point() else t for k, t in sample.structure.items()}
            out = pooled(pool, replace(sample, structure=structure))
            where = describe(sample, f"weights {str(dtype).removeprefix('torch.')}")
            agree(out, pooled(pool, sample), where, TOLERANCES[values])
            require(out.dtype == values, f"{where}: the result is {out.dtype}")


def ones_change_nothing(subject: Subject) -> None:
    bags = draw((5, 0, 8), subject.channels, seed=18)
    ones = Bags(bags.elements, tuple(torch.ones(n, dtype=torch.float64) for n in bags.sizes))
    compare_all(subject, ones, bags, "every weight 1")


def zero_is_absent(subject: Subject) -> None:
    bags = draw((5, 0, 8), subject.channels, weighted=True, seed=19)
    weights = bags.weights or ()
    rows = tuple(x[w > 0] for x, w in zip(bags.elements, weights, strict=True))
    compare_all(subject, bags, Bags(rows, tuple(w[w > 0] for w in weights)), "elements of weight 0")


def two_counts_twice(subject: Subject) -> None:
    bags = draw((5, 0, 8), subject.channels, seed=20)
    counts = tuple(1 + torch.arange(n) % 3 for n in bags.sizes)
    repeated = Bags(tuple(x.repeat_interleave(c, dim=0) for x, c in zip(bags.elements, counts, strict=True)))
    compare_all(
        subject, Bags(bags.elements, tuple(c.double() for c in counts)), repeated, "whole-numbered weights"
    )


def compare_all(subject: Subject, bags: Bags, same: Bags, note: str) -> None:
    """Two batches that mean the same give the same."""
    pool = subject.pool()
    for kind in subject.kinds:
        (one,), (other,) = (list(one_of_each([kind], b)) for b in (bags, same))
        agree(pooled(pool, one), pooled(pool, other), describe(one, note))


@check()
def weights_reconstruct(subject: Subject) -> None:
    """`pool.weights(layout)` are numbers w with out = sum w x, and 0 at padding."""
    if not subject.card.has_weights:
        raise Skip("the card says that it has no weights")
    pool = subject.pool()
    plain = draw((5, 0, 9, 1), subject.channels, seed=21)
    samples = [
        *all_forms(subject.kinds, plain),
        *full_forms(subject.kinds, draw((6, 6), subject.channels, seed=21)),
    ]
    if subject.takes_weights:
        samples += list(
            all_forms(subject.kinds, draw((5, 0, 9, 1), subject.channels, weighted=True, seed=22))
        )
    for sample in samples:
        if sample.disjoint:
            reconstruct(pool, sample)
            spoilt = attributed(pool, sample.refilled(torch.nan))
            identical(spoilt, attributed(pool, sample), describe(sample, "weights with NaN in padding"))


def reconstruct(pool: torch.nn.Module, sample: Sample) -> None:
    where = describe(sample, "weights" if sample.weights else "")
    w = attributed(pool, sample)
    rows = sample.rows(sample.values)
    require(
        w.shape[0] == rows.shape[0] and w.shape[1] in (1, rows.shape[1]),
        f"{where}: weights {list(w.shape)} as rows",
    )
    require(bool((w[~sample.real()] == 0).all()), f"{where}: weights at padding are not exactly 0")
    rebuilt = torch.stack([(w[index] * rows[index]).sum(dim=0) for index in sample.members])
    agree(rebuilt, pooled(pool, sample), f"{where}: sum w x")  # type: ignore[arg-type]


def attributed(pool: torch.nn.Module, sample: Sample) -> Tensor:
    """The pooling's weights as rows."""
    found: Tensor = pool.weights(sample.layout())  # type: ignore[operator]
    return sample.rows(found.detach())
