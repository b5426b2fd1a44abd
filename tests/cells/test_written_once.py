"""What is written once on the primitives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from polypool.cells import Dense, Members, Ragged, root, run, safe
from tests.cells.bags import BAGS, Bag
from tests.support import close, identical, normal

NAN, INF = float("nan"), float("inf")

every_bag = pytest.mark.parametrize("bag", BAGS.values(), ids=BAGS)


def hidden(bag: Bag, v: Tensor, fill: float = NAN) -> Tensor:
    return torch.where(bag.real(), v, torch.full_like(v, fill))


@every_bag
def test_reduce_applies_weights(bag: Bag) -> None:
    v = bag.numbers(3)
    total = bag.loop(v, lambda x, w: (w * x).sum(0))
    mean = bag.loop(v, lambda x, w: (w * x).sum(0) / w.sum())
    for fill in (NAN, INF, -INF):
        close(bag.cells.reduce(hidden(bag, v, fill)), total, "sum")
        close(bag.cells.reduce(hidden(bag, v, fill), "mean"), mean, "mean")
        close(bag.cells.mean(hidden(bag, v, fill)), mean, "mean")
    close(bag.cells.reduce_rows(), bag.cells.reduce(bag.cells.rows), "rows, sum")
    close(bag.cells.reduce_rows("mean"), bag.cells.mean(bag.cells.rows), "rows, mean")


def test_reduce_knows_two_ways() -> None:
    cells = BAGS["dense"].cells
    with pytest.raises(ValueError, match='how must be "sum" or "mean"; found \'max\''):
        cells.reduce(cells.rows, "max")  # type: ignore[arg-type]


@every_bag
def test_clean_fills_padding_and_stops_its_gradient(bag: Bag) -> None:
    v = hidden(bag, bag.numbers(2)).requires_grad_()
    cleaned = bag.cells.clean(v, fill=1.0)
    identical(cleaned, torch.where(bag.real(), v, torch.ones(())), "clean")
    (gradient,) = torch.autograd.grad(cleaned.log().sum(), v)
    assert not gradient[~bag.real().expand_as(v)].any()


@every_bag
def test_normalise_makes_a_density(bag: Bag) -> None:
    choice = bag.cells.clean(bag.numbers(3).abs())
    density = bag.cells.normalise(choice)
    integrates_to_one(bag, density)
    wanted = bag.spread(bag.loop(choice, lambda x, w: (w * x).sum(0)))
    close(density * wanted, choice, "in proportion")


def integrates_to_one(bag: Bag, density: Tensor) -> None:
    """`sum w d = 1` in every cell with members, 0 in the others."""
    assert bool((density >= 0).all())
    assert not density[~bag.real().expand_as(density)].any()
    wanted = torch.tensor([[float(bool(cell))] for cell in bag.members], dtype=torch.float64).view(-1, 1)
    close(bag.cells.reduce(density), wanted.expand(-1, density.shape[-1]), "integral")


@every_bag
def test_softmax_is_a_density(bag: Bag) -> None:
    for scale in (1.0, 1e-6, 700.0, 1e300):
        integrates_to_one(bag, bag.cells.softmax(hidden(bag, scale * bag.numbers(3))))


@every_bag
def test_apply(bag: Bag) -> None:
    """`sum w d v`, a density for all channels, for some or for each."""
    v = bag.numbers(6)
    for heads in (1, 2, 3, 6):
        density = bag.cells.clean(bag.numbers(heads, seed=1).abs())
        wide = density.repeat_interleave(6 // heads, -1)
        close(bag.cells.apply(density, v), bag.loop(wide * v, lambda x, w: (w * x).sum(0)), f"{heads} heads")
    if bag.members:
        with pytest.raises(ValueError, match="heads must divide the channels; found 4 heads and 6 channels"):
            bag.cells.apply(bag.numbers(4), v)


def test_apply_does_not_read_what_has_density_0() -> None:
    """0 times inf is 0, while a density of 0 still has a gradient where the value is finite."""
    x = torch.tensor([[[INF], [NAN], [2.0], [3.0]]], dtype=torch.float64)
    density = torch.tensor([[[0.0], [0.0], [0.0], [1.0]]], dtype=torch.float64, requires_grad=True)
    cells = Dense(x)
    out = cells.apply(density, x)
    assert out.tolist() == [[3.0]]
    (gradient,) = torch.autograd.grad(out.sum(), density)
    assert gradient.flatten().tolist() == [0.0, 0.0, 2.0, 3.0]


def test_apply_reads_nan_where_there_is_a_density() -> None:
    x = torch.tensor([[[NAN], [1.0]]], dtype=torch.float64)
    density = torch.full((1, 2, 1), 0.5, dtype=torch.float64)
    assert Dense(x).apply(density, x).isnan().all()


@every_bag
def test_gram_is_the_integral_of_an_outer_product(bag: Bag) -> None:
    a, b = bag.numbers(2), bag.numbers(3, seed=1)
    rows, others, weights = a.numpy(), b.numpy(), bag.weights()
    wanted = np.zeros((len(bag.members), 2, 3))
    for k, cell in enumerate(bag.members):
        for at in cell:
            wanted[k] += weights[at] * np.einsum("i,j->ij", rows[at], others[at])
    close(bag.cells.gram(hidden(bag, a), hidden(bag, b)), torch.from_numpy(wanted), "gram")
    transposed = bag.cells.gram(b, a).transpose(-1, -2)
    close(bag.cells.gram(a, b), transposed, "gram of the other order")
    assert bag.cells.gram(a[..., :0], b).shape == (len(bag.members), 0, 3)
    assert bag.cells.gram(a, b[..., :0]).shape == (len(bag.members), 2, 0)


@every_bag
def test_gram_against_einsum_and_its_gradients(bag: Bag) -> None:
    if len(bag.shape) != 2:
        one_hot = torch.zeros(len(bag.members), *bag.shape, dtype=torch.float64)
    else:
        one_hot = torch.zeros(len(bag.members), *bag.shape, dtype=torch.float64)
    for k, cell in enumerate(bag.members):
        for at in cell:
            one_hot[(k, *at)] = float(bag.weights()[at])
    flat = one_hot.flatten(1)
    results = []
    for form in ("gram", "einsum"):
        a, b = bag.numbers(2).requires_grad_(), bag.numbers(3, seed=1).requires_grad_()
        if form == "gram":
            out = bag.cells.gram(a, b)
        else:
            out = torch.einsum("kn,ni,nj->kij", flat, a.reshape(-1, 2), b.reshape(-1, 3))
        results.append((out, *torch.autograd.grad((out * normal(*out.shape, seed=2)).sum(), (a, b))))
    for found, wanted, what in zip(*results, ("values", "left", "right"), strict=True):
        close(found, wanted, what)


@pytest.mark.parametrize("name", ["dense", "dense-mask-weight", "ragged", "ragged-weight"])
def test_gram_under_autocast_stays_in_float32(name: str) -> None:
    bag = BAGS[name]
    a, b = bag.numbers(2).float(), bag.numbers(3, seed=1).float()
    cells = bag.make(bag.values.float())
    wanted = cells.gram(a, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = cells.gram(a, b)
    assert found.dtype == torch.float32
    identical(found, wanted, "under autocast")


def test_gram_of_ragged_cells_is_that_of_dense_ones() -> None:
    a, b = normal(3, 7, 4), normal(3, 7, 2, seed=1)
    members = Members(torch.arange(3).repeat_interleave(7), 3, sorted=True)
    ragged = Ragged(a.flatten(0, 1), members)
    close(ragged.gram(a.flatten(0, 1), b.flatten(0, 1)), Dense(a).gram(a, b), "gram")


def test_unweighted_dense_means_are_one_operation() -> None:
    """What plain torch already does at the limit stays plain torch."""
    x = normal(2, 5, 3).requires_grad_()
    assert type(Dense(x).reduce_rows("mean").grad_fn).__name__ == "MeanBackward1"
    assert type(Dense(x).reduce_rows("sum").grad_fn).__name__ == "SumBackward1"


def test_safe_replaces_0_alone() -> None:
    found = safe(torch.tensor([0.0, -0.0, 1e-30, 0.5, -2.0, INF]))
    assert found.tolist() == [1.0, 1.0, float(torch.tensor(1e-30)), 0.5, -2.0, INF]


@pytest.mark.parametrize(
    "p", [2.0, 3.0, 1.0, 0.5, torch.tensor(2.0), torch.tensor([2.0, 4.0, 8.0, 1.0, 0.5])]
)
def test_root(p: Any) -> None:
    x = torch.tensor([0.0, 1.0, 16.0, INF, NAN], dtype=torch.float64, requires_grad=True)
    found = root(x, p)
    power = 1.0 / (p.double() if isinstance(p, Tensor) else p)
    close(found, x.detach() ** power, "root")
    (gradient,) = torch.autograd.grad(found[:3].sum(), x)
    assert gradient[0] == 0
    assert bool(gradient[:3].isfinite().all())


def test_root_of_0_has_no_second_derivative_either() -> None:
    x = torch.tensor([0.0, 4.0], dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(root(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    close(second, torch.tensor([0.0, -1 / 32], dtype=torch.float64), "second derivative")
    assert not torch.func.jvp(root, (x.detach(),), (torch.ones(2, dtype=torch.float64),))[1][0]


def test_run_works_in_the_dtype_of_the_network() -> None:
    seen = []
    rows = normal(4, 3, dtype=torch.float32)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        net = nn.Linear(3, 2).to(dtype)
        net.register_forward_hook(lambda module, given, out: seen.append(given[0].dtype))
        assert run(net, rows).dtype == torch.float32
    assert seen == [torch.float16, torch.bfloat16, torch.float32, torch.float64]
    identical(run(nn.Tanh(), rows), rows.tanh(), "a module without parameters")
