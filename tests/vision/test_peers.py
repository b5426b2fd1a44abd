"""Where other libraries' local poolings fall short, as the equation of what they do: ours beside it."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from polypool.vision import BinPool, BlurPool, MaxBlurPool
from tests.support import close, normal


def taps(size: int) -> Tensor:
    """Binomial taps as everybody has them."""
    row = torch.ones(1, dtype=torch.float64)
    for _ in range(size - 1):
        row = F.pad(row, (0, 1)) + F.pad(row, (1, 0))
    return row / row.sum()


def zero_padded(x: Tensor, size: int, stride: int) -> Tensor:
    """kornia's BlurPool2D: a depthwise convolution between zeros, `(size - 1) // 2` of them on each side."""
    kernel = torch.outer(taps(size), taps(size)).to(x.dtype).expand(x.shape[1], 1, size, size)
    return F.conv2d(x, kernel, stride=stride, padding=(size - 1) // 2, groups=x.shape[1])


def reflected(x: Tensor, size: int, stride: int) -> Tensor:
    """timm's BlurPool2d, and the first: a depthwise convolution after a reflection of the border."""
    before = (stride - 1 + size - 1) // 2
    kernel = torch.outer(taps(size), taps(size)).to(x.dtype).expand(x.shape[1], 1, size, size)
    return F.conv2d(F.pad(x, (before,) * 4, mode="reflect"), kernel, stride=stride, groups=x.shape[1])


@pytest.mark.parametrize("size", [3, 5, 7])
def test_zero_padding_darkens_the_border(size: int) -> None:
    x = torch.ones(1, 2, 9, 9, dtype=torch.float64)
    theirs = zero_padded(x, size, 2)
    corner = float(taps(size)[(size - 1) // 2 :].sum()) ** 2
    assert theirs[0, 0, 0, 0].item() == pytest.approx(corner)
    assert corner < 0.6
    for border in ("renormalise", "reflect", "circular"):
        close(BlurPool(size, border=border)(x), torch.ones_like(theirs), border)


def test_away_from_the_border_all_are_the_same() -> None:
    x = normal(2, 3, 12, 12)
    for size in (3, 5):
        inside = (..., slice(2, -2), slice(2, -2))
        close(BlurPool(size)(x)[inside], zero_padded(x, size, 2)[inside], "zeros")
    close(BlurPool(3, border="reflect")(x)[inside], reflected(x, 3, 2)[inside], "reflection")


def test_reflection_fails_on_a_map_of_one_pixel_and_here_it_stays_as_it_is() -> None:
    x = normal(2, 3, 1, 1)
    with pytest.raises(RuntimeError, match="Padding size should be less than"):
        reflected(x, 3, 2)
    assert (zero_padded(x, 3, 2) / x).unique().item() == pytest.approx(1 / 4)  # which darkens it
    for pool in (BlurPool(3), BlurPool(7, border="reflect"), MaxBlurPool(5, border="reflect")):
        close(pool(x), x, repr(pool))


def test_a_one_by_one_map_at_the_end_of_a_network() -> None:
    """Sizes of small images on their way down: 8, 4, 2, 1, 1."""
    x, sizes = normal(1, 2, 8, 8), []
    for _ in range(4):
        x = BlurPool(5)(x)
        sizes.append(x.shape[-1])
    assert sizes == [4, 2, 1, 1]


def test_adaptive_average_pooling_weighs_pixels_unevenly() -> None:
    """What each pixel gives to the mean of 7 x 7 bins, in an image of 10 x 10: .49, .7, 1. and so on, or 1."""
    shares = {}
    for name, pool in (("torch", lambda v: F.adaptive_avg_pool2d(v, 7)), ("ours", BinPool("mean", 7))):
        x = torch.zeros(1, 1, 10, 10, dtype=torch.float64, requires_grad=True)
        (shares[name],) = torch.autograd.grad(pool(x).mean() * 100, x)
    assert shares["torch"].amax() / shares["torch"].amin() > 3.5
    close(shares["ours"], torch.ones(1, 1, 10, 10, dtype=torch.float64), "each pixel")
    # And it is a mean: of a ramp the mean is kept, which torch's bins move.
    ramp = torch.arange(10.0, dtype=torch.float64).square().expand(1, 1, 10, 10)
    close(BinPool("mean", 7)(ramp).mean(), ramp.mean(), "ours")
    assert abs(float(F.adaptive_avg_pool2d(ramp, 7).mean() - ramp.mean())) > 0.09


@pytest.mark.slow
def test_onnx_takes_bins_that_do_not_divide(tmp_path: Path) -> None:
    """Its older exporter refuses `AdaptiveAvgPool2d(7)` of 10 x 10."""
    runtime = import_module("onnxruntime")
    x = normal(2, 3, 10, 10, dtype=torch.float32)
    pool = BinPool("mean", 7).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.onnx.export(pool, (x,), dynamo=True, verbose=False)
    assert program is not None
    program.save(tmp_path / "bins.onnx")
    session = runtime.InferenceSession(tmp_path / "bins.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    close(torch.as_tensor(found), pool(x), "onnxruntime")
