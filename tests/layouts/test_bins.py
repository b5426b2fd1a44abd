"""Adaptive bins of exactly equal area, against torch's where those are right."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch.nn import functional as F

import polypool as pp
from tests.support import close, identical, normal


@pytest.mark.parametrize(
    ("space", "size"),
    [((6, 8), (3, 2)), ((6, 8), (6, 8)), ((6, 8), (1, 1)), ((5, 7), (5, 1)), ((4, 4), (2, 4))],
)
def test_bins_that_divide_are_those_of_torch(space: tuple[int, int], size: tuple[int, int]) -> None:
    x = normal(2, 3, *space).requires_grad_()
    for name, torchs in (("mean", F.adaptive_avg_pool2d(x, size)), ("max", F.adaptive_max_pool2d(x, size))):
        ours = pp.build(name)(pp.Grid(x).bins(size))
        close(ours, torchs, name)
        cotangent = normal(*torchs.shape, seed=1)
        (of_ours,), (of_torch,) = (torch.autograd.grad(y, x, cotangent) for y in (ours, torchs))
        close(of_ours, of_torch, f"gradient of {name}")
    assert not pp.Grid(x).bins(size).weighted


@pytest.mark.parametrize(("length", "size"), [(8, 4), (9, 3), (12, 1)])
def test_bins_of_signals_and_volumes(length: int, size: int) -> None:
    signal, volume = normal(2, 3, length), normal(1, 2, 4, length, 6)
    close(pp.build("mean")(pp.Grid(signal).bins(size)), F.adaptive_avg_pool1d(signal, size), "1-d")
    found = pp.build("mean")(pp.Grid(volume).bins((2, size, 3)))
    close(found, F.adaptive_avg_pool3d(volume, (2, size, 3)), "3-d")


UNEVEN = [(7, 3), (5, 4), (10, 3), (3, 5), (2, 7), (13, 8), (224, 7), (100, 33), (1, 3)]


@pytest.mark.parametrize(("length", "size"), UNEVEN)
def test_every_pixel_counts_the_same_over_all_bins(length: int, size: int) -> None:
    """What each pixel gives to the mean over all bins' means is 1 / length, exactly to rounding."""
    x = normal(1, 1, length).requires_grad_()
    pooled = pp.build("mean")(pp.Grid(x).bins(size))
    assert pooled.shape == (1, 1, size)
    (share,) = torch.autograd.grad(pooled.mean(), x)
    close(share, torch.full_like(share, 1 / length), "each pixel's share")
    close(pooled.mean(), x.mean(), "the mean of the bins")


@pytest.mark.parametrize(("length", "size"), UNEVEN)
def test_every_bin_has_the_same_area(length: int, size: int) -> None:
    cells = pp.Grid(torch.ones(1, 1, length, dtype=torch.float64)).bins(size).cells
    close(cells.mass, torch.full((size, 1), length / size, dtype=torch.float64), "area")


@pytest.mark.parametrize("name", ["mean", "sum", "std", "max", "logsumexp", "softmax", "rms"])
def test_bins_are_products_of_intervals(name: str) -> None:
    """The same by repeating every pixel until the bins divide: areas are whole numbers of the small pixels."""
    x, size = normal(2, 2, 5, 7), (3, 4)
    fine = x.repeat_interleave(size[0], dim=2).repeat_interleave(size[1], dim=3)
    pool = pp.build(name)
    found, wanted = pool(pp.Grid(x).bins(size)), pool(pp.Grid(fine).bins(size))
    close(found, wanted / (size[0] * size[1]) if name == "sum" else wanted, name)


def test_bins_of_one_are_global_pooling_with_its_dimensions() -> None:
    x = normal(2, 3, 5, 7)
    for name in pp.names(pp.Grid(x)):
        pool = pp.build(name, channels=3).double()
        close(pool(pp.Grid(x).bins(1)), pool(pp.Grid(x))[:, :, None, None], name)
    last = pp.Grid(x.permute(0, 2, 3, 1), channels_last=True)
    close(pp.build("mean")(last.bins(1)), x.mean((2, 3))[:, None, None, :], "channels last")


def test_bins_that_do_not_divide_have_weights() -> None:
    """So the order statistics say that they cannot, and `names` leaves them out."""
    even, uneven = pp.Grid(normal(1, 2, 6, 6)).bins(3), pp.Grid(normal(1, 2, 6, 6)).bins(4)
    assert not even.weighted
    assert uneven.weighted
    assert "median" in pp.names(even)
    assert "median" not in pp.names(uneven)
    with pytest.raises(
        NotImplementedError, match=r"median cannot pool a layout with weights .+bins that do not divide"
    ):
        pp.build("median")(uneven)


@pytest.mark.parametrize("size", [(2, 3), (3, 4)])
def test_channels_last_in_and_out(size: tuple[int, int]) -> None:
    x = normal(2, 3, 6, 6)
    wanted = pp.build("mean")(pp.Grid(x).bins(size))
    found = pp.build("mean")(pp.Grid(x.permute(0, 2, 3, 1).contiguous(), channels_last=True).bins(size))
    assert found.shape == (2, *size, 3)
    close(found.permute(0, 3, 1, 2), wanted, "in the shape")
    found = pp.build("mean")(pp.Grid(x.contiguous(memory_format=torch.channels_last)).bins(size))
    close(found, wanted, "in memory")
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_bins_leave_padding_out() -> None:
    mask = normal(2, 5, 5) > -0.5
    x = normal(2, 3, 5, 5)
    hidden = x.masked_fill(~mask[:, None], float("nan"))
    found = pp.build("mean")(pp.Grid(hidden, mask).bins(3))
    share = pp.build("sum")(pp.Grid(mask[:, None].double()).bins(3))
    close(found, pp.build("sum")(pp.Grid(x * mask[:, None]).bins(3)) / share, "mean of real pixels")


def test_twice_the_same_bits() -> None:
    """Forward and backward: torch's adaptive pooling is not deterministic on every device."""
    x = normal(2, 3, 13, 9, dtype=torch.float32).requires_grad_()
    runs = []
    for _ in range(2):
        pooled = pp.build("mean")(pp.Grid(x).bins((4, 5)))
        runs.append((pooled.detach(), *torch.autograd.grad(pooled.square().sum(), x)))
    for one, other in zip(*runs, strict=True):
        identical(one, other, "two runs")


def test_sizes_in_float32_are_exact_too() -> None:
    """Areas are counted in whole parts of a pixel: 224 / 7.5 has no short binary form, 1024 / 1000 neither."""
    for length, size in product((224, 1024), (7, 15, 1000)):
        ones = torch.ones(1, 1, length)
        close(pp.build("mean")(pp.Grid(ones).bins(size)), torch.ones(1, 1, size), f"{length} in {size}")
        close(
            pp.build("sum")(pp.Grid(ones).bins(size)).sum(),
            torch.tensor(float(length)),
            f"{length} in {size}",
        )
