"""A cell is a multiset: nothing but its own elements decides its vector."""

from __future__ import annotations

from functools import partial

import torch

from polypool.testing.bags import Bags, draw, generator
from polypool.testing.check import check
from polypool.testing.forms import Form, one_of_each
from polypool.testing.measure import compare, describe, measured, pooled, separately
from polypool.testing.subject import Subject
from polypool.testing.tolerances import Skip, agree, require
from polypool.testing.written import clusters, grid, tokens


@check()
def order_in_cell(subject: Subject) -> None:
    """The order inside a cell does not change the result, unless the card says that it does."""
    if not subject.card.permutation_invariant:
        raise Skip("the card says that order matters")
    pool = subject.pool()
    bags = draw((31, 2, 9), subject.channels, seed=6)
    source = generator(8)
    mixed = Bags(tuple(x[torch.randperm(x.shape[0], generator=source)] for x in bags.elements))
    for kind in subject.kinds:
        (before,), (after,) = (list(one_of_each([kind], b)) for b in (bags, mixed))
        agree(pooled(pool, after), pooled(pool, before), describe(after, "elements in another order"))


@check()
def other_cells(subject: Subject) -> None:
    """The other cells of the batch never change a cell's vector, and get no gradient from it."""
    pool = subject.pool()
    bags = draw((5, 12, 0, 3), subject.channels, seed=7)
    source = generator(9)
    far = [
        1000 + 50 * torch.randn(n, subject.channels, dtype=torch.float64, generator=source)
        for n in (40, 1, 7)
    ]
    changed = Bags((far[0], bags.elements[1], far[1], far[2]))
    for kind in subject.kinds:
        (before,), (after,) = (list(one_of_each([kind], b)) for b in (bags, changed))
        where = describe(after, "one cell beside other neighbours")
        agree(pooled(pool, after)[1], pooled(pool, before)[1], where)
        values = after.values.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(
            pooled(pool, after, values)[1].sum(), values, materialize_grads=True
        )
        outside = torch.ones(after.rows(values).shape[0], dtype=torch.bool)
        outside[after.members[1]] = False
        leaked = after.rows(gradient)[outside].abs()
        require(
            not bool((leaked != 0).any()), f"{where}: gradient up to {float(leaked.max()):.2g} in other cells"
        )


@check()
def padding_amount_and_side(subject: Subject) -> None:
    """Neither the amount of padding nor its side changes the result."""
    forms: dict[str, list[Form]] = {
        "tokens": [partial(tokens, side=s, extra=e) for s in ("right", "left", "holes") for e in (0, 1, 17)],
        "grid": [partial(grid, dims=d, extra=e) for d in (1, 2) for e in (1, 40)],
        "clusters": [partial(clusters, loose=e) for e in (1, 40)],
    }
    chosen = [form for kind in subject.kinds for form in forms.get(kind, [])]
    if not chosen:
        raise Skip("none of its layouts has padding")
    pool = subject.pool()
    bags = draw((6, 0, 11, 1), subject.channels, seed=8)
    for form in chosen:
        sample = form(bags)
        compare(measured(pool, sample), separately(subject, pool, sample), describe(sample))
