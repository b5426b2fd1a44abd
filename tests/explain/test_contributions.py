"""Contributions against values done by hand, against loops over single cells, and as far as the cards promise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.cells import Cells
from polypool.explain import Contributions, contributions, is_exact
from tests.support import close, normal, uniform

CHANNELS = 4
ORDER = ("median", "quantile", "trimmed", "top_k")


def build(name: str) -> pp.Pooling:
    pool = pp.build(name, channels=CHANNELS)
    for parameter in pool.parameters():
        parameter.data += 0.3 * normal(*parameter.shape, seed=5).to(parameter)
    return pool.double()


def complete(found: Contributions, tolerance: float = 1e-5) -> bool:
    return bool((found.error.abs() <= tolerance * found.score.abs().clamp(min=1)).all())


@pytest.mark.parametrize(
    ("name", "expected", "score"),
    [
        ("sum", [2.0, -4.0, 12.0, 0.0], 10.0),
        ("mean", [2 / 3, -4 / 3, 4.0, 0.0], 10 / 3),
        ("max", [0.0, 0.0, 12.0, 0.0], 12.0),
        ("min", [0.0, -4.0, 0.0, 0.0], -4.0),
        ("median", [2.0, 0.0, 0.0, 0.0], 2.0),
        ("last", [0.0, 0.0, 12.0, 0.0], 12.0),
        # The mean is 5/3: x_i (x_i - mean) / n of each, times the direction.
        ("var", [2 * -2 / 9, 2 * 22 / 9, 2 * 26 * 3 / 9 - 2 * 0, 0.0], 2 * 98 / 9 - 2 * 0),
    ],
)
def test_by_hand(name: str, expected: list[float], score: float) -> None:
    tokens = pp.Tokens(torch.tensor([[[1.0], [-2.0], [6.0], [torch.nan]]]), mask=torch.tensor([[1, 1, 1, 0]]))
    found = contributions(build(name).float(), tokens, torch.tensor([2.0]))
    if name == "var":
        x = torch.tensor([1.0, -2.0, 6.0])
        expected = [*(2 * x * (x - x.mean()) / 3).tolist(), 0.0]
        score = 2 * float(x.var(unbiased=False))
    close(found.values, torch.tensor([expected]))
    close(found.score, torch.tensor([score]))
    assert complete(found)


def test_soft_and_shared_elements_by_hand() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
    share = torch.tensor([[1.0, 0.5], [0.0, 2.0], [1.0, 0.0]])
    direction = torch.tensor([[1.0, 1.0], [0.0, 3.0]])
    found = contributions(pp.build("sum"), pp.Clusters(x, share), direction)
    # Element 1 is in the second cluster alone, with share 2: 2 * (0 * 0 + 2 * 3).
    close(found.values, torch.tensor([1.0, 12.0, 4.0]))
    close(found.score, torch.tensor([5.0, 12.0]))
    close(found.error, torch.zeros(2))


def layouts() -> list[tuple[pp.Layout, tuple[int, ...]]]:
    image, states, rows = normal(2, CHANNELS, 5, 6), normal(3, 7, CHANNELS), normal(9, CHANNELS)
    grid, tokens = pp.Grid(image), pp.Tokens(states)
    packed = pp.Packed(rows, torch.tensor([0, 4, 4, 9]))
    nodes = pp.Nodes(rows, torch.tensor([1, 0, 1, 3, 0, 1, 3, 3, 0]), num_graphs=4)
    spans = torch.tensor([[0, 0, 4], [2, 2, 7], [2, 3, 5], [1, 3, 3]])
    pairs = torch.tensor([[0, 0, 3, 8, 5], [0, 1, 1, 1, 2]])
    return [
        (grid, (2, 5, 6)),
        (pp.Grid(normal(2, 5, CHANNELS), channels_last=True), (2, 5)),
        (pp.Grid(normal(1, CHANNELS, 2, 3, 2)), (1, 2, 3, 2)),
        (grid.windows(3, stride=2, padding=1), (2, 5, 6)),
        (grid.bins(2), (2, 5, 6)),
        (tokens, (3, 7)),
        (tokens.spans(spans), (3, 7)),
        (packed, (9,)),
        (packed.spans(torch.tensor([[0, 0, 3], [0, 2, 4], [2, 1, 4]])), (9,)),
        (nodes, (9,)),
        (nodes.clusters(torch.tensor([0, 1, 0, -1, 1, 1, 0, 0, 0]), 2), (9,)),
        (pp.Clusters(rows, pairs, 3), (9,)),
        (pp.Clusters(rows, uniform(9, 3)), (9,)),
    ]


@pytest.mark.parametrize("name", ["mean", "max", "std", "attention", "mean+var", "gem"])
def test_every_layout(name: str) -> None:
    pool = build(name)
    for layout, shape in layouts():
        direction = normal(layout.num_cells, pool.out_channels(CHANNELS), seed=3)
        found = contributions(pool, layout, direction)
        assert found.values.shape == shape
        close(found.score, (layout.rows_of(pool(layout)).detach() * direction).sum(-1), f"{name} on {layout}")
        assert complete(found), f"{name} on {layout}: {found.error}"
        close(found.values.sum(), found.score.sum() - found.error.sum(), f"{name} on {layout}")


@pytest.mark.parametrize("name", ["max", "std", "softmax"])
def test_shared_elements_have_the_sum_over_their_cells(name: str) -> None:
    pool, image, direction = build(name), normal(1, CHANNELS, 5, 5), normal(9, CHANNELS, seed=4)
    found = contributions(pool, pp.Grid(image).windows(3, stride=1), direction)
    expected = torch.zeros(1, 5, 5, dtype=torch.float64)
    for cell in range(9):
        at = (slice(None), slice(cell // 3, cell // 3 + 3), slice(cell % 3, cell % 3 + 3))
        alone = contributions(pool, pp.Grid(image[:, :, at[1], at[2]]), direction[cell])
        expected[at] += alone.values
        close(found.score[cell], alone.score[0], f"cell {cell}")
    close(found.values, expected)


def test_a_concatenation_is_split_part_by_part() -> None:
    layout = pp.Nodes(normal(7, CHANNELS), torch.tensor([0, 1, 0, 1, 1, 0, 0]))
    inner = pp.build("concat", pools=["max", "var"])
    pool = pp.build("concat", pools=["mean", inner, "first"])
    direction = normal(pool.out_channels(CHANNELS))
    found = contributions(pool, layout, direction)
    parts = [
        contributions(pp.build(name), layout, d)
        for name, d in zip(("mean", "max", "var", "first"), direction.split(CHANNELS), strict=True)
    ]
    close(found.values, torch.stack([part.values for part in parts]).sum(0))
    assert is_exact(pool)
    assert pool.card.homogeneity is None
    assert complete(found)


def test_one_direction_for_all_is_that_direction_for_each() -> None:
    layout, direction = pp.Tokens(normal(3, 5, CHANNELS)), normal(CHANNELS)
    one = contributions(build("gem"), layout, direction)
    each = contributions(build("gem"), layout, direction.expand(3, -1))
    close(one.values, each.values)


def test_exact_by_the_card() -> None:
    not_exact = {name for name in pp.names() if not is_exact(build(name))}
    assert {"logsumexp", "moments", "attentive_stats"} <= not_exact
    assert not not_exact & {"mean", "sum", "max", "min", "gem", "std", "var", "softmax", "attention", *ORDER}
    assert not is_exact(pp.build("mean+logsumexp"))


def test_the_error_says_how_much_is_missing() -> None:
    layout, direction = pp.Tokens(normal(2, 9, CHANNELS)), normal(CHANNELS)
    found = contributions(build("logsumexp"), layout, direction)
    assert found.error.abs().min() > 0.01
    close(found.values.sum(1) + found.error, found.score)


class Twice(pp.Pooling):
    """Weights that leave out half of what the result is."""

    def weigh(self, cells: Cells) -> Tensor:
        return cells.normalise(cells.clean(torch.ones_like(cells.rows[..., :1])))

    def reduce(self, cells: Cells) -> Tensor:
        return 2 * cells.mean(cells.rows)


def test_weights_that_do_not_give_the_result_show_in_the_error() -> None:
    layout, direction = pp.Tokens(normal(2, 9, CHANNELS)), normal(CHANNELS)
    found = contributions(Twice(), layout, direction)
    close(found.score, (Twice()(layout) * direction).sum(-1))
    close(found.error, found.score / 2)


class Constant(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return cells.mass.expand(-1, CHANNELS)


def test_a_result_that_ignores_the_elements() -> None:
    found = contributions(Constant(), pp.Tokens(normal(2, 9, CHANNELS)), torch.ones(CHANNELS))
    close(found.values, torch.zeros(2, 9, dtype=torch.float64))
    close(found.error, found.score)


@pytest.mark.parametrize("name", pp.names())
def test_padding_nan_and_empty_cells(name: str) -> None:
    pool, mask = build(name), torch.tensor([[1, 0, 1, 1, 0], [0] * 5, [1] * 5, [1, 1, 1, 1, 0]])
    values, direction = normal(4, 5, CHANNELS), normal(pool.out_channels(CHANNELS))
    clean = contributions(pool, pp.Tokens(values, mask), direction)
    values[~mask.bool()] = torch.nan
    spoilt = contributions(pool, pp.Tokens(values, mask), direction)
    for a, b in zip(
        (clean.values, clean.score, clean.error), (spoilt.values, spoilt.score, spoilt.error), strict=True
    ):
        assert torch.equal(a, b)
    assert (spoilt.values[~mask.bool()] == 0).all()
    assert spoilt.score[1] == spoilt.error[1] == 0
    values[0, 2, 1] = torch.nan
    found = contributions(pool, pp.Tokens(values, mask), direction)
    assert torch.equal(found.values[1:], clean.values[1:])
    if pool.card.permutation_invariant:
        assert found.score[0].isnan()


def test_infinite_elements() -> None:
    tokens = pp.Tokens(torch.tensor([[[1.0], [torch.inf]], [[-torch.inf], [3.0]]]))
    for name, sums in (
        ("max", [torch.inf, 3.0]),
        ("mean", [torch.inf, -torch.inf]),
        ("median", [torch.inf, -torch.inf]),
    ):
        found = contributions(pp.build(name), tokens, torch.ones(1))
        assert found.score.tolist() == sums
        assert found.error.tolist() == [0, 0]
        assert found.values.sum(1).tolist() == sums


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["mean", "max", "std", "attention"])
def test_half_precision_is_explained_in_single(name: str, dtype: torch.dtype) -> None:
    layout = pp.Grid(normal(2, CHANNELS, 40, 40, dtype=dtype))
    found = contributions(build(name).to(dtype), layout, normal(CHANNELS).to(dtype))
    assert found.values.dtype == found.score.dtype == found.error.dtype == torch.float32
    assert complete(found)


def test_nothing_of_the_callers_changes() -> None:
    pool = build("attention").train()
    values = normal(2, 6, CHANNELS).requires_grad_()
    direction = normal(CHANNELS).requires_grad_()
    before = values.detach().clone()
    found = contributions(pool, pp.Tokens(values * 1, torch.ones(2, 6, dtype=torch.bool)), direction)
    assert pool.training
    assert all(p.grad is None and p.requires_grad for p in pool.parameters())
    assert values.grad is None
    assert direction.grad is None
    assert torch.equal(values, before)
    assert not any(t.requires_grad for t in (found.values, found.score, found.error))
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", ["std", "attention", "first"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_inside_and_after_modes_without_gradients(mode: Any, name: str) -> None:
    pool, direction = build(name), normal(CHANNELS)
    expected = contributions(pool, pp.Nodes(normal(6, CHANNELS), torch.tensor([0, 0, 1, 1, 1, 0])), direction)
    with mode():
        layout = pp.Nodes(normal(6, CHANNELS) * 1, torch.tensor([0, 0, 1, 1, 1, 0]))
        inside = contributions(pool, layout, direction * 1)
    after = contributions(pool, layout, direction)
    assert torch.equal(inside.values, expected.values)
    assert torch.equal(after.values, expected.values)


@pytest.mark.parametrize(
    ("direction", "kind", "message"),
    [
        (torch.ones(3), ValueError, r"shape \(C_out,\) = \(4,\) or \(num_cells, C_out\) = \(2, 4\); found \(3,\)"),
        (torch.ones(3, 4), ValueError, r"found \(3, 4\)"),
        (torch.ones(4, dtype=torch.int64), TypeError, "direction must be of a floating dtype; found torch.int64"),
        ([1.0] * 4, TypeError, "direction must be a torch.Tensor; found list"),
    ],
)  # fmt: skip
def test_a_direction_that_does_not_fit(direction: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        contributions(pp.build("mean"), pp.Tokens(torch.ones(2, 3, 4)), direction)


def test_other_arguments_that_do_not_fit() -> None:
    tokens = pp.Tokens(torch.ones(2, 3, 4), weight=torch.ones(2, 3))
    with pytest.raises(TypeError, match="pool must be a Pooling; found str"):
        contributions("mean", tokens, torch.ones(4))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="layout must be a Layout; found Tensor"):
        contributions(pp.build("mean"), tokens.values, torch.ones(4))  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match="median cannot pool a layout with weights"):
        contributions(pp.build("median"), tokens, torch.ones(4))
