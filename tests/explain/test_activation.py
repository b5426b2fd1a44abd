"""Maps of whole models: that they sum to the logit, what is refused and why, and that nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import polypool as pp
from polypool.explain import ActivationMap, NotExplained, class_activation_map, contributions
from tests.explain.models import CHANNELS, CLASSES, LINEAR, REFUSED, Headed, body, transformer
from tests.support import Tolerance, close, normal

SINGLE = Tolerance(1e-5, 1e-5)


def image(*shape: int) -> Tensor:
    return normal(*(shape or (2, 3, 16, 12)), dtype=torch.float32)


def logits_of(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        result = model.eval()(x)
    found: Tensor = getattr(result, "logits", result)
    return found


def adds_up(found: ActivationMap, logits: Tensor) -> None:
    """The map, what lies outside it and the bias make the logit, and the error is small."""
    rows = torch.arange(len(logits))
    close(found.logit, logits[rows, found.target], "logit")
    total = found.values.flatten(1).sum(1) + found.outside
    close(total, found.score, "sum", SINGLE)
    close(found.bias + found.score, found.logit, "bias and score", SINGLE)
    assert found.error.abs().max() <= 1e-5 * found.score.abs().max().clamp(min=1)


def last_bias(model: nn.Module) -> Tensor:
    found = [
        m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d) and m.weight.shape[0] == CLASSES
    ]
    bias: Tensor | None = found[-1].bias
    return torch.zeros(CLASSES) if bias is None else bias.detach()


@pytest.mark.parametrize("head", LINEAR)
def test_linear_heads(head: str) -> None:
    model, x = LINEAR[head](), image()
    found = class_activation_map(model, x)
    logits = logits_of(model, x)
    assert found.values.shape == (2, 8, 6)
    assert torch.equal(found.target, logits.argmax(1))
    adds_up(found, logits)
    close(found.outside, torch.zeros(2))
    if head not in (
        "pooled class maps",
        "two linear layers",
        "batch normalisation",
        "matrix product",
        "a sum inside the head",
    ):
        close(found.bias, last_bias(model)[found.target], "bias", SINGLE)


@pytest.mark.parametrize("head", REFUSED)
def test_other_heads_are_refused_with_the_reason(head: str) -> None:
    make, reason = REFUSED[head]
    with pytest.raises(NotExplained, match=reason):
        class_activation_map(make(), image())


def test_the_map_is_what_contributions_gives() -> None:
    model, x = LINEAR["Pooling"]().eval(), image()
    found = class_activation_map(model, x, target=3)
    features, fc = model[0](x), model[2]  # type: ignore[index]
    alone = contributions(pp.build("mean+max+std"), pp.Grid(features), fc.weight[3])
    close(found.values, alone.values)
    close(found.score, alone.score)


@pytest.mark.parametrize("name", ["resnet", "regnet", "efficientnet", "mobilenet", "swin"])
def test_convolutional_models(name: str) -> None:
    model, x = transformer(name), image(2, 3, 64, 48)
    found = class_activation_map(model, x)
    adds_up(found, logits_of(model, x))
    close(found.bias, last_bias(model)[found.target], "bias", SINGLE)
    height, width = found.values.shape[1:]
    assert 64 // height in (8, 32)
    assert height >= width


def test_vision_transformers() -> None:
    """A mean of the patches; and beside it the class token, which is on no place of the image."""
    x = image(2, 3, 64, 64)
    for name in ("siglip", "dinov2", "dinov2 with registers"):
        model = transformer(name)
        found = class_activation_map(model, x)
        assert found.values.shape == (2, 4, 4)
        adds_up(found, logits_of(model, x))
        close(found.bias, last_bias(model)[found.target], "bias", SINGLE)
        assert (found.outside == 0).all() == (name == "siglip")


def test_a_vision_transformer_that_reads_its_class_token() -> None:
    model, x = transformer("vit"), image(2, 3, 64, 48)
    with pytest.raises(NotExplained, match="the head reads 1 of 13 positions alone"):
        class_activation_map(model, x)
    found = class_activation_map(model, x, method="gradient", layer="vit.layers.0")
    assert found.values.shape == (2, 4, 3)
    assert found.method == "gradient"
    close(found.values.flatten(1).sum(1) + found.outside + found.error, found.score, tolerance=SINGLE)


@pytest.mark.parametrize("name", ["convnext", "beit"])
def test_a_normalisation_before_the_head_can_be_held(name: str) -> None:
    model, x = transformer(name), image(2, 3, 64, 64)
    with pytest.raises(NotExplained, match=r'layer_norm stands .* method="frozen"'):
        class_activation_map(model, x)
    found = class_activation_map(model, x, method="frozen")
    adds_up(found, logits_of(model, x))
    # Its bias is the head's, and what the head makes of the normalisation's.
    norm = [m for m in model.modules() if isinstance(m, nn.LayerNorm)][-1]
    head: nn.Linear = model.classifier  # type: ignore[assignment]
    close(found.bias, (head.bias + head.weight @ norm.bias)[found.target].detach(), "bias", SINGLE)


@pytest.mark.parametrize("norm", [F.rms_norm, F.layer_norm, lambda x, shape: F.normalize(x, dim=-1)])
def test_every_held_normalisation_gives_the_same_logits(norm: Callable[..., Tensor]) -> None:
    model, x = Headed(lambda m, x: m.fc(norm(x.mean((2, 3)), (CHANNELS,)))), image()
    adds_up(class_activation_map(model, x, method="frozen"), logits_of(model, x))


class Patches(nn.Module):
    """A transformer in miniature: patches, prefix tokens, a mean over some or all of them."""

    def __init__(self, prefix: int, skip: int, conv: bool = True) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.cut = nn.Conv2d(3, CHANNELS, 4, stride=4) if conv else nn.Linear(48, CHANNELS)
        self.prefix = nn.Parameter(torch.randn(1, prefix, CHANNELS))
        self.norm, self.fc, self.skip = nn.LayerNorm(CHANNELS), nn.Linear(CHANNELS, CLASSES), skip

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.cut, nn.Conv2d):
            patches = self.cut(x).flatten(2).transpose(1, 2)
        else:
            patches = self.cut(F.unfold(x, 4, stride=4).transpose(1, 2))
        tokens = self.norm(torch.cat([self.prefix.expand(len(x), -1, -1), patches], 1))
        return self.fc(tokens[:, self.skip :].mean(1))


@pytest.mark.parametrize("conv", [True, False])
@pytest.mark.parametrize(("prefix", "skip"), [(0, 0), (1, 1), (1, 0), (5, 5), (5, 1), (5, 0)])
def test_prefix_tokens_and_grids_that_are_not_square(prefix: int, skip: int, conv: bool) -> None:
    model, x = Patches(prefix, skip, conv), image(2, 3, 16, 28)
    found = class_activation_map(model, x)
    assert found.values.shape == (2, 4, 7)
    adds_up(found, logits_of(model, x))
    assert (found.outside == 0).all() == (prefix == skip)
    # The last place of the map is the last patch.
    moved = x.clone()
    moved[:, :, 12:, 24:] += 1
    other = class_activation_map(model, moved, target=found.target)
    changed = (other.values - found.values).abs() > 1e-7
    assert changed[:, 3, 6].all()
    assert changed.sum() == 2


def test_the_places_of_tokens_can_be_named() -> None:
    model, x = Patches(3, 0, conv=False), image(1, 3, 16, 28)
    assert class_activation_map(model, x, grid=(4, 7)).values.shape == (1, 4, 7)
    with pytest.raises(ValueError, match=r"grid must have at most 31 places, one per token; found \(8, 8\)"):
        class_activation_map(model, x, grid=(8, 8))
    with pytest.raises(ValueError, match=r"grid must be \(8, 6\), the size of the map; found \(4, 7\)"):
        class_activation_map(LINEAR["mean"](), image(), grid=(4, 7))


def test_targets() -> None:
    model, x = LINEAR["mean"](), image()
    one = class_activation_map(model, x, target=2)
    assert one.target.tolist() == [2, 2]
    both = class_activation_map(model, x, target=torch.tensor([2, 4]))
    close(both.values[0], one.values[0])
    for target, message in (
        (5, r"target must be in \[0, 5\) \(the classes\); found 5"),
        (-1, "target must be >= 0; found -1"),
        (torch.tensor([1]), r"target must have shape \(B,\) = \(2,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            class_activation_map(model, x, target=target)
    with pytest.raises(TypeError, match="target must be an int; found str"):
        class_activation_map(model, x, target="cat")  # type: ignore[arg-type]


def test_one_image_and_batches_are_the_same() -> None:
    model, x = LINEAR["Pooling by attention"](), image()
    both = class_activation_map(model, x, target=1)
    for row in range(2):
        alone = class_activation_map(model, x[row], target=1)
        close(alone.values[0], both.values[row])


def test_layers() -> None:
    model, x = LINEAR["mean"](), image()
    plain = class_activation_map(model, x)
    assert plain.layer == "body"
    named = class_activation_map(model, x, layer="body.5")
    assert named.layer == "body.5"
    close(named.values, plain.values)
    with pytest.raises(NotExplained, match=r"the head does not pool the output of 'body.2' but that of body"):
        class_activation_map(model, x, layer="body.2")
    with pytest.raises(
        ValueError, match=r"layer must name a module of the model; found 'bod'. Did you mean 'body'"
    ):
        class_activation_map(model, x, layer="bod")
    early = class_activation_map(model, x, layer="body.2", method="gradient")
    close(early.values.sum((1, 2)) + early.error, early.score, tolerance=SINGLE)
    model.spare = nn.Linear(1, 1)
    with pytest.raises(NotExplained, match="the layer 'spare' gave no tensor"):
        class_activation_map(model, x, layer="spare", method="gradient")


def test_one_of_several_maps() -> None:
    model, x = REFUSED["maps of two sizes"][0](), image()
    found = class_activation_map(model, x, layer="body")
    adds_up(found, logits_of(model, x))
    assert (found.outside != 0).all()
    close(found.bias, last_bias(model)[found.target], "bias", SINGLE)


def test_the_gradient_by_name() -> None:
    """Exact where the whole head is of degree one after its bias, such as GeM written by hand; honest elsewhere."""
    x = image()
    gem = REFUSED["GeM by hand"][0]()
    found = class_activation_map(gem, x, method="gradient")
    close(found.bias, last_bias(gem)[found.target])
    assert found.error.abs().max() < 1e-4
    assert found.layer == "body"
    two = class_activation_map(REFUSED["two layers"][0](), x, method="gradient")
    close(two.values.sum((1, 2)) + two.error, two.score, tolerance=SINGLE)
    with pytest.raises(NotExplained, match=r"no pooling of a whole map leads to the logits. Name a layer"):
        class_activation_map(REFUSED["flattened"][0](), x, method="gradient")
    with pytest.raises(ValueError, match="method must be one of exact, frozen, gradient; found 'relu'"):
        class_activation_map(gem, x, method="relu")  # type: ignore[arg-type]


def test_channels_last_features_by_gradient() -> None:
    model = Headed(
        lambda m, x: m.fc(m.last(x.permute(0, 2, 3, 1)).relu().mean((1, 2)).tanh()),
        last=nn.Linear(CHANNELS, CHANNELS),
    )
    assert class_activation_map(model, image(), layer="last", method="gradient").values.shape == (2, 8, 6)


def test_volumes() -> None:
    model = nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, CLASSES)
    )
    x = image(2, 1, 5, 6, 7)
    found = class_activation_map(model, x)
    assert found.values.shape == (2, 3, 4, 5)
    adds_up(found, logits_of(model, x))


def test_arguments_of_another_kind() -> None:
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module; found function"):
        class_activation_map(lambda x: x, image())  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"image must have shape \(C, H, W\) or \(B, C, H, W\); found \(2, 3\)"
    ):
        class_activation_map(LINEAR["mean"](), image(2, 3))


def test_half_precision() -> None:
    model, x = LINEAR["mean"]().to(torch.bfloat16), image().to(torch.bfloat16)
    found = class_activation_map(model, x)
    assert found.values.dtype == torch.float32
    close(found.values.sum((1, 2)) + found.error, found.score, tolerance=SINGLE)


class Breaks(Exception):
    pass


class Fragile(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise Breaks


def state(model: nn.Module) -> list[Any]:
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    flags = [p.requires_grad for p in model.parameters()]
    grads = [p.grad for p in model.parameters()]
    tensors = [t.clone() for t in (*model.parameters(), *model.buffers())]
    return [hooks, [m.training for m in model.modules()], flags, [id(g) for g in grads], tensors]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("method", ["exact", "frozen", "gradient"])
def test_the_model_is_left_as_it_was(method: str, fails: bool) -> None:
    parts = [body(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, CLASSES)]
    model: Any = nn.Sequential(*parts).train()
    model[0][1].eval()  # a frozen normalisation inside a model in training
    model[3].bias.requires_grad_(False)
    model[3].weight.grad = torch.ones_like(model[3].weight)
    if fails:
        model.append(Fragile())
    before, x = state(model), image()
    if fails:
        with pytest.raises(Breaks):
            class_activation_map(model, x, method=method)  # type: ignore[arg-type]
    else:
        class_activation_map(model, x, method=method)  # type: ignore[arg-type]
    after = state(model)
    assert before[:4] == after[:4]
    assert all(torch.equal(a, b) for a, b in zip(before[4], after[4], strict=True))
    assert x.grad is None
    assert not x.requires_grad
    assert (model[3].weight.grad == 1).all()


def test_frozen_models_and_callers_without_gradients() -> None:
    model, x = LINEAR["Pooling"](), image()
    expected = class_activation_map(model, x, target=1)
    model.requires_grad_(False)
    with torch.no_grad():
        close(class_activation_map(model, x, target=1).values, expected.values)
    with torch.inference_mode():
        inside = class_activation_map(model, x * 1, target=1)
    close(inside.values, expected.values)
    assert not inside.values.requires_grad


class Doubled(torch.autograd.Function):
    """Code that torch cannot look into."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return torch.from_numpy(2 * x.detach().numpy())

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        return 2 * grad


class Hidden(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = Doubled.apply(x)
        return found


def test_code_that_cannot_be_looked_into() -> None:
    x, after = image(), [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, CLASSES)]
    inside = nn.Sequential(body(), Hidden(), *after)
    adds_up(class_activation_map(inside, x), logits_of(inside, x))
    behind = nn.Sequential(body(), *after, Hidden())
    with pytest.raises(NotExplained, match="the head is not linear: Hidden"):
        class_activation_map(behind, x)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, CHANNELS, 3), nn.Linear(CHANNELS, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.conv(x).relu().mean((2, 3)))
        return out


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_compiled_exported_and_scripted_models() -> None:
    model, x = Small().eval(), image()
    expected = class_activation_map(model, x)
    close(class_activation_map(torch.compile(model, backend="eager"), x).values, expected.values)  # type: ignore[arg-type]
    close(class_activation_map(torch.export.export(model, (x,)).module(), x).values, expected.values)
    with pytest.raises(NotExplained, match="cannot be followed: a compiled or scripted model hides it"):
        class_activation_map(torch.jit.trace(model, x), x)
    torch.compiler.reset()
