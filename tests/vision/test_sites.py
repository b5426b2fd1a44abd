"""What `sites` finds: in real architectures, in modules of every kind, and in functions."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, asdict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import polypool as pp
from polypool.vision import BinPool, BlurPool, GlobalPool, LocalPool, MaxBlurPool, SpatialPyramid, sites
from polypool.vision.surgery import Site
from tests.support import normal
from tests.vision.architectures import MODELS, Squeeze, by_hand, images, vit_with_pooler

WANTED = {
    "by_hand": [
        ("conv1", "stride", "convolution"),
        ("maxpool", "down", "max"),
        ("layer1.1.avgpool", "squeeze", "mean"),
        ("layer2.0.conv1", "stride", "convolution"),
        ("layer2.0.downsample.0", "stride", "convolution"),
        ("avgpool", "global", "mean"),
    ],
    "resnet": [
        ("resnet.embedder.embedder.convolution", "stride", "convolution"),
        ("resnet.embedder.pooler", "down", "max"),
        ("resnet.encoder.stages.1.layers.0.layer.0.convolution", "stride", "convolution"),
        ("resnet.encoder.stages.1.layers.0.shortcut.convolution", "stride", "convolution"),
        ("resnet.pooler", "global", "mean"),
    ],
    "efficientnet": [
        ("efficientnet.embeddings.convolution", "stride", "convolution"),
        ("efficientnet.encoder.blocks.0.squeeze_excite.squeeze", "squeeze", "mean"),
        ("efficientnet.encoder.blocks.1.depthwise_conv.depthwise_conv", "stride", "convolution"),
        ("efficientnet.encoder.blocks.1.squeeze_excite.squeeze", "squeeze", "mean"),
        ("efficientnet.pooler", "global", "mean"),
    ],
    "convnext": [
        ("convnext.embeddings.patch_embeddings", "stride", "convolution"),
        ("convnext.encoder.stages.1.downsampling_layer.1", "stride", "convolution"),
        ("convnext::mean", "global", "mean"),
    ],
    "vit": [
        ("vit.embeddings.patch_embeddings.projection", "stride", "convolution"),
        ("::first", "tokens", "first"),
    ],
    "siglip": [
        ("vision_model.embeddings.patch_embedding", "stride", "convolution"),
        ("vision_model.head::attention", "tokens", "attention"),
        ("::mean", "global", "mean"),
    ],
}


@pytest.mark.parametrize("name", WANTED)
def test_real_architectures(name: str) -> None:
    found = sites(MODELS[name](), images())
    assert [(site.name, site.kind, site.operator) for site in found] == WANTED[name]
    assert len({site.name for site in found}) == len(found)
    assert all(site.input and site.output for site in found)
    assert sites(MODELS[name]()) == found or name in ("siglip",) or all(site.input for site in found)


def test_regnet_and_the_pooler_of_a_vit() -> None:
    kinds = [site.kind for site in sites(MODELS["regnet"](), images())]
    assert (kinds.count("squeeze"), kinds.count("global"), kinds.count("stride")) == (2, 1, 5)
    assert [site.name for site in sites(vit_with_pooler(), images())][-1] == "pooler::first"


def one(module: nn.Module, *size: int, channels: int = 4) -> Site:
    (site,) = sites(nn.Sequential(module, nn.Identity()), normal(2, channels, *size, dtype=torch.float32))
    return site


def test_a_site_is_a_record() -> None:
    site = one(nn.AdaptiveAvgPool2d(1), 5, 6)
    assert asdict(site) == {
        "name": "0",
        "kind": "global",
        "operator": "mean",
        "source": "AdaptiveAvgPool2d",
        "input": (2, 4, 5, 6),
        "output": (2, 4, 1, 1),
        "counts": ((1.0,) * 5, (1.0,) * 6),
        "risks": (),
        "obstacle": None,
    }
    with pytest.raises(FrozenInstanceError):
        site.kind = "down"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.AdaptiveAvgPool2d(3), (7, 8)),
        (nn.AdaptiveAvgPool1d(4), (10,)),
        (nn.AdaptiveAvgPool3d((2, None, 3)), (5, 4, 7)),
        (nn.AvgPool2d(3, 2, 1), (9, 10)),
        (nn.AvgPool2d(3, 2, 1, count_include_pad=False), (9, 10)),
        (nn.AvgPool2d(3, 2, 1, ceil_mode=True), (8, 10)),
        (nn.AvgPool2d(2, 3), (8, 10)),
        (nn.AvgPool1d(4, 3, 2), (11,)),
        (nn.AvgPool3d(2), (4, 5, 6)),
        (nn.AvgPool2d(8, ceil_mode=True), (5, 6)),
    ],
    ids=str,
)
def test_counts_are_the_gradient_of_the_mean(layer: nn.Module, size: tuple[int, ...]) -> None:
    """How much a place counts in all results together, from torch itself."""
    x = torch.ones(1, 1, *size, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x).sum(), x)
    site = one(layer, *size)
    wanted = gradient[0, 0] / gradient.mean()
    found = torch.ones((), dtype=torch.float64)
    for counts in site.counts:
        found = found.unsqueeze(-1) * torch.tensor(counts, dtype=torch.float64)
    assert torch.allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.MaxPool2d(3, 2, 1), (9, 10)),
        (nn.MaxPool2d(2, 3), (8, 10)),
        (nn.MaxPool2d(2, 2, dilation=2), (8, 9)),
        (nn.MaxPool1d(3, ceil_mode=True), (10,)),
        (nn.Conv2d(4, 1, 3, 2, 1), (9, 10)),
        (nn.Conv2d(4, 1, 1, 2), (9, 10)),
    ],
    ids=str,
)
def test_counts_of_windows_are_how_many_see_a_place(layer: nn.Module, size: tuple[int, ...]) -> None:
    dims = len(size)
    names = ("kernel_size", "stride", "padding", "dilation")
    kernel, stride, padding, dilation = (
        v if isinstance(v, tuple) else (v,) * dims for v in (getattr(layer, name) for name in names)
    )
    convolve = {1: F.conv1d, 2: F.conv2d}[dims]
    site = one(layer, *size)
    assert site.output is not None
    x = torch.ones(1, 1, *size, requires_grad=True)
    # Windows that begin inside and end beyond, as with ceil_mode.
    room = [k * d for k, d in zip(reversed(kernel), reversed(dilation), strict=True) for _ in (0, 1)]
    beyond = F.pad(x, [n if i % 2 else 0 for i, n in enumerate(room)])
    beyond = F.pad(
        beyond, [p if not i % 2 else 0 for i, p in enumerate(p for p in reversed(padding) for _ in (0, 1))]
    )
    seen = convolve(beyond, torch.ones(1, 1, *kernel), None, stride, 0, dilation)
    for d, count in enumerate(site.output[2:], start=2):
        seen = seen.narrow(d, 0, count)
    (gradient,) = torch.autograd.grad(seen.sum(), x)
    found = torch.ones(())
    for counts in site.counts:
        found = found.unsqueeze(-1) * torch.tensor(counts)
    assert torch.allclose(found, gradient[0, 0] / gradient.mean(), atol=1e-5)


def test_risks() -> None:
    def risks(layer: nn.Module, *size: int) -> str:
        return "; ".join(one(layer, *size).risks)

    assert "uneven bins" in risks(nn.AdaptiveAvgPool2d(3), 7, 7)
    assert "export: ONNX" in risks(nn.AdaptiveAvgPool2d(3), 7, 7)
    assert "CUDA: its backward pass is not deterministic" in risks(nn.AdaptiveAvgPool2d(3), 6, 6)
    assert "uneven" not in risks(nn.AdaptiveAvgPool2d(3), 6, 6)
    assert risks(nn.AdaptiveAvgPool2d(1), 7, 7) == ""
    assert "CUDA" in risks(nn.AdaptiveMaxPool2d(1), 7, 7)
    assert "CUDA" in risks(nn.MaxPool3d(2), 4, 4, 4)
    assert "aliasing: stride 2 without a blur" in risks(nn.MaxPool2d(2), 8, 8)
    assert "aliasing" not in risks(nn.AvgPool2d(2), 8, 8)
    assert "aliasing: stride 3" in risks(nn.AvgPool2d(2, 3), 8, 8)
    assert "aliasing: stride 2" in risks(nn.Conv2d(4, 4, 3, 2), 8, 8)
    assert "aliasing" not in risks(MaxBlurPool(3), 8, 8)
    assert "aliasing" in risks(LocalPool("max", 2), 8, 8)
    assert "unread: 75% of the places" in risks(nn.Conv2d(4, 4, 1, 2), 8, 8)
    assert "unread: 23% of the places" in risks(nn.MaxPool2d(4), 9, 9) or "unread: 21%" in risks(
        nn.MaxPool2d(4), 9, 9
    )
    assert "border: the zeros of the padding" in risks(nn.AvgPool2d(3, 2, 1), 9, 9)
    assert "border" not in risks(nn.AvgPool2d(3, 2, 1, count_include_pad=False), 9, 9)
    assert "fixed window: a map larger than 7 x 7" in risks(nn.AvgPool2d(7), 7, 7)
    assert "export: its windows are random" in risks(nn.FractionalMaxPool2d(2, 3), 8, 8)


def test_torch_agrees_on_what_is_not_deterministic() -> None:
    """The modules that torch names where it explains deterministic algorithms."""
    from polypool.vision.surgery.risks import UNORDERED

    text = torch.use_deterministic_algorithms.__doc__ or ""
    named = {cls.__name__ for cls in UNORDERED if not cls.__name__.endswith("1d")}
    assert all(f"torch.nn.{name}`" in text for name in named)
    known = {name for name in dir(nn) if name.endswith(("Pool2d", "Pool3d")) and f"torch.nn.{name}`" in text}
    assert known == named


def test_kinds_of_modules() -> None:
    kinds: dict[str, list[nn.Module]] = {
        "global": [
            nn.AdaptiveAvgPool2d((1, 1)),
            nn.AdaptiveMaxPool2d(1),
            nn.AvgPool2d(8),
            nn.AvgPool2d(100, ceil_mode=True),
            GlobalPool("gem"),
            BinPool("mean", 1),
            pp.build("median"),
        ],
        "down": [
            nn.AvgPool2d(2),
            nn.MaxPool2d(3, 2, 1),
            nn.LPPool2d(2, 2),
            nn.AdaptiveAvgPool2d(2),
            nn.AdaptiveMaxPool2d((1, 3)),
            LocalPool("mean", 2),
            BinPool("max", 2),
            BlurPool(3),
        ],
        "stride": [nn.Conv2d(4, 4, 3, stride=(1, 2))],
        "squeeze": [Squeeze(4), pp.blocks.SqueezeExcite(4, 2), pp.blocks.GlobalContext(4)],
    }
    for kind, layers in kinds.items():
        for layer in layers:
            assert one(layer, 8, 8).kind == kind, layer
    for layer in (nn.MaxPool2d(3, 1, 1), nn.Conv2d(4, 4, 3), nn.ReLU(), SpatialPyramid((1, 2))):
        assert not sites(nn.Sequential(layer), normal(2, 4, 8, 8, dtype=torch.float32))


class Functions(nn.Module):
    """Every way to pool without a module."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        ways = {
            "mean": lambda: x.mean((2, 3)),
            "negative": lambda: torch.mean(x, [-1, -2], keepdim=True),
            "max": lambda: x.amax((2, 3)),
            "sum": lambda: x.sum(dim=(2, 3)),
            "last": lambda: x.permute(0, 2, 3, 1).mean((1, 2)),
            "adaptive": lambda: F.adaptive_avg_pool2d(x, 1),
            "fixed": lambda: F.avg_pool2d(x, 6),
            "flat": lambda: x.flatten(2).mean(-1),
            "tokens": lambda: tokens.mean(1),
            "most": lambda: tokens.max(1).values,
            "first": lambda: tokens[:, 0],
            "end": lambda: tokens.select(1, -1),
            "third": lambda: tokens[:, 2, :],
            "windows": lambda: F.max_pool2d(x, 2),
        }
        return ways[self.how]()


@pytest.mark.parametrize(
    ("how", "kind", "operator"),
    [
        ("mean", "global", "mean"),
        ("negative", "global", "mean"),
        ("max", "global", "max"),
        ("sum", "global", "sum"),
        ("last", "global", "mean"),
        ("adaptive", "global", "mean"),
        ("fixed", "global", "mean"),
        ("flat", "global", "mean"),
        ("tokens", "global", "mean"),
        ("most", "global", "max"),
        ("first", "tokens", "first"),
        ("end", "tokens", "last"),
        ("third", "tokens", "token"),
        ("windows", "down", "max"),
    ],
)
def test_functions(how: str, kind: str, operator: str) -> None:
    net: Any = nn.Sequential(nn.Conv2d(4, 4, 1), Functions(how))
    (site,) = sites(net, normal(2, 4, 6, 6, dtype=torch.float32))
    assert (site.name, site.kind, site.operator) == (f"1::{operator}", kind, operator)
    assert site.output is not None
    assert math.prod(site.output[2:]) == (9 if how == "windows" else 1)


def test_what_is_no_pooling() -> None:
    """Normalisations, losses and everything that the output does not depend on."""

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x.mean((2, 3))
            tokens = x.flatten(2).transpose(1, 2)
            tokens = tokens / tokens.square().mean(-1, keepdim=True).sqrt()
            return tokens + x.mean() + x.mean(1, keepdim=True).flatten(2).transpose(1, 2)

    assert sites(Net(), normal(2, 4, 6, 6, dtype=torch.float32)) == []


def test_names_of_functions_are_counted() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)) + x.square().mean((2, 3)).sqrt() + x.amax((2, 3))

    found = sites(Net(), normal(2, 4, 6, 6, dtype=torch.float32))
    assert [site.name for site in found] == ["::mean", "::mean#2", "::max"]


def test_samples() -> None:
    """A tensor, arguments by place or by name, or what fits the first convolution."""
    model, x = MODELS["vit"](), images()
    found = sites(model, x)
    assert sites(model, (x,)) == found
    assert sites(model, {"pixel_values": x}) == found
    assert [site.name for site in sites(model)] == [site.name for site in found]
    small = sites(by_hand(), images(64))
    assert small[-1].input == (2, 16, 8, 8)
    unknown = sites(nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Sigmoid())))
    assert [(site.kind, site.input) for site in unknown] == [("squeeze", None)]
    wrong: Any = "model"
    with pytest.raises(TypeError, match="model must be a torch"):
        sites(wrong)


def test_what_did_not_run_is_listed_without_shapes() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.AdaptiveAvgPool2d(1), nn.MaxPool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    found = sites(Net(), normal(2, 4, 6, 6, dtype=torch.float32))
    assert [(site.name, site.input is None) for site in found] == [("used", False), ("spare", True)]


def test_the_model_is_left_as_it_was() -> None:
    model = by_hand()
    model.layer1.eval()
    before = [(name, module.training, id(module)) for name, module in model.named_modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    sites(model)
    assert before == [(name, module.training, id(module)) for name, module in model.named_modules()]
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())

    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.AdaptiveAvgPool2d(1)

        def forward(self, x: Tensor) -> Tensor:
            raise KeyError("nothing")

    broken = Broken()
    with pytest.raises(KeyError):
        sites(broken, images())
    assert broken.training
    assert not broken.pool._forward_hooks
