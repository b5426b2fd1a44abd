"""Layouts that outlive a call: saved inside programs, first used in inference mode, traced, transformed."""

import io

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import polypool as pp

GENERATOR = torch.Generator().manual_seed(0)
STATES = torch.randn(2, 5, 3, generator=GENERATOR)
ROWS = torch.randn(6, 3, generator=GENERATOR)
PIXELS = torch.randn(2, 3, 4, 6, generator=GENERATOR)
GRAPHS = torch.tensor([1, 0, 1, 2, 2, 0])
IDS = torch.tensor([0, 1, -1, 1, 0, 0])


def layouts() -> dict[str, pp.Layout]:
    """New ones each time: nothing has been computed yet."""
    grid, tokens = pp.Grid(PIXELS), pp.Tokens(STATES, STATES[..., 0] > 0)
    return {
        "grid": grid,
        "grid-mask": pp.Grid(PIXELS, PIXELS[:, 0] > 0),
        "channels-last": pp.Grid(PIXELS.movedim(1, -1), channels_last=True),
        "windows": grid.windows(2, 1, 1),
        "bins": grid.bins((2, 4)),
        "tokens": tokens,
        "tokens-weight": pp.Tokens(STATES, weight=STATES[..., 0].abs()),
        "spans": tokens.spans(torch.tensor([[0, 0, 3], [1, 2, 5], [1, 1, 4]])),
        "packed": pp.Packed(ROWS, torch.tensor([0, 2, 2, 6])),
        "nodes": pp.Nodes(ROWS, GRAPHS, 3),
        "nodes-weight": pp.Nodes(ROWS, GRAPHS, 3, weight=ROWS[:, 0].abs()),
        "clusters": pp.Clusters(ROWS, IDS, 2),
        "pairs": pp.Clusters(ROWS, torch.tensor([[0, 1, 1, 5], [0, 0, 1, 1]]), 2),
        "soft": pp.Clusters(ROWS, ROWS.abs(), batch=GRAPHS, num_graphs=3),
    }


class Readout(nn.Module):
    """A layout in, a tensor out."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = pp.build("mean+max")

    def forward(self, layout: pp.Layout) -> Tensor:
        pooled: Tensor = self.pool(layout)
        return pooled


@pytest.mark.parametrize("name", layouts())
def test_a_saved_program_takes_a_layout(name: str) -> None:
    layout = layouts()[name]
    file = io.BytesIO()
    torch.export.save(torch.export.export(Readout(), (layout,)), file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    with pp.kernels("reference"):  # which is what programs are exported with
        assert torch.equal(loaded(layout), Readout()(layout))


@pytest.mark.parametrize("operator", ["mean", "max", "std", "first"])
@pytest.mark.parametrize("name", layouts())
def test_training_after_inference_mode(name: str, operator: str) -> None:
    layout, pool = layouts()[name], pp.build(operator)
    with torch.inference_mode():
        pool(layout)
        layout.lift(torch.ones(layout.num_cells, 2))
    values = layout.values.clone().requires_grad_()
    held = layout.with_values(values)
    (pool(held).sum() + held.lift(torch.ones(held.num_cells, 2)).sum()).backward()
    again = layouts()[name]
    fresh = again.values.clone().requires_grad_()
    pool(again.with_values(fresh)).sum().backward()
    assert values.grad is not None
    assert fresh.grad is not None
    assert torch.equal(values.grad, fresh.grad)


@pytest.mark.parametrize("name", layouts())
def test_nothing_fake_is_kept(name: str) -> None:
    layout, pool = layouts()[name], pp.build("std")
    wanted = pool(layouts()[name])
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            pool(layout)
    except torch._subclasses.fake_tensor.DataDependentOutputException:
        pass  # real indices are checked by value, which a fake mode does not do
    assert torch.equal(pool(layout), wanted)


@pytest.mark.parametrize("name", ["nodes", "packed", "clusters"])
def test_the_gradient_of_lift_does_not_stall(name: str) -> None:
    """A running float32 sum of three million times .1 is 290,775."""
    n = 3_000_000
    rows = torch.ones(n, 1)
    layout = {
        "nodes": lambda: pp.Nodes(rows, torch.zeros(n, dtype=torch.int64), 1),
        "packed": lambda: pp.Packed(rows, torch.tensor([0, n])),
        "clusters": lambda: pp.Clusters(rows, torch.zeros(n, dtype=torch.int64), 1),
    }[name]()
    y = torch.ones(1, 1, requires_grad=True)
    layout.lift(y).backward(torch.full((n, 1), 0.1))
    assert y.grad is not None
    assert abs(float(y.grad) / 300_000 - 1) < 1e-6


@pytest.mark.parametrize("name", layouts())
def test_lift_wants_a_row_for_each_cell(name: str) -> None:
    layout = layouts()[name]
    for rows in (layout.num_cells + 1, layout.num_cells - 1):
        with pytest.raises(
            ValueError, match=rf"y must have shape \(num_cells, c\) with num_cells = {layout.num_cells}"
        ):
            layout.lift(torch.ones(rows, 2))


def test_half_gradients_of_overlapping_windows() -> None:
    """Adding ones up in bfloat16 ends at 256."""
    values = torch.ones(1, 1, 1000, dtype=torch.bfloat16, requires_grad=True)
    pp.build("sum")(pp.Grid(values).windows(501, stride=1)).float().sum().backward()
    assert values.grad is not None
    assert float(values.grad[0, 0, 499]) == 500


def test_an_element_of_no_cluster_changes_no_bit() -> None:
    soft = ROWS.abs().clone()
    soft[2] = 0
    spoilt = ROWS.clone()
    spoilt[2] = float("nan")
    for operator in ("sum", "mean", "std"):
        pool = pp.build(operator)
        assert torch.equal(pool(pp.Clusters(spoilt, soft)), pool(pp.Clusters(ROWS, soft)))


def test_a_layout_keeps_a_floating_dtype() -> None:
    with pytest.raises(TypeError, match=r"dtype must be floating; found torch.int64"):
        pp.Nodes(ROWS).to(torch.int64)
