"""What every element adds to a score."""

from __future__ import annotations

import torch
from torch import Tensor

import polypool as pp
from polypool import explain
from polypool.testing.bags import draw
from polypool.testing.check import check
from polypool.testing.forms import all_forms, full_forms
from polypool.testing.measure import cotangent, describe, pooled
from polypool.testing.samples import Sample
from polypool.testing.subcells import subcells
from polypool.testing.subject import Subject
from polypool.testing.tolerances import Skip, Tolerance, agree, identical, require

COMPLETE = Tolerance(1e-5, 1e-5)
SIZES = (5, 0, 9, 1)


@check()
def contributions(subject: Subject) -> None:
    """Contributions sum to the score on every layout where the card makes them exact, and their error is honest."""
    pool = subject.pool()
    for sample in samples(subject):
        where = describe(sample, "contributions")
        # One direction per cell, and of length 1: a score of the size of the pooled numbers.
        direction = torch.nn.functional.normalize(cotangent(pooled(pool, sample)).detach(), dim=-1)
        try:
            found = explain.contributions(pool, sample.layout(), direction)
        except NotImplementedError as error:
            raise Skip(str(error)) from error
        agree(found.score, (pooled(pool, sample).detach() * direction).sum(-1), f"{where}, score")
        sums_up(pool, sample, found, where)
        spoilt = explain.contributions(pool, sample.refilled(torch.nan).layout(), direction)
        identical(spoilt.values, found.values, f"{where} with NaN in padding")


def samples(subject: Subject) -> list[Sample]:
    """Every form of every layout, weighted where the operator takes weights, and cells that share elements."""
    found: list[Sample] = []
    for weighted in (False, True) if subject.takes_weights else (False,):
        found += all_forms(subject.kinds, draw(SIZES, subject.channels, weighted=weighted, seed=51))
        found += [s for s in subcells(subject.channels, torch.float64, weighted) if s.kind in subject.kinds]
    return [*found, *full_forms(subject.kinds, draw((6, 6), subject.channels, seed=52))]


def sums_up(pool: pp.Pooling, sample: Sample, found: explain.Contributions, where: str) -> None:
    rows = as_rows(sample, found.values)
    require(bool((rows[~sample.real()] == 0).all()), f"{where} at padding are not exactly 0")
    nothing = torch.zeros_like(found.error)
    if explain.is_exact(pool):
        agree(found.score - found.error, found.score, f"{where}, sum per cell", COMPLETE)
    if sample.disjoint:
        sums = torch.stack([rows[index].sum() for index in sample.members])
        agree(found.score - sums - found.error, nothing, f"{where}, error that it states", COMPLETE)
    else:
        gap = found.score.sum() - found.values.sum() - found.error.sum()
        agree(gap, nothing.sum(), f"{where}, error that it states", COMPLETE)


def as_rows(sample: Sample, values: Tensor) -> Tensor:
    """One number per row of the values."""
    return sample.rows(values.unsqueeze(sample.channel_dim))[:, 0]
