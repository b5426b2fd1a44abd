"""Another pooling in every architecture: the logits stay, the names stay, and the pooling is really there."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import polypool as pp
from polypool.explain import class_activation_map
from polypool.testing import check_pooling
from polypool.testing.suite import check_names
from polypool.vision import GlobalPool, sites, swap
from polypool.vision.surgery import SignedGeMPool
from tests.support import close, identical, normal
from tests.vision.architectures import MODELS, by_hand, images, logits, seeded, vit_with_pooler

#: Where each model pools in the end.
LAST = dict.fromkeys(MODELS, "global") | {"vit": "tokens", "siglip": "::mean"}
KEEPS = ("gem", "mean+max", "attention", "max+mean+std", "moments", "attentive_stats", "gated_attention")
WITH_SQUEEZE = ("by_hand", "regnet", "efficientnet")


def made(name: str) -> Any:
    model = MODELS[name]()
    if name == "siglip":
        # Its attention head runs for an output that the classifier does not read.
        model.vision_model.use_head = False
    return model


def pools_of(model: nn.Module) -> list[pp.Pooling]:
    return [module for module in model.modules() if isinstance(module, pp.Pooling)]


@pytest.mark.parametrize("pool", KEEPS)
@pytest.mark.parametrize("name", [name for name in MODELS if name != "vit"])
def test_the_logits_stay(name: str, pool: str) -> None:
    model = made(name)
    before, names = logits(model), set(model.state_dict())
    report = swap(model, pool, LAST[name], sample=images())
    assert report.keeps
    assert len(report.swapped) == 1
    close(logits(model), before, "logits")
    assert report.change is not None
    assert report.change < 1e-5
    assert names <= set(model.state_dict())


@pytest.mark.parametrize("name", ["vit", "vit_with_pooler"])
@pytest.mark.parametrize("pool", ["first+mean", "mean+first+attention"])
def test_a_token_is_read_as_before_beside_other_poolings(name: str, pool: str) -> None:
    model = MODELS[name]() if name in MODELS else vit_with_pooler()
    before = _answer(model)
    report = swap(model, pool, "tokens", sample=images())
    assert report.keeps
    assert report.swapped[0].widened == (("classifier",) if name == "vit" else ("pooler.dense",))
    close(_answer(model), before, "answer")


def _answer(model: nn.Module) -> Tensor:
    with torch.no_grad():
        out: Any = model.eval()(images())
    answer: Tensor = out.logits if hasattr(out, "logits") else out.pooler_output
    return answer


@pytest.mark.parametrize("pool", ["gem", "mean+std", "attention"])
@pytest.mark.parametrize("name", WITH_SQUEEZE)
def test_every_squeeze_has_a_pooling_of_its_own(name: str, pool: str) -> None:
    model = made(name)
    before = logits(model)
    report = swap(model, pool, "squeeze", sample=images())
    assert report.keeps
    close(logits(model), before, "logits")
    assert len({id(one) for one in pools_of(model)}) >= len(report.swapped)
    parameters = [id(p) for one in pools_of(model) for p in one.parameters()]
    assert len(parameters) == len(set(parameters))
    assert len(report.swapped) == (1 if name == "by_hand" else 2)


@pytest.mark.parametrize("name", MODELS)
def test_what_was_put_in_decides(name: str) -> None:
    """The pooling is no ornament: another exponent, or other scores, and the logits move."""
    model = made(name)
    before = logits(model)
    swap(model, "first+attention" if name == "vit" else "gem", LAST[name], sample=images())
    (pool,) = [one for one in pools_of(model) if not isinstance(one, pp.poolings.Concat)][-1:]
    with torch.no_grad():
        if name == "vit":
            model.classifier.weight[:, 16:] = 1.0
        else:
            assert isinstance(pool, SignedGeMPool)
            pool.p.fill_(8.0)
    assert (logits(model) - before).abs().max() > 1e-4


@pytest.mark.parametrize("name", WITH_SQUEEZE)
def test_what_was_put_into_a_squeeze_decides(name: str) -> None:
    model = made(name)
    seen: dict[str, list[Tensor]] = {"before": [], "after": []}
    swap(model, "gem", "squeeze", sample=images())
    pools = [module for module in model.modules() if isinstance(module, GlobalPool)]
    for key, p in (("before", 1.0), ("after", 4.0)):
        handles = [
            module.register_forward_hook(lambda m, a, out, key=key: seen[key].append(out)) for module in pools
        ]
        with torch.no_grad():
            for pool in pools_of(model):
                pool.get_parameter("p").fill_(p)
        logits(model)
        for handle in handles:
            handle.remove()
    assert len(seen["before"]) == len(pools) > 0
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(seen["before"], seen["after"], strict=True))


def test_negative_values_keep_their_mean() -> None:
    """`gem` by name keeps signs; as an operator with p = 1 it does not, and the report says so."""
    x = -normal(2, 4, 5, 5, dtype=torch.float32).abs()
    net: Any = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    wanted = net(x)
    report = swap(net, "gem", sample=x)
    assert report.keeps
    close(net(x), wanted, "result")
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    report = swap(net, pp.build("gem", p=1.0), sample=x)
    assert not report.keeps
    assert "1e-06" in report.swapped[0].note
    assert report.change is not None
    assert report.change > 0.1
    close(net(x.abs()), x.abs().mean((2, 3)), "values above 0")


@pytest.mark.slow
def test_the_signed_mean_keeps_all_of_the_contract() -> None:
    check_pooling(SignedGeMPool(p=2.5), level="quick")


def test_the_signed_mean_keeps_the_contract() -> None:
    slow = ("compile", "export", "same_on", "cell_size", "torch_func", "second", "deterministic")
    quick = [name for name in check_names("quick") if not name.startswith(slow)]
    check_pooling(SignedGeMPool(p=2.5), level="quick", only=quick)
    x = normal(2, 3, 4, 4).abs()
    close(SignedGeMPool(p=2.5).double()(x), pp.build("gem", p=2.5).double()(x), "values above 0")
    assert SignedGeMPool(channels=3)(x).shape == (2, 3)


@pytest.mark.parametrize(
    ("pool", "old"), [("max", nn.AdaptiveAvgPool2d(1)), ("mean", nn.AdaptiveMaxPool2d(1))]
)
def test_another_function_is_allowed_and_said(pool: str, old: nn.Module) -> None:
    x = normal(2, 4, 5, 5, dtype=torch.float32)
    net: Any = nn.Sequential(old, nn.Flatten())
    report = swap(net, pool, sample=x)
    assert not report.keeps
    assert "another function" in str(report)
    close(net(x), x.amax((2, 3)) if pool == "max" else x.mean((2, 3)), "result")


def test_the_part_that_was_there_keeps_its_columns() -> None:
    x = normal(2, 4, 5, 5, dtype=torch.float32)
    net: Any = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    weight, wanted = net[2].weight.detach().clone(), net(x)
    swap(net, "std+max+mean", sample=x)
    close(net(x), wanted, "result")
    identical(net[2].weight[:, 4:8].detach(), weight, "columns")
    assert not net[2].weight[:, :4].any()
    assert not net[2].weight[:, 8:].any()


def test_normalisations_and_convolutions_between_are_widened() -> None:
    x = normal(4, 4, 5, 5, dtype=torch.float32)
    torch.manual_seed(0)
    heads: list[nn.Module] = [
        nn.Sequential(nn.Conv2d(4, 6, 1), nn.Flatten(), nn.Linear(6, 3)),
        nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.ReLU(), nn.Linear(4, 3)),
        nn.Sequential(nn.Flatten(), nn.LayerNorm(4), nn.Linear(4, 3)),
        nn.Sequential(nn.Flatten(), nn.LayerNorm(4, elementwise_affine=False), nn.Linear(4, 3, bias=False)),
        nn.Sequential(nn.BatchNorm2d(4, affine=False), nn.Conv2d(4, 3, 1)),
    ]
    for head in heads:
        net: Any = nn.Sequential(nn.AdaptiveAvgPool2d(1), head)
        net.train()
        net(x)  # statistics of its own
        wanted = logits(net, x)
        swap(net, "max+mean+std", sample=x)
        close(logits(net, x), wanted, str(head))
        net.train()
        net(x).square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_asked_for_that_can_be_found_out(name: str) -> None:
    """Without a sample, random images that fit are made."""
    model = made(name)
    before = logits(model)
    report = swap(model, "first+max" if name == "vit" else "mean+max", LAST[name])
    assert report.keeps
    close(logits(model), before, "logits")


def test_without_a_run_the_modules_alone_are_known() -> None:
    net: Any = nn.Sequential(nn.Linear(3, 4), nn.Unflatten(1, (1, 4)), nn.AdaptiveAvgPool1d(1))
    report = swap(net, "gem")
    assert report.keeps
    assert report.change is None
    with pytest.raises(ValueError, match="did not run"):
        swap(nn.Sequential(nn.Linear(3, 4), nn.AdaptiveAvgPool1d(1)), "mean+max")


def test_shapes_and_memory_formats_stay() -> None:
    x = normal(2, 4, 5, 6, dtype=torch.float32)
    for given in (x, x.contiguous(memory_format=torch.channels_last), x[0]):
        for old in (nn.AdaptiveAvgPool2d(1), GlobalPool("mean", keepdim=False), nn.AdaptiveMaxPool2d((1, 1))):
            if given.dim() == 3 and isinstance(old, GlobalPool):
                continue
            net = nn.Sequential(copy.deepcopy(old))
            wanted = net(given)
            swap(net, "gem", sample=given)
            out = net(given)
            assert (out.shape, out.stride()) == (wanted.shape, wanted.stride())


def test_given_poolings_and_modules_are_copied() -> None:
    net: Any = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 4, 1), nn.MaxPool2d(2))
    x = normal(2, 4, 12, 12, dtype=torch.float32)
    given = pp.build("softmax", t=0.5, learn=True)
    swap(net, given, "down", sample=x)
    assert net[0].pool is not given
    assert net[0].pool.t is not net[2].pool.t
    assert net[0].pool.t.item() == 0.5
    net = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 4, 1), nn.MaxPool2d(2))
    module = nn.Sequential(nn.Conv2d(4, 4, 2, 2), nn.ReLU())
    report = swap(net, module, "down", sample=x)
    assert not report.keeps
    assert isinstance(net[0], nn.Sequential)
    assert net[0][0].weight is not net[2][0].weight


def test_a_function_makes_one_for_each_site() -> None:
    model = made("regnet")
    asked: list[str] = []

    def make(site: Any) -> nn.Module:
        asked.append(site.name)
        return pp.build("power", p=float(len(asked)), signed=True)

    report = swap(model, make, "squeeze", sample=images())
    assert [one.name for one in report.swapped] == asked
    assert [one.keeps for one in report.swapped] == [True, False]


def test_one_module_under_two_names_becomes_two() -> None:
    shared = nn.AdaptiveAvgPool2d(1)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = shared, shared

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) + self.b(x)

    net = Net()
    swap(net, "gem", sample=normal(1, 2, 3, 3, dtype=torch.float32))
    assert net.a is not net.b
    assert net.a.get_parameter("pool.p") is not net.b.get_parameter("pool.p")


@pytest.mark.parametrize("pool", ["gem", "mean+max", "attention"])
def test_our_own_blocks_and_poolings(pool: str) -> None:
    x = normal(2, 8, 5, 5, dtype=torch.float32)
    torch.manual_seed(0)
    net: Any = nn.Sequential(
        pp.blocks.SqueezeExcite(8, 2), pp.blocks.EffectiveSE(8), pp.build("mean"), nn.Linear(8, 3)
    )
    wanted = net(x)
    assert [site.kind for site in sites(net, x)] == ["squeeze", "squeeze", "global"]
    report = swap(net, pool, lambda site: True, sample=x)
    assert report.keeps
    close(net(x), wanted, "result")
    assert net[0].pool.card.name == report.swapped[0].new


def test_what_an_operator_has_learned_goes_on() -> None:
    x = normal(2, 8, 5, 5, dtype=torch.float32).abs()
    net: Any = nn.Sequential(GlobalPool(pp.build("gem", p=2.5), keepdim=False), nn.Linear(8, 3))
    learned, wanted = net[0].pool, net(x)
    report = swap(net, "gem+mean", sample=x)
    assert report.keeps
    assert net[0].pool.parts[0] is learned
    close(net(x), wanted, "result")


class TimmLike(nn.Module):
    """As timm writes it: the squeeze is a function."""

    def __init__(self, channels: int, functional: bool = False) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, 2, 1)
        self.bn = nn.Identity()
        self.act = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(2, channels, 1)
        self.gate = nn.Sigmoid()
        self.functional = functional

    def forward(self, x: Tensor) -> Tensor:
        scale = self.fc2(self.act(self.bn(self.fc1(x.mean((2, 3), keepdim=True)))))
        return x * (scale.sigmoid() if self.functional else self.gate(scale))


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("pool", ["gem", "mean+max", "attention"])
def test_a_squeeze_that_is_a_function(pool: str, functional: bool) -> None:
    x = normal(2, 4, 6, 6, dtype=torch.float32)
    torch.manual_seed(0)
    net: Any = nn.Sequential(TimmLike(4, functional), nn.Conv2d(4, 4, 1), TimmLike(4))
    names, wanted = set(net.state_dict()), net(x)
    weight = net[0].fc2.weight
    report = swap(net, pool, "squeeze", sample=x)
    assert report.keeps
    assert len(report.swapped) == 2
    close(net(x), wanted, "result")
    assert names <= set(net.state_dict())
    assert net[0].fc2.weight is weight
    assert [site.kind for site in sites(net, x)] == ["squeeze", "squeeze"]
    if pool == "gem":
        net[0].pool.pool.p.data.fill_(5.0)
        assert (net(x) - wanted).abs().max() > 1e-4


def test_dropout_stays_before_the_pooling() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.drop, self.fc = nn.Conv2d(3, 8, 3), nn.Dropout(0.5), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.drop(self.conv(x)).mean((2, 3)))

    model = seeded(Net())
    before = logits(model)
    report = swap(model, "gem", sample=images())
    assert report.swapped[0].note == "in drop.pool"
    close(logits(model), before, "logits")


class MobileLike(nn.Module):
    """As in torchvision's MobileNet: a function pools what a sequence of layers gives, the last of them in place."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU6(inplace=True))
        self.features = nn.Sequential(block, nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU6(inplace=True)))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(y, 1))


def test_a_function_behind_a_layer_that_works_in_place() -> None:
    model = seeded(MobileLike())
    before = logits(model)
    report = swap(model, "mean+max", sample=images())
    assert report.keeps
    assert report.swapped[0].note == "in features.1.1.pool"
    assert report.swapped[0].widened == ("classifier.1",)
    close(logits(model), before, "logits")


@pytest.mark.parametrize("pool", ["gem", "mean+max"])
@pytest.mark.parametrize("block", pp.blocks.names("grid"))
def test_every_block_takes_it_or_says_why_not(block: str, pool: str) -> None:
    x = normal(2, 16, 8, 8, dtype=torch.float32)
    net = seeded(nn.Sequential(nn.Conv2d(16, 16, 1), pp.blocks.build(block, 16), nn.Conv2d(16, 16, 1))).eval()
    wanted = net(x)
    found = [site for site in sites(net, x) if site.kind != "stride"]
    assert {site.kind for site in found} == {"squeeze"}
    for site in found:
        report, refused = None, ""
        try:
            report = swap(net, pool, site.name, sample=x)
        except ValueError as error:
            refused = str(error)
        if report is None:
            assert "cannot be widened" in refused or "does not take this pooling" in refused
            assert pool == "mean+max" or "+" in site.operator
            identical(net(x), wanted, site.name)
        elif report.keeps:
            close(net(x), wanted, site.name)
        else:
            wanted = net(x)


def test_several_poolings_get_one_more() -> None:
    x = normal(2, 4, 5, 5, dtype=torch.float32)
    learned = pp.build("concat", pools=[pp.build("gem", p=2.0), pp.build("max")])
    net: Any = nn.Sequential(GlobalPool(learned, keepdim=False), nn.Linear(8, 3))
    wanted, part = net(x), net[0].pool.pools[0]
    report = swap(net, "std+gem+max+mean", sample=x)
    assert report.keeps
    assert net[1].in_features == 16
    assert net[0].pool.parts[1] is part
    close(net(x), wanted, "result")
    with pytest.raises(ValueError, match="gives 16 channels and would give 4"):
        swap(net, "mean", sample=x)


@pytest.mark.parametrize("name", ["by_hand", "convnext", "vit"])
def test_copies_and_states(name: str) -> None:
    """A swapped model is copied, pickled and saved like any other."""
    model = made(name)
    where, pool = (LAST[name], "first+attention") if name == "vit" else (LAST[name], "mean+attention")
    swap(model, pool, where, sample=images())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    wanted = logits(model)
    identical(logits(copy.deepcopy(model)), wanted, "deepcopy")
    identical(logits(pickle.loads(pickle.dumps(model))), wanted, "pickle")
    other = made(name)
    swap(other, pool, where, sample=images())
    other.load_state_dict(model.state_dict())
    identical(logits(other), wanted, "state_dict")


@pytest.mark.parametrize("name", ["by_hand", "convnext"])
def test_compiled_and_exported(name: str) -> None:
    model = made(name).eval()
    swap(model, "mean+gem", sample=images())
    wanted = logits(model)
    torch.compiler.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        close(said(compiled(images())), wanted, "compiled")
    batch = {"x" if name == "by_hand" else "pixel_values": {0: torch.export.Dim("B", min=1, max=64)}}
    exported = torch.export.export(model, (images(),), dynamic_shapes=batch).module()
    close(said(exported(images())), wanted, "exported")
    more = torch.cat([images(), images(seed=1), images(seed=2)])
    close(said(exported(more)), logits(model, more), "exported, a larger batch")


def said(out: Any) -> Tensor:
    found: Tensor = getattr(out, "logits", out)
    return found


@pytest.mark.parametrize("pool", ["gem", "mean+max", "attention", "max"])
@pytest.mark.parametrize("name", ["by_hand", "resnet", "regnet", "efficientnet", "convnext", "siglip"])
def test_maps_still_sum_to_the_logit(name: str, pool: str) -> None:
    """ConvNeXt normalises between; there the scale of the normalisation is held."""
    model = made(name).eval()
    swap(model, pool, LAST[name], sample=images())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.05)
    found = class_activation_map(model, images(), 1, method="frozen" if name == "convnext" else "exact")
    total = found.values.flatten(1).sum(1) + found.outside + found.bias
    close(total, logits(model)[:, 1], "sum of the map")
    assert found.error.abs().max() < 1e-5
    assert found.values.abs().max() > 1e-3


def test_the_maps_of_tokens_too() -> None:
    model = made("vit").eval()
    swap(model, "first+mean", "tokens", sample=images())
    model.classifier.weight.data.add_(0.1)
    found = class_activation_map(model, images(), 1)
    close(found.values.flatten(1).sum(1) + found.outside + found.bias, logits(model)[:, 1], "sum")
    assert found.values.shape == (2, 4, 4)
    assert found.values.abs().max() > 1e-4


def test_half_precision_and_double() -> None:
    for dtype in (torch.float64, torch.bfloat16):
        model = by_hand().to(dtype)
        x = images().to(dtype)
        before = logits(model, x)
        assert swap(model, "gem", "global", sample=x).keeps
        assert swap(model, "mean+max", "squeeze", sample=x).keeps
        assert {p.dtype for p in model.parameters()} == {dtype}
        close(logits(model, x), before, str(dtype))


def test_modes_and_randomness_are_left_alone() -> None:
    model = by_hand()
    model.layer1.eval()
    state = torch.random.get_rng_state()
    running = model.bn1.running_mean.clone()
    swap(model, "gem", "global")
    assert model.avgpool.training
    assert model.training
    assert not model.layer1[0].training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(model.bn1.running_mean, running)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(p.grad is None for p in model.parameters())
