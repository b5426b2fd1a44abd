"""What `swap` refuses: in one clear line, and with nothing changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import polypool as pp
from polypool.vision import BlurPool, insert_se, swap
from tests.support import identical, normal
from tests.vision.architectures import MODELS, by_hand, images, logits

X = normal(2, 4, 6, 6, dtype=torch.float32)


class Tied(nn.Module):
    """Two heads with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.a, self.b = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        y = self.pool(x).flatten(1)
        return self.a(y) + self.b(y)


class Cosine(nn.Module):
    """A head that is no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.weight = nn.AdaptiveAvgPool2d(1), nn.Parameter(torch.ones(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(self.pool(x).flatten(1)) @ self.weight.t()


class Sized(nn.Module):
    """A forward that knows how many channels there are."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(x).view(-1, 4))


class Twice(nn.Module):
    """What is averaged is an output too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(4, 4, 1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x)
        return self.fc(y.mean((2, 3))), y


def parametrized() -> nn.Module:
    head = torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def simple(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*copy.deepcopy(layers))


GAP = nn.AdaptiveAvgPool2d(1)
WRONG: dict[str, tuple[Callable[[], nn.Module], Any, Any, tuple[str, ...]]] = {
    "features": (
        simple(nn.Conv2d(4, 4, 1), GAP, nn.Flatten()),
        "mean+max",
        "global",
        ("1 gives 4 channels and would give 8", "it is an output of the model", "keeps the channels"),
    ),
    "tied": (Tied, "mean+max", "global", ("the weight of a is shared: a.weight and b.weight are one",)),
    "no layer": (Cosine, "mean+max", "global", ("normalize reads it, which is neither a linear layer",)),
    "sized": (Sized, "mean+max", "global", ("the model does not take this pooling", "Nothing was changed")),
    "read twice": (
        Twice,
        "gem",
        "global",
        ("::mean cannot be swapped", "function in the forward of Twice", "GlobalPool"),
    ),
    "parametrized": (parametrized, "mean+max", "global", ("computes its weight from others",)),
    "fewer": (
        simple(GAP, nn.Flatten(), nn.Linear(4, 3)),
        lambda site: Fewer(),
        "global",
        ("gives 4 channels and would give 1", "nothing is made narrower"),
    ),
    "channels": (
        simple(GAP, nn.Flatten()),
        pp.build("attention", channels=7),
        "global",
        ("pool must be built for the 4 channels of 0; found one for 7",),
    ),
    "indices": (
        simple(nn.MaxPool2d(2, return_indices=True)),
        "gem",
        "0",
        ("0 cannot be swapped: it gives indices too",),
    ),
    "divisor": (simple(nn.AvgPool2d(2, divisor_override=3)), "gem", "0", ("divisor_override",)),
    "random": (simple(nn.FractionalMaxPool2d(2, 3)), "gem", "down", ("its windows are random",)),
    "ceil": (simple(nn.MaxPool2d(2, ceil_mode=True)), "blur", "down", ("ceil_mode",)),
    "convolution": (simple(nn.Conv2d(4, 4, 2, 2)), "gem", "stride", ('pool="blur" puts a blur behind it',)),
    "blur of all": (simple(GAP), "blur", "global", ("a blur takes the place of windows with a stride",)),
    "blurred": (simple(BlurPool(3)), "gem", "down", ("it samples already without aliasing",)),
    "root": (lambda: nn.AdaptiveAvgPool2d(1), "gem", "global", ("it is the model itself",)),
    "eca": (
        simple(pp.blocks.ECA(4), nn.Conv2d(4, 4, 1)),
        "mean+max",
        "squeeze",
        ("0.pool gives 4 channels and would give 8", "cannot be widened"),
    ),
    "unknown": (simple(GAP), "gemm", "global", ("no pooling is named 'gemm'", "Did you mean 'gem'")),
    "module": (simple(GAP, nn.Flatten(), nn.Linear(4, 3)), nn.Conv2d(4, 8, 6), "global", ("does not take",)),
    "features of a module": (
        simple(nn.Conv2d(4, 4, 1), GAP),
        nn.Conv2d(4, 8, 6),
        "global",
        ("gives (2, 8, 1, 1) where it gave (2, 4, 1, 1)",),
    ),
}


class Fewer(pp.Pooling):
    """The mean of the first channel."""

    def reduce(self, cells: pp.Cells) -> Tensor:
        return cells.mean(cells.rows)[..., :1]

    def out_channels(self, in_channels: int) -> int:
        return 1


@pytest.mark.parametrize("case", WRONG)
def test_one_line_and_nothing_changed(case: str) -> None:
    make, pool, where, says = WRONG[case]
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1) if list(model.parameters()) else None
    before = _picture(model)
    with pytest.raises(ValueError, match=r".") as caught:
        swap(model, pool, where, optimizer, sample=X)
    message = str(caught.value)
    assert "\n" not in message
    for part in says:
        assert part in message, message
    assert _picture(model) == before
    if optimizer is not None:
        assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in model.parameters()]


def _picture(model: nn.Module) -> list[Any]:
    modules = [(name, id(module), repr(module)) for name, module in model.named_modules()]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    return [modules, hooks, [(name, id(p)) for name, p in model.named_parameters()]]


def test_the_last_of_several_fails_and_the_first_are_put_back() -> None:
    net = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(4, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    before, wanted = _picture(net), net(X)
    pool = pp.build("attention", channels=4)
    with pytest.raises(ValueError, match="6 channels of 2; found one for 4"):
        swap(net, pool, ["down", "global"], sample=X)
    assert _picture(net) == before
    identical(net(X), wanted, "result")


def test_where_lists_the_sites() -> None:
    model = by_hand()
    for where in ("poool", "layer1.*.nothing", ["avgpool", "nothing"], lambda site: False, "tokens"):
        with pytest.raises(ValueError, match="where must") as caught:
            swap(model, "gem", where, sample=images())
        for name in ("conv1 (stride, convolution)", "maxpool (down, max)", "avgpool (global, mean)"):
            assert name in str(caught.value)
    with pytest.raises(ValueError, match="The model has no site"):
        swap(nn.Sequential(nn.Linear(3, 3)), "gem")
    wrong: Any
    for wrong in (3, None, [], [3]):
        with pytest.raises(TypeError, match="where must be a kind"):
            swap(model, "gem", wrong, sample=images())


def test_where_picks() -> None:
    def picked(where: Any) -> list[str]:
        report = swap(by_hand(), "blur", where, sample=images())
        return [one.name for one in report.swapped]

    assert picked("stride") == ["conv1", "layer2.0.conv1", "layer2.0.downsample.0"]
    assert picked("maxpool") == ["maxpool"]
    assert picked("layer2.**") == ["layer2.0.conv1", "layer2.0.downsample.0"]
    assert picked("layer2.*.conv?") == ["layer2.0.conv1"]
    assert picked("conv*") == ["conv1"]
    assert picked("*downsample*") == ["layer2.0.downsample.0"]  # a star goes over dots where it has to
    assert picked(["maxpool", "stride", "maxpool"])[:2] == ["conv1", "maxpool"]
    assert picked(lambda site: "unread" in " ".join(site.risks)) == ["layer2.0.downsample.0"]


def test_what_a_pattern_fits_and_cannot_be_swapped_is_reported() -> None:
    report = swap(by_hand(), "gem", "**", sample=images())
    assert [one.name for one in report.swapped] == ["maxpool", "layer1.1.avgpool", "avgpool"]
    assert [site.name for site in report.skipped] == ["conv1", "layer2.0.conv1", "layer2.0.downsample.0"]


def test_wrong_types() -> None:
    wrong: Any = "resnet"
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module; found str"):
        swap(wrong, "gem")
    for wrong in (3, None):
        with pytest.raises(TypeError, match="pool must be a name, a pooling, a module or a function"):
            swap(by_hand(), wrong, sample=images())
    by_name: Any = lambda site: "gem"  # noqa: E731
    with pytest.raises(TypeError, match="pool must make a module for avgpool; found str"):
        swap(by_hand(), by_name, "avgpool", sample=images())


def test_the_attention_head_is_listed_and_left_alone() -> None:
    model = MODELS["siglip"]()
    with pytest.raises(ValueError, match=r"vision_model\.head::attention cannot be swapped: its query"):
        swap(model, "gem", "tokens", sample=images())
    before = logits(model)
    with pytest.raises(ValueError, match=r"vision_model\.head.* reads the same map.*switch it off"):
        swap(model, "mean+max", "global", sample=images())
    identical(logits(model), before, "logits")


def test_compile_and_wrap_afterwards() -> None:
    compiled: Any = torch.compile(by_hand())
    for act in (lambda: swap(compiled, "gem"), lambda: insert_se(nn.Sequential(compiled), "0")):
        with pytest.raises(ValueError, match=r"found OptimizedModule in it.*compile or wrap it afterwards"):
            act()


def test_a_pooling_that_has_to_know_the_channels() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.AdaptiveAvgPool1d(1))
    with pytest.raises(TypeError, match=r"attention needs channels.*Pass a sample on which 1 runs"):
        swap(net, "attention")


def test_a_sample_that_does_not_fit_is_the_user_s_error() -> None:
    with pytest.raises(RuntimeError, match="channels"):
        swap(by_hand(), "gem", sample=normal(2, 5, 32, 32, dtype=torch.float32))
    with pytest.raises(ValueError, match="sample must be given"):
        insert_se(nn.Sequential(nn.Linear(3, 3)), "0")
