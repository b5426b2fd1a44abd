"""NaN, infinities and cells without spread."""

from __future__ import annotations

import torch
from torch import Tensor

import polypool as pp
from polypool.testing.bags import constant, draw
from polypool.testing.check import check
from polypool.testing.forms import one_of_each
from polypool.testing.measure import compare, describe, measured, pooled, separately, touched
from polypool.testing.samples import Sample
from polypool.testing.subject import Subject
from polypool.testing.tolerances import Skip, agree, require

CELL, CHANNEL = 1, 0
SIZES = (4, 9, 0, 12)
FAR = (1e30, 1e60)


def poisoned(sample: Sample, values: dict[int, float]) -> Tensor:
    """The values with some elements of one cell replaced in one channel."""
    rows = sample.rows(sample.values).clone()
    for place, value in values.items():
        rows[sample.members[CELL][place], CHANNEL] = value
    return rows.reshape(sample.values.movedim(sample.channel_dim, -1).shape).movedim(-1, sample.channel_dim)


def others_unchanged(
    subject: Subject, pool: pp.Pooling, sample: Sample, values: Tensor, where: str
) -> Tensor:
    """Compares the other cells, and the channels that the poisoned one does not feed; returns the poisoned cell."""
    before, after = pooled(pool, sample), pooled(pool, sample, values)
    others = [cell for cell in range(len(SIZES)) if cell != CELL]
    agree(after[others], before[others], f"{where}, other cells")
    fed = touched(subject, pool, sample.cells().elements[CELL], CHANNEL)
    agree(after[CELL][~fed], before[CELL][~fed], f"{where}, channels that it does not feed")
    return after[CELL]


@check()
def nan_stays_in_its_cell(subject: Subject) -> None:
    """A NaN in a real element makes NaN the channels that it feeds, in its own cell only."""
    pool = subject.pool()
    n = SIZES[CELL]
    every = dict.fromkeys(range(n), torch.nan)
    places = [{0: torch.nan}, {n // 2: torch.nan}, {n - 1: torch.nan}, every]
    for sample in one_of_each(subject.kinds, draw(SIZES, subject.channels, seed=13)):
        fed = touched(subject, pool, sample.cells().elements[CELL], CHANNEL)
        for place in places:
            where = describe(
                sample, f"NaN in {'every element' if len(place) == n else f'element {next(iter(place))}'}"
            )
            values = poisoned(sample, place)
            cell = others_unchanged(subject, pool, sample, values, where)
            if subject.card.permutation_invariant or place is every:
                require(
                    bool(cell[fed].isnan().all()),
                    f"{where}: the channels that it feeds are {cell[fed].tolist()}",
                )
            answer = subject.answer(pool, sample.rows(values)[sample.members[CELL]])
            if answer is not None:
                agree(cell, answer, where)
            gradients_elsewhere(pool, sample, values, where)


def gradients_elsewhere(pool: pp.Pooling, sample: Sample, values: Tensor, where: str) -> None:
    before, after = measured(pool, sample), measured(pool, sample, values)
    for cell, index in enumerate(sample.members):
        if cell != CELL:
            agree(after.rows[index], before.rows[index], f"{where}, gradient in other cells")


@check()
def inf_is_a_value(subject: Subject) -> None:
    """An infinity is a value: it gives the limit, in its own cell only."""
    pool = subject.pool()
    for sample in one_of_each(subject.kinds, draw(SIZES, subject.channels, seed=14)):
        for place in ({3: torch.inf}, {3: -torch.inf}, {2: torch.inf, 5: -torch.inf}):
            where = describe(sample, f"{', '.join(f'{v:g}' for v in place.values())} among the elements")
            values = poisoned(sample, place)
            cell = others_unchanged(subject, pool, sample, values, where)
            elements = sample.rows(values)[sample.members[CELL]]
            answer = subject.answer(pool, elements)
            agree(cell, subject.alone(pool, elements) if answer is None else answer, where)
            if answer is None and len(place) == 1:
                tends(subject, pool, elements, cell, where)


def tends(subject: Subject, pool: pp.Pooling, elements: Tensor, found: Tensor, where: str) -> None:
    """Without an oracle: infinity gives what ever larger numbers tend to, or NaN where they cancel."""
    large, larger = (
        subject.alone(pool, torch.where(elements.isinf(), elements.sign() * m, elements)) for m in FAR
    )
    steady = (larger - large).abs() <= 1e-9 * (1 + large.abs())
    grows = larger.abs() > 1e3 * large.abs().clamp(min=1.0)
    limit = torch.where(grows, larger.sign() * torch.inf, torch.where(steady, larger, found))
    agree(torch.where(found.isnan(), limit, found), limit, f"{where}, against the limit of finite numbers")


@check()
def constant_cell(subject: Subject) -> None:
    """Equal elements, and single ones, give finite values and gradients; a spread has gradient 0 there."""
    for dtype in (torch.float64, torch.float32):
        pool = subject.pool(dtype)
        for value in (0.0, 2.0):
            for sample in one_of_each(subject.kinds, constant(value, (1, 7, 2), subject.channels, dtype)):
                where = describe(sample, f"every element {value:g}")
                found = measured(pool, sample)
                finite = all(
                    bool(t.isfinite().all()) for t in (found.out, found.rows, *found.parameters.values())
                )
                require(finite, f"{where}: NaN or inf in the result or its gradients")
                compare(found, separately(subject, pool, sample), where)


@check()
def ties(subject: Subject) -> None:
    """Of equal winners the first takes the whole gradient (max and min, on every layout)."""
    pool = subject.pool()
    sign = picks(subject, pool)
    if sign is None:
        raise Skip("it is neither max nor min")
    tied = torch.tensor([[1.0, 5.0], [5.0, 5.0], [2.0, 1.0], [5.0, 5.0]], dtype=torch.float64)
    lost = torch.full((3, 2), -torch.inf, dtype=torch.float64)
    bags = draw((4, 3, 6), subject.channels, seed=15)
    bags = bags.with_cell(0, sign * tied[:, [0, 1] * (subject.channels // 2) + [0] * (subject.channels % 2)])
    bags = bags.with_cell(1, sign * lost[:, [0] * subject.channels])
    for sample in one_of_each(subject.kinds, bags):
        for filled in (sample, sample.refilled(sign * torch.inf), sample.refilled(-sign * torch.inf)):
            found = measured(pool, filled)
            where = describe(filled, "tied elements")
            for cell, elements in enumerate(bags.elements[:2]):
                first = (sign * elements).argmax(dim=0)
                wins = torch.zeros_like(elements).scatter(
                    0, first[None], found.out.new_ones(1, subject.channels)
                )
                share = found.rows[filled.members[cell]] / found.rows[filled.members[cell]].sum(dim=0)
                agree(share, wins, f"{where}, share of the gradient in cell {cell}")


def picks(subject: Subject, pool: pp.Pooling) -> int | None:
    """1 for a maximum, -1 for a minimum, None for anything else; measured, not asked."""
    (elements,) = draw((40,), subject.channels, seed=16).elements
    result = subject.alone(pool, elements)
    for sign in (1, -1):
        if result.shape == elements[0].shape and bool((result == sign * (sign * elements).amax(dim=0)).all()):
            return sign
    return None
