"""The catalogue of statistics: measured in one pass, merged exactly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.cells import M2, M3, M4, Count, Mass, Max, Mean, Min, Sum, merge
from polypool.cells.statistics import ALL, closure
from polypool.testing.tolerances import LARGE_OFFSET
from tests.cells.bags import BAGS, Bag
from tests.support import Tolerance, close, identical, integers, normal, of_gradients, uniform

NAN, INF = float("nan"), float("inf")
State = dict[str, Tensor]
EVERYTHING = (Sum(), Mean(), M2(), M3(), M4(), Max(), Min())

every_bag = pytest.mark.parametrize("bag", BAGS.values(), ids=BAGS)


class All(pp.Pooling):
    """Declares the whole catalogue, for its states."""

    stats = EVERYTHING

    def finish(self, s: Any) -> Tensor:
        return torch.cat([s[statistic] for statistic in EVERYTHING], -1)


POOL = All()


def nodes(x: Tensor, batch: Tensor, weight: Tensor | None = None) -> pp.Nodes:
    return pp.Nodes(x, batch, CELLS, weight=weight)


CELLS = 5
x, batch = normal(60, 3), integers(CELLS - 1, 60, seed=1)  # the last cell is empty
weight = 3 * uniform(60, seed=2) * (uniform(60, seed=3) > 0.25)


def parts(seed: int, count: int, values: Tensor = x, w: Tensor | None = None) -> list[State]:
    """The states of a random split; the first part is empty, and so are some cells of the others."""
    owner = 1 + integers(count - 1, values.shape[0], seed=seed)
    chosen = (owner == part for part in range(count))
    return [POOL.state(nodes(values[c], batch[c], None if w is None else w[c])) for c in chosen]


def agree(a: State, b: State, where: str) -> None:
    assert a.keys() == b.keys()
    for key in a:
        close(a[key].double(), b[key].double(), f"{where}, {key}")


@every_bag
def test_against_loops(bag: Bag) -> None:
    found = bag.cells.statistics(EVERYTHING)
    rows = bag.values if bag.element is None else bag.values[bag.element]

    def central(p: int) -> Tensor:
        return bag.loop(rows, lambda x, w: (w * (x - (w * x).sum(0) / w.sum()) ** p).sum(0) / w.sum())

    close(found[Sum()], bag.loop(rows, lambda x, w: (w * x).sum(0)), "sum")
    close(found[Mean()], bag.loop(rows, lambda x, w: (w * x).sum(0) / w.sum()), "mean")
    close(found[Max()], bag.loop(rows, lambda x, w: x.max(0)), "max")
    close(found[Min()], bag.loop(rows, lambda x, w: x.min(0)), "min")
    for statistic, p in ((M2(), 2), (M3(), 3), (M4(), 4)):
        close(found[statistic], central(p), statistic.key)
    size = bag.cells.statistics((Count(), Mass()))
    assert size[Count()].tolist() == [[len(cell)] for cell in bag.members]
    close(size[Mass()], bag.loop(rows[..., :1], lambda x, w: w.sum(0)), "mass")


def test_what_rests_on_what() -> None:
    """Each once, after what it needs, and nothing that nobody asked for."""
    assert closure(()) == ()
    assert closure((M4(),)) == (Mean(), M2(), M3(), M4())
    assert closure((Max(), M2(), Max(), Mean())) == (Max(), Mean(), M2())
    assert set(closure(ALL)) == set(ALL)
    assert len({statistic.key for statistic in ALL}) == len(ALL)


def test_statistics_are_keys() -> None:
    """Two operators that declare the same one share it."""
    assert {Mean(): 1}[Mean()] == 1
    assert len({Max(), Min(), Max()}) == 2
    assert M2() in (M2(),)


@pytest.mark.parametrize("w", [None, weight], ids=["", "weights"])
@pytest.mark.parametrize("seed", range(5))
def test_parts_merge_to_the_whole(seed: int, w: Tensor | None) -> None:
    whole = POOL.state(nodes(x, batch, w))
    split = parts(seed, 4, w=w)
    agree(reduce(merge, split), whole, "left to right")
    agree(reduce(merge, reversed(split)), whole, "right to left")
    close(POOL.finalize(reduce(merge, split)), POOL(nodes(x, batch, w)), "finalized")


@pytest.mark.parametrize("w", [None, weight], ids=["", "weights"])
@pytest.mark.parametrize("seed", range(5))
def test_merge_is_associative_and_commutative(seed: int, w: Tensor | None) -> None:
    a, b, c, d = parts(seed, 4, w=w)
    agree(merge(merge(a, b), c), merge(a, merge(b, c)), "associative")
    agree(merge(merge(a, b), merge(c, d)), merge(a, merge(b, merge(c, d))), "associative, four")
    for one, other in ((a, b), (b, c), (c, d)):
        agree(merge(one, other), merge(other, one), "commutative")


def test_an_empty_part_is_neutral() -> None:
    """Bit by bit, infinities included."""
    values = x.clone()
    values[3], values[7] = INF, -INF
    none = POOL.state(nodes(x[:0], batch[:0]))
    state = POOL.state(nodes(values, batch))
    for merged in (merge(none, state), merge(state, none)):
        for key in state:
            identical(merged[key], state[key], key)
    for key, nothing in merge(none, none).items():
        assert not nothing.any(), key


def test_an_empty_part_is_neutral_whatever_the_mean() -> None:
    """The square of its distance to an empty part's 0 is infinite, and 0 times that is NaN."""
    constant = torch.full((4, 1), 1e30)
    pool = pp.build("mean+var+moments")
    none, state = pool.state(pp.Nodes(constant[:0])), pool.state(pp.Nodes(constant))
    for merged in (pool.merge(none, state), pool.merge(state, none)):
        identical(pool.finalize(merged), pool.finalize(state), "merged")
        assert bool(pool.finalize(merged).isfinite().all())


def test_the_state_of_an_empty_cell_is_zeros() -> None:
    for key, tensor in POOL.state(nodes(x, batch)).items():
        assert not tensor[-1].any(), key
        assert tensor.shape[0] == CELLS
        assert tensor.shape[1] == (1 if key in ("n", "mass") else 3)


@pytest.mark.parametrize("value", [INF, -INF, NAN])
@pytest.mark.parametrize("seed", range(3))
def test_infinities_and_nan_in_parts(value: float, seed: int) -> None:
    """What a part holds reaches the whole of its cell, and no other."""
    values = x.clone()
    values[torch.tensor([4, 30])] = value
    with_both = values.clone()
    with_both[5] = -value
    for holding in (values, with_both):
        merged = reduce(merge, parts(seed, 4, holding))
        agree(merged, POOL.state(nodes(holding, batch)), "merged")
        merged = reduce(merge, reversed(parts(seed, 4, holding)))
        agree(merged, POOL.state(nodes(holding, batch)), "merged backwards")


def test_one_at_a_time() -> None:
    """A stream: 60 parts of one element."""
    stream = [POOL.state(nodes(x[i : i + 1], batch[i : i + 1], weight[i : i + 1])) for i in range(60)]
    agree(reduce(merge, stream), POOL.state(nodes(x, batch, weight)), "streamed")


def test_a_stream_of_a_large_mean_keeps_its_variance() -> None:
    """float32 states of N(1e4, 1): what E[x^2] - E[x]^2 would lose."""
    many = (1e4 + normal(20_000, 2)).float()
    pool = pp.build("moments")
    stream = [pool.state(pp.Nodes(chunk)) for chunk in many.split(100)]
    found = pool.finalize(reduce(pool.merge, stream))
    wide = pool(pp.Nodes(many.double()))
    close(found[:, :4], wide[:, :4], "mean and std", LARGE_OFFSET)
    # A mean near 1e4 is stored to 1e-3 in float32, and the third moment moves by three times what the mean does.
    close(found[:, 4:], wide[:, 4:], "skewness and kurtosis", Tolerance(1e-4, 1e-3))


@pytest.mark.parametrize("ratio", [1e-6, 1e6, 1e-30, 1e30])
def test_parts_of_very_different_mass(ratio: float) -> None:
    heavy = torch.where(torch.arange(60) < 30, 1.0, ratio).double()
    a, b = (POOL.state(nodes(x[half], batch[half], heavy[half])) for half in (slice(30), slice(30, 60)))
    whole = POOL.state(nodes(x, batch, heavy))
    agree(merge(a, b), whole, "merged")
    agree(merge(b, a), whole, "merged the other way")


def test_numbers_near_the_largest_do_not_overflow_between_parts() -> None:
    big = torch.tensor([[3e38], [-3e38]])
    pool = pp.build("mean")
    a, b = pool.state(pp.Nodes(big[:1])), pool.state(pp.Nodes(big[1:]))
    assert pool.finalize(pool.merge(a, b)).tolist() == [[0.0]]


def test_extremes_in_parts_keep_infinities() -> None:
    pool = pp.build("max+min")
    a, b = (pool.state(pp.Nodes(torch.tensor([[v]]))) for v in (-INF, INF))
    assert pool.finalize(pool.merge(a, b)).tolist() == [[INF, -INF]]
    assert pool.finalize(pool.merge(a, a)).tolist() == [[-INF, -INF]]


@pytest.mark.parametrize("w", [None, weight], ids=["", "weights"])
@pytest.mark.parametrize("name", ["mean+var+max+min", "std", "moments", "mean_sqrt_len", "sum+sum"])
def test_gradients_through_merge(name: str, w: Tensor | None) -> None:
    """A loss over the merged whole gives each part the gradient of one pass."""
    pool = pp.build(name)
    owner = integers(3, 60, seed=4)
    order = owner.argsort(stable=True)
    results = []
    for merged in (True, False):
        values = x.clone().requires_grad_()
        chosen = [owner == part for part in range(3)] if merged else []
        if merged:
            states = [pool.state(nodes(values[c], batch[c], None if w is None else w[c])) for c in chosen]
            out = pool.finalize(reduce(pool.merge, states))
        else:
            own = None if w is None else w[order]
            out = pool(nodes(values[order], batch[order], own))
        cotangent = normal(*out.shape, seed=5)
        results.append((out, *torch.autograd.grad((out * cotangent).sum(), values)))
    for found, wanted, what in zip(*results, ("values", "gradient"), strict=True):
        close(found, wanted, f"{name}, {what}", of_gradients(torch.float64))


def test_the_first_part_wins_ties() -> None:
    """Of equal extremes in two parts the gradient goes to the first, as within a cell."""
    pool = pp.build("max")
    a, b = (torch.tensor([[2.0]], requires_grad=True) for _ in range(2))
    pooled = pool.finalize(pool.merge(pool.state(pp.Nodes(a)), pool.state(pp.Nodes(b))))
    first, second = torch.autograd.grad(pooled.sum(), (a, b))
    assert (first.item(), second.item()) == (1.0, 0.0)


def test_merging_adds_cells_up_not_side_by_side() -> None:
    pool = pp.build("var")
    a, b = pool.state(pp.Nodes(x)), pool.state(nodes(x, batch))
    with pytest.raises(ValueError, match="states to merge must have the same number of cells; found 1 and 5"):
        pool.merge(a, b)
    with pytest.raises(
        ValueError,
        match="a state of var must hold m2, mass, mean, n; found mass, max, n",
    ):
        pool.merge(a, pp.build("max").state(pp.Nodes(x)))


def test_merging_other_channels_is_an_error() -> None:
    """Not a broadcast of one channel over three."""
    pool = pp.build("max")
    with pytest.raises(ValueError, match="channels"):
        pool.merge(pool.state(pp.Nodes(x)), pool.state(pp.Nodes(x[:, :1])))


@pytest.mark.parametrize("name", [name for name in pp.names() if not pp.card(name).decomposable])
def test_operators_without_statistics_say_so(name: str) -> None:
    pool = pp.build(name, channels=3).double()
    for call in (lambda: pool.state(pp.Nodes(x)), lambda: pool.merge({}, {}), lambda: pool.finalize({})):
        with pytest.raises(NotImplementedError, match=f"{name} has no .+ not decomposable"):
            call()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_states_are_wide(dtype: torch.dtype) -> None:
    wide = torch.promote_types(dtype, torch.float32)
    state = POOL.state(nodes(x.to(dtype), batch))
    assert state.pop("n").dtype == torch.int64
    assert {tensor.dtype for tensor in state.values()} == {wide}


def test_states_survive_a_file(tmp_path: Any) -> None:
    state = POOL.state(nodes(x, batch))
    torch.save(state, tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    identical(POOL.finalize(loaded), POOL.finalize(state), "from a file")


def test_shards_of_one_grid() -> None:
    """Rows of an image pooled apart: the parts need not be of one layout."""
    picture = normal(2, 3, 8, 6)
    pool = pp.build("mean+std+max")
    halves: Sequence[pp.Layout] = (
        pp.Grid(picture[:, :, :3]),
        pp.Tokens(picture[:, :, 3:].flatten(2).transpose(1, 2)),
    )
    close(pool.finalize(pool.merge(*(pool.state(half) for half in halves))), pool(picture), "halves")
