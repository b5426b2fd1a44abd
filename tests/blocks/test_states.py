"""Weights of timm, torchvision and transformers load, and give what their modules give."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import polypool as pp
from polypool.testing.tolerances import Tolerance
from tests.support import close, normal

PARITY = Tolerance(1e-6, 1e-6)
C = 16


def x(channels: int = C) -> Tensor:
    return normal(2, channels, 7, 6, dtype=torch.float32)


def drawn(module: nn.Module) -> nn.Module:
    """Every number of a module drawn, running statistics too; in evaluation."""
    source = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(0.2 + 0.5 * torch.rand(tensor.shape, generator=source))
    return module.eval()


def pair(inputs: int, hidden: int, outputs: int, bias: bool = True) -> dict[str, nn.Module]:
    return {"fc1": nn.Conv2d(inputs, hidden, 1, bias=bias), "fc2": nn.Conv2d(hidden, outputs, 1, bias=bias)}


# What the modules of timm hold, under their names, and their equations.


def se(m: Any, x: Tensor) -> Tensor:
    return x * m.fc2(m.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


def effective_se(m: Any, x: Tensor) -> Tensor:
    return x * F.hardsigmoid(m.fc(x.mean((2, 3), keepdim=True)))


def eca(m: Any, x: Tensor) -> Tensor:
    return x * m.conv(x.mean((2, 3))[:, None]).sigmoid().transpose(1, 2)[..., None]


def cbam(m: Any, x: Tensor) -> Tensor:
    both = [x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)]
    y = x * sum(m.channel.fc2(m.channel.fc1(v).relu()) for v in both).sigmoid()
    spatial = m.spatial["conv"]
    return y * spatial["bn"](spatial["conv"](torch.cat([y.mean(1, True), y.amax(1, True)], 1))).sigmoid()


def context_mlp(mlp: Any, c: Tensor) -> Tensor:
    hidden = F.layer_norm(mlp.fc1(c).flatten(1), mlp.norm.weight.shape, mlp.norm.weight, mlp.norm.bias, 1e-6)
    return mlp.fc2(hidden.relu()[:, :, None, None])


def global_context(m: Any, x: Tensor) -> Tensor:
    if hasattr(m, "conv_attn"):
        share = m.conv_attn(x).flatten(2).softmax(-1)
        context = (x.flatten(2) * share).sum(-1)[:, :, None, None]
    else:
        context = x.mean((2, 3), keepdim=True)
    y = x * context_mlp(m.mlp_scale, context).sigmoid() if hasattr(m, "mlp_scale") else x
    return y + context_mlp(m.mlp_add, context) if hasattr(m, "mlp_add") else y


class Holder(nn.Module):
    """Modules under given names."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


def mlp() -> nn.Module:
    return Holder(**pair(C, 4, C), norm=nn.LayerNorm(4))


WRITTEN: dict[str, tuple[type[pp.blocks.Block], Callable[[], nn.Module], Callable[[Any, Tensor], Tensor]]] = {
    "SEModule": (pp.blocks.SqueezeExcite, lambda: Holder(**pair(C, 4, C)), se),
    "SEModule-no-bias": (pp.blocks.SqueezeExcite, lambda: Holder(**pair(C, 4, C, bias=False)), se),
    "EffectiveSEModule": (pp.blocks.EffectiveSE, lambda: Holder(fc=nn.Conv2d(C, C, 1)), effective_se),
    "EcaModule": (
        pp.blocks.ECA,
        lambda: Holder(conv=nn.Conv1d(1, 1, 5, padding=2, bias=False)),
        eca,
    ),
    "CbamModule": (
        pp.blocks.CBAM,
        lambda: Holder(
            channel=Holder(**pair(C, 4, C, bias=False)),
            spatial=nn.ModuleDict(
                {
                    "conv": nn.ModuleDict(
                        {"conv": nn.Conv2d(2, 1, 5, padding=2, bias=False), "bn": nn.BatchNorm2d(1)}
                    )
                }
            ),
        ),
        cbam,
    ),
    "GlobalContext": (
        pp.blocks.GlobalContext,
        lambda: Holder(conv_attn=nn.Conv2d(C, 1, 1), mlp_scale=mlp()),
        global_context,
    ),
    "GlobalContext-add": (
        pp.blocks.GlobalContext,
        lambda: Holder(conv_attn=nn.Conv2d(C, 1, 1), mlp_add=mlp(), mlp_scale=mlp()),
        global_context,
    ),
    "GlobalContext-mean": (pp.blocks.GlobalContext, lambda: Holder(mlp_add=mlp()), global_context),
}


def told(cls: type[pp.blocks.Block]) -> dict[str, Any]:
    """What tensors do not tell: a convolution over channels serves any number."""
    return {"channels": C} if cls is pp.blocks.ECA else {}


@pytest.mark.parametrize("name", WRITTEN)
def test_names_and_shapes_of_timm(name: str) -> None:
    cls, make, equation = WRITTEN[name]
    theirs = drawn(make())
    state = theirs.state_dict()
    block = cls.from_state_dict(state, **told(cls)).eval()
    close(block(x()), equation(theirs, x()), name, PARITY)
    inside = {f"layers.3.{key}": value for key, value in state.items()} | {"head.weight": torch.ones(3)}
    again = cls.from_state_dict(inside, prefix="layers.3.", **told(cls)).eval()
    close(again(x()), block(x()), "one layer of a model", PARITY)
    # Into a block that is there, which is given back.
    target = cls.from_state_dict(
        {key: torch.zeros_like(value) for key, value in state.items()}, **told(cls)
    ).eval()
    assert pp.blocks.load_state(target, state) is target
    close(target(x()), block(x()), "loaded", PARITY)
    assert cls.from_state_dict(theirs.double().state_dict(), **told(cls))(x().double()).dtype == torch.float64


# The settings with which timm's own modules are what is written out above.
OF_TIMM: dict[str, tuple[str, dict[str, Any]]] = {
    "SEModule": ("SEModule", {"rd_channels": 4}),
    "EffectiveSEModule": ("EffectiveSEModule", {}),
    "EcaModule": ("EcaModule", {}),
    "CbamModule": ("CbamModule", {"rd_channels": 4, "spatial_kernel_size": 5}),
    "GlobalContext": ("GlobalContext", {"rd_channels": 4}),
    "GlobalContext-add": ("GlobalContext", {"rd_channels": 4, "fuse_add": True}),
    "GlobalContext-mean": (
        "GlobalContext",
        {"rd_channels": 4, "use_attn": False, "fuse_add": True, "fuse_scale": False},
    ),
}


def importable(package: str) -> str | None:
    """Why a package cannot be used; None when it can."""
    if find_spec(package) is None:
        return f"{package} is not installed"
    try:
        import_module(package)
    except (ImportError, RuntimeError) as error:  # a torchvision that was built for another torch
        return f"{package} does not import here: {error}"
    return None


@pytest.mark.parametrize("name", OF_TIMM)
def test_the_modules_of_timm(name: str) -> None:
    if why := importable("timm"):
        pytest.skip(why)
    module, settings = OF_TIMM[name]
    theirs = drawn(getattr(import_module("timm.layers"), module)(C, **settings))
    cls = WRITTEN[name][0]
    block = cls.from_state_dict(theirs.state_dict(), **told(cls)).eval()
    close(block(x()), theirs(x()), name, PARITY)


def test_the_module_of_torchvision() -> None:
    if why := importable("torchvision"):
        pytest.skip(why)
    theirs = drawn(import_module("torchvision.ops").SqueezeExcitation(C, 4))
    block = pp.blocks.SqueezeExcite.from_state_dict(theirs.state_dict())
    close(block(x()), theirs(x()), "torchvision", PARITY)


def test_the_layer_of_regnet() -> None:
    transformers = import_module("transformers.models.regnet.modeling_regnet")
    theirs = drawn(transformers.RegNetSELayer(C, 4))
    block = pp.blocks.SqueezeExcite.from_state_dict(theirs.state_dict())
    close(block(x()), theirs(x()), "RegNet", PARITY)


def test_the_layer_of_efficientnet() -> None:
    """Its activation is the swish, which the names of the tensors tell."""
    transformers = import_module("transformers.models.efficientnet.modeling_efficientnet")
    from transformers import EfficientNetConfig

    theirs = drawn(transformers.EfficientNetSqueezeExciteLayer(EfficientNetConfig(), C, 4 * C, expand=True))
    block = pp.blocks.SqueezeExcite.from_state_dict(theirs.state_dict())
    assert isinstance(block.act, nn.SiLU)
    close(block(x(4 * C)), theirs(x(4 * C)), "EfficientNet", PARITY)


def timm_se() -> dict[str, Tensor]:
    return drawn(Holder(**pair(C, 4, C))).state_dict()


def test_another_pooling_keeps_its_parameters() -> None:
    """The names of other libraries have no pooling: what ours has learned stays."""
    block = pp.blocks.SqueezeExcite(C, 4, pool="gem")
    pp.blocks.load_state(block, timm_se())
    assert block.state_dict()["pool.p"].item() == 3.0
    other = pp.blocks.SqueezeExcite.from_state_dict(timm_se(), pool=pp.build("quantile", q=0.9), gate="tanh")
    close(
        other(x()),
        x() * other.excite(other.squeeze(other.pool(x())).relu()).tanh()[:, :, None, None],
        "settings",
        PARITY,
    )


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (
            lambda s: s | {"bn.weight": torch.ones(4)},
            ValueError,
            "names that begin with pool, squeeze, excite",
        ),
        (lambda s: {k: v for k, v in s.items() if k != "fc2.bias"}, ValueError, "it lacks excite.bias"),
        (lambda s: s | {"fc1.weight": torch.ones(5, C, 1, 1)}, ValueError, "squeeze.weight must have shape"),
        (lambda s: s | {"fc1.weight": torch.ones(4, C, 3, 3)}, ValueError, "squeeze.weight must have shape"),
        (
            lambda s: s | {"fc1.other": torch.ones(4)},
            ValueError,
            "it has squeeze.other, which the block has not",
        ),
        (lambda s: s | {"fc1.weight": [1.0]}, TypeError, "found list under 'fc1.weight'"),
        (lambda s: "weights.bin", TypeError, "state must map names to tensors; found str. Read a file with"),
        (lambda s: {}, ValueError, "it lacks squeeze.weight"),
    ],
)
def test_what_does_not_fit_is_not_half_loaded(change: Any, error: type[Exception], text: str) -> None:
    block = pp.blocks.SqueezeExcite(C, 4)
    before = {key: value.clone() for key, value in block.state_dict().items()}
    with pytest.raises(error) as caught:
        pp.blocks.load_state(block, change(timm_se()))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    for key, value in block.state_dict().items():
        assert torch.equal(value, before[key])


def test_what_tensors_do_not_tell() -> None:
    with pytest.raises(ValueError, match="channels must be given: the tensors of ECA do not tell"):
        pp.blocks.ECA.from_state_dict({"conv.weight": torch.ones(1, 1, 3)})
    with pytest.raises(ValueError, match="state must hold all tensors of SqueezeExcite as timm SEModule"):
        pp.blocks.SqueezeExcite.from_state_dict({"fc1.weight": torch.ones(4, C, 1, 1)})
    with pytest.raises(ValueError, match=r"begin with 'layers.7\.'; found 'fc1.weight'"):
        pp.blocks.SqueezeExcite.from_state_dict(timm_se(), prefix="layers.7.")
    with pytest.raises(NotImplementedError, match="GatherExcite cannot tell its settings from tensors"):
        pp.blocks.GatherExcite.from_state_dict(pp.blocks.GatherExcite(C, 2, extra_params=True).state_dict())
    with pytest.raises(TypeError, match=r"block must be a block of polypool.blocks; found Linear"):
        pp.blocks.load_state(nn.Linear(2, 2), {})  # type: ignore[type-var]
