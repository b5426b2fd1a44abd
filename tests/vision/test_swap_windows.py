"""Windows, bins and strides that get another pooling, or a blur."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from polypool.vision import BinPool, BlurPool, LocalPool, sites, swap
from tests.support import close, identical, normal
from tests.vision.architectures import MODELS, by_hand, images, logits


@pytest.mark.parametrize(
    ("name", "kind"), [("by_hand", "down"), ("resnet", "down"), *[(name, "stride") for name in MODELS]]
)
def test_a_blur_begins_as_the_stride(name: str, kind: str) -> None:
    """At 0 the blur samples what the windows give, to the bit; a convolution at every pixel may round otherwise."""
    model = MODELS[name]()
    before, names = logits(model), set(model.state_dict())
    report = swap(model, "blur", kind, sample=images())
    (identical if kind == "down" else close)(logits(model), before, "logits")
    assert report.keeps
    assert report.change is not None
    assert report.change < 1e-5
    assert names <= set(model.state_dict())
    left = [site for site in sites(model, images()) if site.kind == kind]
    assert not [risk for site in left for risk in site.risks]
    blurs = [module for module in model.modules() if isinstance(module, BlurPool)]
    assert len(blurs) == len(report.swapped)
    for blur in blurs:
        blur.get_parameter("amount").data.fill_(1.0)
    assert (logits(model) - before).abs().max() > 1e-4


@pytest.mark.parametrize("size", [(9, 12), (10, 7), (3, 4)])
@pytest.mark.parametrize(
    "layer",
    [
        nn.MaxPool2d(3, 2, 1),
        nn.MaxPool2d(2),
        nn.AvgPool2d(2),
        nn.AvgPool2d(3, 2, 1),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        nn.MaxPool2d((2, 3), (2, 1), (0, 1)),
        nn.Conv2d(3, 4, 3, 2, 1),
        nn.Conv2d(3, 4, 2, (2, 1), padding="valid"),
        nn.Conv2d(3, 3, 1, 3, groups=3),
        nn.MaxPool2d(2, 2, dilation=1, padding=1),
    ],
    ids=str,
)
def test_a_blur_fits_every_size(layer: nn.Module, size: tuple[int, int]) -> None:
    x = normal(2, 3, *size, dtype=torch.float32)
    net: Any = nn.Sequential(copy.deepcopy(layer))
    wanted = net(x)
    kind = sites(net, normal(2, 3, 9, 12, dtype=torch.float32))[0].kind
    swap(net, "blur", kind, sample=normal(2, 3, 9, 12, dtype=torch.float32))
    (close if isinstance(layer, nn.Conv2d) else identical)(net(x), wanted, "result")


@pytest.mark.parametrize(
    ("layer", "pool"),
    [
        (nn.AvgPool2d(2), "gem"),
        (nn.AvgPool2d(3, 2, 1), "attention"),
        (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), "gem"),
        (nn.AvgPool1d(3, 2), "gem"),
        (nn.AvgPool3d(2), "gem"),
        (nn.MaxPool2d(3, 2, 1), "max"),
        (nn.MaxPool2d(2, ceil_mode=True), "max"),
        (nn.AdaptiveAvgPool2d(3), "gem"),
        (nn.AdaptiveAvgPool2d((None, 2)), "mean"),
        (nn.AdaptiveMaxPool2d((3, 4)), "max"),
        (LocalPool("mean", 2), "gem"),
        (BinPool("mean", 3), "gem"),
    ],
    ids=str,
)
def test_windows_and_bins_begin_as_they_were(layer: nn.Module, pool: str) -> None:
    dims = int(type(layer).__name__[-2]) if type(layer).__name__[-1] == "d" else 2
    x = normal(2, 4, *(7, 8, 6)[:dims], dtype=torch.float32)
    net: Any = nn.Sequential(nn.Identity(), layer)
    wanted = net(x)
    report = swap(net, pool, "down", sample=x)
    assert report.keeps
    close(net(x), wanted, "result")
    assert isinstance(net[1], LocalPool | BinPool)


def test_a_head_behind_several_bins_is_widened() -> None:
    """As in VGG: the flattened bins of each channel lie together."""
    x = normal(2, 4, 6, 6, dtype=torch.float32)
    net: Any = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    wanted = net(x)
    report = swap(net, "max+mean", "down", sample=x)
    assert report.swapped[0].widened == ("2",)
    assert net[2].in_features == 32
    close(net(x), wanted, "result")


def test_a_given_blur_says_how() -> None:
    x = normal(2, 4, 9, 12, dtype=torch.float32)
    net: Any = nn.Sequential(nn.MaxPool2d((3, 2), (2, 1), (1, 0)))
    report = swap(net, BlurPool(5, 7, border="reflect", amount=1.0), "down", sample=x)
    assert not report.keeps
    assert report.change is not None
    assert report.change > 0.01
    blur = net[0][1]
    assert (blur.kernel, blur.stride, blur.border, blur.amount) == ((5, 1), (2, 1), "reflect", 1.0)
    assert not list(net.parameters())
    wanted = BlurPool((5, 1), (2, 1), border="reflect")(nn.functional.max_pool2d(x, (3, 2), 1, (1, 0)))
    identical(net(x), wanted, "result")
    net = nn.Sequential(nn.AvgPool1d(3, 2), nn.MaxPool1d(2))
    signal = normal(2, 4, 30, dtype=torch.float32)
    before = net(signal)
    assert swap(net, BlurPool(3, amount=0.0, learn=True), "down", sample=signal).keeps
    identical(net(signal), before, "signal")
    assert [p.shape for p in net.parameters()] == [torch.Size([])] * 2


def test_the_report_reads_like_prose() -> None:
    lines = str(swap(by_hand(), "blur", ["maxpool", "conv*"], sample=images())).splitlines()
    assert lines[:2] == [
        "conv1: convolution -> convolution, blur, begins as it was",
        "maxpool: max -> max, blur, begins as it was",
    ]
    assert lines[2].startswith("largest change of the output: ")
    lines = str(swap(by_hand(), "max", "**", sample=images())).splitlines()
    assert lines[0] == "maxpool: max -> max, begins as it was"
    assert lines[1] == "layer1.1.avgpool: mean -> max, another function from the first step on"
    assert lines[3].startswith("conv1: left alone, it is a convolution")
