"""Squeeze-and-Excitation in models that have none: nothing changes at first, and then it learns."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

import polypool as pp
from polypool.vision import insert_se, sites, swap
from tests.support import identical, normal
from tests.vision.architectures import MODELS, by_hand, images, logits

AFTER = {
    "by_hand": "layer*.*.bn2",
    "resnet": "resnet.encoder.stages.*.layers.*",
    "regnet": ["regnet.encoder.stages.0", "regnet.encoder.stages.1"],
    "efficientnet": "efficientnet.encoder.blocks.*",
    "convnext": "convnext.encoder.stages.*.layers.*.dwconv",
    "vit": "vit.embeddings.patch_embeddings.projection",
    "siglip": "vision_model.embeddings.patch_embedding",
}


@pytest.mark.parametrize("pool", ["mean", "mean+max", "attention"])
@pytest.mark.parametrize("name", AFTER)
def test_it_begins_as_the_identity(name: str, pool: str) -> None:
    """To the bit, and with all names of the model kept."""
    model = MODELS[name]()
    before, names = logits(model), set(model.state_dict())
    blocks = insert_se(model, AFTER[name], pool, sample=images(), reduction=4)
    assert blocks
    identical(logits(model), before, "logits")
    assert names <= set(model.state_dict())
    assert all(isinstance(model.get_submodule(block), pp.blocks.SqueezeExcite) for block in blocks)
    assert len({id(model.get_submodule(block).pool) for block in blocks}) == len(blocks)
    for block in blocks:
        bias = model.get_submodule(block).get_parameter("excite.bias")
        bias.data.copy_(torch.linspace(-2, 2, bias.shape[0]))  # a normalisation would undo one factor for all
    assert (logits(model) - before).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["by_hand", "convnext"])
def test_it_learns(name: str) -> None:
    model = MODELS[name]()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    blocks = insert_se(model, AFTER[name], "mean+std", optimizer, sample=images(), reduction=2)
    before = {
        f"{block}.{key}": p.detach().clone()
        for block in blocks
        for key, p in model.get_submodule(block).named_parameters()
    }
    model.train()
    for _ in range(4):
        out = model(images())
        optimizer.zero_grad()
        nn.functional.cross_entropy(getattr(out, "logits", out), torch.tensor([0, 4])).backward()
        optimizer.step()
    still = {key for key, value in before.items() if torch.equal(model.get_parameter(key), value)}
    assert not still
    assert len(before) == 4 * len(blocks)


def test_in_a_sequence_it_is_the_next_child() -> None:
    model = by_hand()
    assert insert_se(model, "layer?", sample=images(), reduction=4) == ("layer1.se", "layer2.se")
    assert list(dict(model.layer1.named_children())) == ["0", "1", "se"]
    assert not model.layer1._forward_hooks
    assert insert_se(model, "layer1", sample=images(), reduction=4) == ("layer1.se_2",)


def test_where() -> None:
    def put(after: Any) -> tuple[str, ...]:
        return insert_se(by_hand(), after, sample=images(), reduction=4)

    assert put("conv1") == ("conv1.se",)
    assert put(["layer2", "bn1"]) == ("bn1.se", "layer2.se")
    assert put("**.bn2") == ("layer1.0.bn2.se", "layer2.0.bn2.se")
    assert put(lambda name, module: isinstance(module, nn.MaxPool2d)) == ("maxpool.se",)


def test_bad_input() -> None:
    model = by_hand()
    before = [(name, id(module)) for name, module in model.named_modules()]
    with pytest.raises(
        ValueError, match=r"after must fit a module that runs; found 'layer9'.*maxpool, layer1"
    ):
        insert_se(model, "layer9", sample=images())
    with pytest.raises(ValueError, match=r"after must be True for a module; found none"):
        insert_se(model, lambda name, module: False, sample=images())
    with pytest.raises(ValueError, match=r"fc gives a tensor \(2, 5\)"):
        insert_se(model, "fc", sample=images())
    with pytest.raises(ValueError, match="reduction must leave at least one of 8 channels; found 16"):
        insert_se(model, "layer*.0", sample=images())
    with pytest.raises(TypeError, match="squeeze_excite has no setting 'reductoin'"):
        insert_se(model, "layer1", sample=images(), reductoin=4)
    wrong: Any
    for wrong in (3, [], [3], None):
        with pytest.raises(TypeError, match="after must be a name"):
            insert_se(model, wrong, sample=images())
    with pytest.raises(ValueError, match="pool must be built for channels = 16; found one for 8"):
        insert_se(model, "layer?", pp.build("attention", channels=8), sample=images(), reduction=4)
    wrong = nn.ReLU()
    with pytest.raises(TypeError, match="pool must be a name or a Pooling"):
        insert_se(model, "layer1", wrong, sample=images(), reduction=4)
    assert before == [(name, id(module)) for name, module in model.named_modules()]
    assert not any(module._forward_hooks for module in model.modules())


def test_another_gate_gives_the_identity_up() -> None:
    model = by_hand()
    before = logits(model)
    insert_se(model, "layer1", sample=images(), reduction=4, gate="sigmoid")
    assert (logits(model) - before).abs().max() > 1e-3


def test_volumes_memory_formats_and_dtypes() -> None:
    net: Any = nn.Sequential(nn.Conv3d(2, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten()).double()
    x = normal(2, 2, 5, 6, 7)
    before = net(x)
    insert_se(net, "1", sample=x, reduction=2)
    identical(net(x), before, "volume")
    assert {p.dtype for p in net.parameters()} == {torch.float64}
    flat = nn.Sequential(nn.Conv2d(3, 8, 3))
    y = images().contiguous(memory_format=torch.channels_last)
    stride = flat(y).stride()
    insert_se(flat, "0", sample=y, reduction=2)
    assert flat(y).stride() == stride


def test_it_is_found_swapped_copied_and_compiled() -> None:
    model = by_hand().eval()
    insert_se(model, "layer*.*.bn2", sample=images(), reduction=4)
    kinds = [site.kind for site in sites(model, images())]
    assert kinds.count("squeeze") == 3
    before = logits(model)
    swap(model, "mean+max", "**.se.pool", sample=images())
    identical(logits(model), before, "swapped")
    identical(logits(copy.deepcopy(model)), before, "copied")
    identical(logits(pickle.loads(pickle.dumps(model))), before, "pickled")
    torch.compiler.reset()
    with torch.no_grad():
        out = torch.compile(model, backend="eager", fullgraph=True)(images())
    identical(out, before, "compiled")
    identical(torch.export.export(model, (images(),)).module()(images()), before, "exported")
