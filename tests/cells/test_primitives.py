"""`total`, `best`, `expand` and `rank` of both structures against numpy loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.cells.bags import BAGS, Bag
from tests.support import close, identical, integers, normal

NAN, INF = float("nan"), float("inf")

every_bag = pytest.mark.parametrize("bag", BAGS.values(), ids=BAGS)


def poisoned(bag: Bag, v: Tensor, fill: float) -> Tensor:
    """`v` with a number at padding that nothing may read."""
    return torch.where(bag.real(), v, torch.full_like(v, fill))


def special(bag: Bag, seed: int = 0) -> Tensor:
    """Few distinct numbers, so that there are ties; NaN, both infinities and both zeros among them."""
    numbers = torch.tensor([1.0, 2.0, -1.0, 0.0, -0.0, INF, -INF, NAN], dtype=torch.float64)
    chosen = integers(len(numbers) + 8, *bag.shape, 4, seed=seed)
    return numbers[chosen.clamp(max=len(numbers) - 1) % (7 if seed % 2 else 8)]


@every_bag
def test_attributes(bag: Bag) -> None:
    cells = bag.cells
    count = len(bag.members)
    assert cells.n.dtype == torch.int64
    assert cells.n.tolist() == [[len(cell)] for cell in bag.members]
    wanted = bag.loop(torch.ones(*bag.shape, 1, dtype=torch.float64), lambda x, w: w.sum(0))
    close(cells.mass, wanted, "mass")
    assert cells.mass.shape == (count, 1)
    real = torch.ones(*bag.shape, 1, dtype=torch.bool) if cells.real is None else cells.real
    identical(real, bag.real(), "real")
    if any(not cell for cell in bag.members):
        assert cells.can_be_empty


@every_bag
def test_rows_are_the_members_and_0_at_padding(bag: Bag) -> None:
    rows = bag.cells.rows
    listed = bag.values if bag.element is None else bag.values[bag.element]
    identical(rows, torch.where(bag.real(), listed, torch.zeros(())), "rows")
    assert rows.shape == (*bag.shape, 3)
    assert bag.make(bag.values.half()).rows.dtype == torch.float32
    assert bag.make(bag.values.bfloat16()).rows.dtype == torch.float32
    assert bag.make(bag.values.float()).rows.dtype == torch.float32


@every_bag
def test_rows_are_made_once(bag: Bag) -> None:
    cells = bag.cells
    assert cells.rows is cells.rows
    assert cells.mass is cells.mass


@every_bag
def test_positions_count_real_members_in_order(bag: Bag) -> None:
    found = bag.cells.positions
    assert found.dtype == torch.int64
    assert found.shape == (*bag.shape, 1)
    for cell in bag.members:
        assert [int(found[at]) for at in cell] == list(range(len(cell)))


@every_bag
def test_total(bag: Bag) -> None:
    """Blind to weight; padding is never read."""
    for channels in (1, 3, 5):
        v = bag.numbers(channels)
        wanted = bag.loop(v, lambda x, w: x.sum(0))
        for fill in (NAN, INF, 0.0):
            close(bag.cells.total(poisoned(bag, v, fill)), wanted, f"{fill} in padding")


@every_bag
def test_total_of_nan_and_infinities_stays_in_its_cell(bag: Bag) -> None:
    v = special(bag)
    close(bag.cells.total(v), bag.loop(v, lambda x, w: x.sum(0)), "total")


@every_bag
def test_total_of_integers(bag: Bag) -> None:
    """Counts beyond 2^24 and 2^53 stay exact."""
    v = torch.full((*bag.shape, 1), 2**53 + 1)
    found = bag.cells.total(v)
    assert found.dtype == torch.int64
    assert found.tolist() == [[len(cell) * (2**53 + 1)] for cell in bag.members]


@every_bag
def test_expand(bag: Bag) -> None:
    real = bag.real()
    for channels in (1, 3):
        y = normal(len(bag.members), channels)
        found = bag.cells.expand(y)
        assert found.shape == (*bag.shape, channels)
        identical(torch.where(real, found, torch.zeros(())), bag.spread(y), "expand")
    integers_too = torch.arange(len(bag.members))[:, None]
    found = bag.cells.expand(integers_too)
    assert found.dtype == torch.int64
    identical(torch.where(real, found, 0), bag.spread(integers_too), "expand of integers")


@every_bag
def test_expand_is_the_adjoint_of_total(bag: Bag) -> None:
    """`<total(v), y> = <v, expand(y)>`, each is the gradient of the other, and so are their second derivatives."""
    v = torch.where(bag.real(), bag.numbers(3), torch.zeros(())).requires_grad_()
    y = normal(len(bag.members), 3, seed=1).requires_grad_()
    total, expanded = bag.cells.total(v), bag.cells.expand(y)
    close((total * y).sum(), (v * expanded).sum(), "inner products")
    (of_total,) = torch.autograd.grad((total * y).sum(), v, create_graph=True)
    identical(of_total, bag.spread(y.detach()), "the gradient of total, 0 at padding")
    (of_expand,) = torch.autograd.grad((expanded * v).sum(), y, create_graph=True)
    close(of_expand, bag.loop(v, lambda x, w: x.sum(0)), "the gradient of expand")
    u, z = bag.numbers(3, seed=2), normal(len(bag.members), 3, seed=3)
    u = torch.where(bag.real(), u, torch.zeros(()))
    (twice,) = torch.autograd.grad((of_total * u).sum(), y)
    close(twice, bag.loop(u, lambda x, w: x.sum(0)), "the gradient of total's gradient")
    (twice,) = torch.autograd.grad((of_expand * z).sum(), v)
    identical(
        torch.where(bag.real(), twice, torch.zeros(())), bag.spread(z), "the gradient of expand's gradient"
    )


@every_bag
def test_gradcheck(bag: Bag) -> None:
    v, y = bag.numbers(2).requires_grad_(), normal(len(bag.members), 2).requires_grad_()
    real = bag.real()
    assert torch.autograd.gradcheck(bag.cells.total, v, check_forward_ad=True)
    assert torch.autograd.gradcheck(lambda y: bag.cells.expand(y) * real, y, check_forward_ad=True)
    assert torch.autograd.gradcheck(bag.cells.best, v, check_forward_ad=True)


def test_sums_of_float32_gradients_are_as_exact_as_the_sums() -> None:
    """Half a million gradients of 0.1 come back as 50,000, not as 49,9xx."""
    from polypool.cells import Dense, Members, Ragged

    many = 500_000
    x = torch.zeros(many, 1)
    for cells in (Ragged(x, Members(torch.zeros(many, dtype=torch.long), 1)), Dense(x[None])):
        y = torch.zeros(1, 1, requires_grad=True)
        (gradient,) = torch.autograd.grad(cells.expand(y), y, torch.full_like(cells.rows, 0.1))
        close(gradient, torch.full((1, 1), 50_000.0), type(cells).__name__)


def check_best(bag: Bag, v: Tensor) -> None:
    wanted = bag.loop(v, lambda x, w: x.max(0))
    v = v.clone().requires_grad_()
    found = bag.cells.best(v)
    identical(found, wanted, "best")
    if v.numel() == 0:
        return  # see test_best_of_nothing
    cotangent = 1 + normal(*found.shape).abs()
    (gradient,) = torch.autograd.grad(found, v, cotangent)
    identical(
        gradient, bag.winners(v.detach()) * bag.spread(cotangent), "all of the gradient to the first winner"
    )


@every_bag
def test_best(bag: Bag) -> None:
    for fill in (INF, NAN, -INF):
        check_best(bag, poisoned(bag, bag.numbers(3), fill))


@every_bag
@pytest.mark.parametrize("seed", range(6))
def test_best_of_ties_nan_and_infinities(bag: Bag, seed: int) -> None:
    """The first of equal members, the first NaN where there is one."""
    check_best(bag, poisoned(bag, special(bag, seed), (INF, NAN, -INF)[seed % 3]))


@every_bag
def test_best_of_minus_infinity_tied_with_padding(bag: Bag) -> None:
    """Padding is at -inf inside: it must not be chosen, whatever it holds and wherever it is."""
    for fill in (-INF, INF, NAN, 0.0):
        v = poisoned(bag, torch.full((*bag.shape, 2), -INF, dtype=torch.float64), fill)
        check_best(bag, v)
        index, first = bag.cells.argbest(v), bag.winners(v)
        chosen = bag.cells.at(first, index)
        identical(chosen, bag.loop(first, lambda x, w: x.max(0)), "the index names a member")


@every_bag
def test_best_of_nothing(bag: Bag) -> None:
    """A batch without elements gives zeros that a loss can go back from, as `total` does."""
    v = torch.zeros(*bag.shape, 2, dtype=torch.float64, requires_grad=True)
    for primitive in (bag.cells.total, bag.cells.best):
        (gradient,) = torch.autograd.grad(primitive(v).sum(), v)
        assert gradient.shape == v.shape


@every_bag
def test_at_reads_any_member(bag: Bag) -> None:
    """The index of one channel may be used on others: what a winner brings along."""
    v, payload = bag.numbers(3), bag.numbers(3, seed=1)
    picked = bag.cells.at(payload, bag.cells.argbest(v))
    identical(picked, bag.loop(payload * bag.winners(v), lambda x, w: x.sum(0)), "payload of the winners")
    assert bag.cells.argbest(v).dtype == torch.int64


@every_bag
@pytest.mark.parametrize("seed", range(4))
def test_rank(bag: Bag, seed: int) -> None:
    """Stable, NaN last, -1 at padding."""
    for v in (bag.numbers(3, seed), special(bag, seed)):
        for fill in (NAN, -INF, 0.0):
            found = bag.cells.rank(poisoned(bag, v, fill))
            assert found.dtype == torch.int64
            identical(found, bag.ranks(v), f"{fill} in padding")


@every_bag
def test_rank_of_equal_numbers_is_their_order(bag: Bag) -> None:
    zeros = torch.zeros(*bag.shape, 2, dtype=torch.float64)
    zeros[..., 1] = -0.0
    found = bag.cells.rank(zeros)
    wanted = torch.where(bag.real(), bag.cells.positions, -1)
    identical(found, wanted.expand_as(found), "places")


@every_bag
def test_choices_have_no_gradient(bag: Bag) -> None:
    v = bag.numbers(2).requires_grad_()
    assert not bag.cells.rank(v).requires_grad
    assert not bag.cells.argbest(v).requires_grad


@every_bag
def test_vmap_over_what_is_summed(bag: Bag) -> None:
    stacked = torch.stack([bag.numbers(2, seed) for seed in range(3)])
    for primitive in (bag.cells.total, bag.cells.best, bag.cells.rank):
        found = torch.func.vmap(primitive)(stacked)
        close(found.double(), torch.stack([primitive(v) for v in stacked]).double(), primitive.__name__)
    y = normal(3, len(bag.members), 2)
    close(torch.func.vmap(bag.cells.expand)(y), torch.stack([bag.cells.expand(one) for one in y]), "expand")
