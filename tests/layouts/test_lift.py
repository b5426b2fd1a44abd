"""From cells back to elements: `lift`, `elements` and `scale`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import polypool as pp
from tests.layouts.known import KNOWN, Known
from tests.support import close, identical, normal

NAN = float("nan")

every_layout = pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
overlapping = pytest.mark.parametrize(
    "known",
    [k for k in KNOWN.values() if not k.disjoint],
    ids=[n for n, k in KNOWN.items() if not k.disjoint],
)
disjoint = pytest.mark.parametrize(
    "known", [k for k in KNOWN.values() if k.disjoint], ids=[n for n, k in KNOWN.items() if k.disjoint]
)


def with_channels(known: Known, channels: int) -> list[int]:
    shape = list(known.values.shape)
    shape[known.channel_dim] = channels
    return shape


@every_layout
def test_lift_is_the_loop(known: Known) -> None:
    """In the shape of the values, with the channels of what is lifted, whatever their number."""
    for channels in (1, known.layout.channels, 5):
        y = normal(len(known.cells), channels, seed=channels)
        lifted = known.layout.lift(y)
        assert list(lifted.shape) == with_channels(known, channels)
        close(known.rows(lifted), known.lifted(y), f"{channels} channels")


@every_layout
def test_lift_gives_exactly_0_where_nothing_is_pooled(known: Known) -> None:
    """Infinities and NaN of cells stay in their cells, and a gradient does not come back from padding."""
    y = torch.full((len(known.cells), 2), NAN).requires_grad_()
    lifted = known.layout.lift(y)
    outside = known.rows(lifted)[~known.real()]
    assert not outside.any()
    assert bool(known.rows(lifted)[known.real()].isnan().all())
    if known.cells:
        (gradient,) = torch.autograd.grad(known.rows(lifted)[~known.real()].sum(), y, materialize_grads=True)
        assert not gradient.any()


@every_layout
def test_lift_does_not_read_the_values(known: Known) -> None:
    y = normal(len(known.cells), 2)
    spoilt = known.layout.with_values(torch.full_like(known.values, NAN))
    identical(spoilt.lift(y), known.layout.lift(y), "lift around NaN")


@overlapping
def test_lift_is_the_adjoint_of_sum(known: Known) -> None:
    """`<lift(y), x> = <y, sum(x)>`, and each is the other's gradient."""
    x, y = (
        known.values.clone().requires_grad_(),
        normal(len(known.cells), known.layout.channels).requires_grad_(),
    )
    pooled, lifted = known.matrix(pp.build("sum")(known.layout.with_values(x))), known.layout.lift(y)
    close((lifted * x).sum(), (y * pooled).sum(), "inner products")
    (of_sum,) = torch.autograd.grad(pooled, x, y.detach())
    close(known.rows(of_sum), known.rows(lifted.detach()), "the gradient of sum")
    (of_lift,) = torch.autograd.grad(lifted, y, x.detach())
    close(of_lift, pooled.detach(), "the gradient of lift")


@disjoint
def test_lift_is_the_adjoint_of_the_plain_sum_where_cells_are_disjoint(known: Known) -> None:
    """Weights do not enter: an element gets its cell's vector as it is."""
    x, y = known.values, normal(len(known.cells), known.layout.channels)
    if known.layout.weighted:
        pooled = torch.zeros_like(y)
        for k, cell in enumerate(known.cells):
            for element, weight in cell:
                pooled[k] += known.rows(x)[element] * (weight > 0)
    else:
        pooled = known.matrix(pp.build("sum")(known.layout))
    close((known.layout.lift(y) * x).sum(), (y * pooled).sum(), "inner products")


@every_layout
def test_what_was_pooled_can_be_lifted_as_it_is(known: Known) -> None:
    """Windows and bins give maps, and take maps back."""
    pooled = pp.build("max")(known.layout)
    rows = known.layout.rows_of(pooled)
    identical(rows, known.matrix(pooled), "rows of the result")
    identical(known.layout.lift(rows), known.layout.lift(known.matrix(pooled)), "lift of rows")
    if pooled.dim() > 2:
        identical(known.layout.lift(pooled), known.layout.lift(rows), "lift of maps")


@every_layout
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lift_keeps_the_dtype_of_what_is_lifted(known: Known, dtype: torch.dtype) -> None:
    assert known.layout.lift(torch.ones(len(known.cells), 2, dtype=dtype)).dtype == dtype


@disjoint
def test_elements_bring_numbers_back(known: Known) -> None:
    """What a mean's weights are: `w / sum w`, and 0 at padding."""
    found = known.rows(pp.build("mean").weights(known.layout))
    wanted = torch.zeros_like(found)
    for cell in known.cells:
        mass = sum(weight for _, weight in cell)
        for element, weight in cell:
            wanted[element] = weight / mass if weight else 0.0
    close(found, wanted, "weights")
    x = known.values.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(
        pp.build("sum")(known.layout.with_values(x)).sum(), x, materialize_grads=True
    )
    close(
        known.rows(pp.build("sum").weights(known.layout)).expand_as(known.rows(x)),
        known.rows(gradient),
        "of sum",
    )


@overlapping
def test_elements_need_disjoint_cells(known: Known) -> None:
    with pytest.raises(NotImplementedError, match=r"numbers per element need disjoint cells.+overlap"):
        pp.build("mean").weights(known.layout)


@every_layout
def test_scale_is_the_product_with_lift(known: Known) -> None:
    y = normal(len(known.cells), known.layout.channels)
    close(known.layout.scale(y), known.values * known.layout.lift(y), "scale")


@every_layout
def test_scale_reads_no_padding(known: Known) -> None:
    """0 there, and a gradient of exactly 0; the gradient of the scale is finite."""
    x, y = (
        known.spoilt(NAN).requires_grad_(),
        normal(len(known.cells), known.layout.channels).requires_grad_(),
    )
    scaled = known.layout.with_values(x).scale(y)
    hidden = ~known.real()
    assert not known.rows(scaled)[hidden].any()
    by_values, by_scale = torch.autograd.grad(scaled.sum(), (x, y), materialize_grads=True)
    assert not known.rows(by_values)[hidden].any()
    close(by_values, known.layout.lift(y.detach()), "gradient of the values")
    assert bool(by_scale.isfinite().all())


STORED: dict[str, tuple[Tensor, bool]] = {
    "nchw": (normal(2, 3, 4, 5), False),
    "channels_last": (normal(2, 3, 4, 5).contiguous(memory_format=torch.channels_last), False),
    "channels_last_3d": (normal(2, 3, 2, 4, 5).contiguous(memory_format=torch.channels_last_3d), False),
    "ncdhw": (normal(2, 3, 2, 4, 5), False),
    "ncl": (normal(2, 3, 6), False),
    "nhwc": (normal(2, 4, 5, 3), True),
}


@pytest.mark.parametrize("masked", [False, True], ids=["", "mask"])
@pytest.mark.parametrize("name", STORED)
def test_grids_keep_their_memory_format(name: str, masked: bool) -> None:
    x, last = STORED[name]
    places = x.shape[:-1] if last else (x.shape[0], *x.shape[2:])
    grid = pp.Grid(x, normal(*places) > 0 if masked else None, channels_last=last)
    y = normal(2, 3)
    assert grid.lift(y).stride() == x.stride()
    assert grid.scale(y).stride() == x.stride()
    dims = len(grid.spatial)
    for cells in (grid.bins(1), grid.bins((2,) * dims), grid.windows(2, 1)):
        assert cells.lift(normal(cells.num_cells, 3)).stride() == x.stride()
        pooled = pp.build("max")(cells)
        assert pooled.shape[grid._channel_dim] == 3
        if name.startswith("channels_last"):
            stored = torch.channels_last if dims == 2 else torch.channels_last_3d
            assert pooled.is_contiguous(memory_format=stored)
        else:
            assert pooled.is_contiguous()


def test_lift_is_a_view_of_nothing() -> None:
    """What comes back may be written to."""
    for known in KNOWN.values():
        y = normal(len(known.cells), 2)
        before = y.clone()
        known.layout.lift(y).zero_().add_(1.0)
        identical(y, before, known.name)


@pytest.mark.parametrize(
    ("layout", "channels"),
    [
        (pp.Grid(normal(0, 3, 4, 5)), 3),
        (pp.Grid(normal(0, 4, 5, 3), channels_last=True), 3),
        (pp.Grid(normal(2, 3, 0, 5)), 3),
        (pp.Grid(normal(2, 0, 5, 3), channels_last=True), 3),
        (pp.Grid(normal(0, 3, 4, 5)).bins(2), 3),
        (pp.Grid(normal(0, 4, 5, 3), channels_last=True).windows(2), 3),
        (pp.Tokens(normal(0, 4, 3)), 3),
        (pp.Tokens(normal(2, 0, 3)), 3),
        (pp.Packed(normal(0, 3), torch.tensor([0])), 3),
        (pp.Packed(normal(0, 3), torch.tensor([0, 0, 0])), 3),
        (pp.Nodes(normal(0, 3)), 3),
        (pp.Nodes(normal(0, 3), torch.zeros(0, dtype=torch.long), 2), 3),
        (pp.Nodes(normal(0, 3), torch.zeros(0, dtype=torch.long)), 3),
        (pp.Clusters(normal(0, 3), normal(0, 2)), 3),
    ],
    ids=lambda value: repr(value) if isinstance(value, pp.Layout) else "",
)
def test_batches_of_nothing(layout: pp.Layout, channels: int) -> None:
    """Pooled, lifted and scaled without a special case."""
    pooled: Tensor = pp.build("mean")(layout)
    assert pooled.numel() == layout.num_cells * channels
    assert not pooled.any()
    assert layout.lift(layout.rows_of(pooled)).shape == layout.values.shape
    assert layout.scale(layout.rows_of(pooled)).shape == layout.values.shape
    assert layout.counts.tolist() == [0] * layout.num_cells
