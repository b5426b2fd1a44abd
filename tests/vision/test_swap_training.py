"""A swapped model trains: what an optimizer holds afterwards, and that the new parameters move."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polypool.vision import GlobalPool, insert_se, swap
from tests.support import close, identical, normal
from tests.vision.architectures import MODELS, by_hand, images


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model.train()
    out = model(images())
    logits: Tensor = getattr(out, "logits", out)
    optimizer.zero_grad()
    nn.functional.cross_entropy(logits, torch.tensor([1, 3])).backward()
    optimizer.step()


def held(optimizer: torch.optim.Optimizer) -> list[int]:
    return [id(p) for group in optimizer.param_groups for p in group["params"]]


def group_of(optimizer: torch.optim.Optimizer, parameter: Any) -> int:
    (place,) = [
        i for i, group in enumerate(optimizer.param_groups) if any(p is parameter for p in group["params"])
    ]
    return place


@pytest.mark.parametrize("pool", ["gem", "mean+attention", "attentive_stats"])
@pytest.mark.parametrize("name", ["by_hand", "regnet", "efficientnet", "convnext"])
def test_a_step_after_the_swap_changes_the_new_parameters(name: str, pool: str) -> None:
    model = MODELS[name]()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    step(model, optimizer)
    old = {id(p) for p in model.parameters()}
    where = ["global", "squeeze"] if name in ("by_hand", "regnet", "efficientnet") else "global"
    swap(model, pool, where, optimizer, sample=images())
    now = [p for p in model.parameters() if p.requires_grad]
    assert sorted(held(optimizer)) == sorted(map(id, now))
    new = {key: p.detach().clone() for key, p in model.named_parameters() if id(p) not in old}
    assert new
    for _ in range(3):
        step(model, optimizer)
    moved = {key for key, before in new.items() if not torch.equal(model.get_parameter(key), before)}
    assert moved == set(new)


def test_the_state_of_a_widened_layer_is_kept() -> None:
    model = by_hand()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    step(model, optimizer)
    old = model.fc.weight
    before = {key: value.clone() for key, value in optimizer.state[old].items()}
    place = next(i for i, p in enumerate(optimizer.param_groups[0]["params"]) if p is old)
    swap(model, "max+mean", "global", optimizer, sample=images())
    new = model.fc.weight
    assert optimizer.param_groups[0]["params"][place] is new
    assert old not in optimizer.state
    after = optimizer.state[new]
    identical(after["exp_avg"][:, 16:], before["exp_avg"], "first moment")
    identical(after["exp_avg_sq"][:, 16:], before["exp_avg_sq"], "second moment")
    assert not after["exp_avg"][:, :16].any()
    assert after["step"] == before["step"] == 1


def test_training_goes_on_as_if_nothing_had_happened() -> None:
    """With columns that begin at 0 and stay out, the old columns are trained as before."""
    one, other = by_hand().double(), by_hand().double()
    x = images().double()
    optimizers = [torch.optim.Adam(model.parameters(), lr=0.01) for model in (one, other)]
    for model, optimizer in zip((one, other), optimizers, strict=True):
        model(x).square().sum().backward()
        optimizer.step()
    swap(one, "mean+max", "global", optimizers[0], sample=x)
    assert one.fc.weight.grad is not None
    assert not one.fc.weight.grad[:, 16:].any()
    for model, optimizer in zip((one, other), optimizers, strict=True):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    close(one.fc.weight[:, :16], other.fc.weight, "old columns")
    assert one.fc.weight[:, 16:].any()


def test_new_parameters_join_the_group_of_their_neighbours() -> None:
    model = by_hand()
    head = list(model.fc.parameters())
    body = [p for p in model.parameters() if all(p is not one for one in head)]
    optimizer = torch.optim.AdamW(
        [{"params": body, "lr": 1e-4}, {"params": head, "lr": 1e-2}], weight_decay=0.1
    )
    swap(model, "mean+attention", "global", optimizer, sample=images())
    assert group_of(optimizer, model.avgpool.pool.pools[1].score.weight) == 1
    swap(model, "gem", "squeeze", optimizer, sample=images())
    p = model.layer1[1].avgpool.pool.p
    group = optimizer.param_groups[group_of(optimizer, p)]
    assert (group["lr"], group["weight_decay"]) == (1e-4, 0.0)  # decay would pull an exponent to 0
    swap(model, "blur", "stride", optimizer, sample=images())
    amounts = [model.conv1.blur.amount, model.layer2[0].conv1.blur.amount]
    assert len({group_of(optimizer, amount) for amount in [p, *amounts]}) == 1
    assert len(optimizer.param_groups) == 3
    names = insert_se(model, "layer?.0.bn2", optimizer=optimizer, sample=images(), reduction=4)
    for name in names:
        block = model.get_submodule(name)
        assert group_of(optimizer, block.squeeze.weight) == 0
        assert group_of(optimizer, block.squeeze.bias) == 2
    step(model, optimizer)


def test_named_parameters_keep_their_names() -> None:
    net = nn.Sequential(GlobalPool("attention", channels=4, keepdim=False), nn.Linear(4, 2))
    x = normal(2, 4, 5, 5, dtype=torch.float32)
    optimizer = torch.optim.AdamW(net.named_parameters(), weight_decay=0.1)
    swap(net, "mean", "global", optimizer, sample=x)
    assert optimizer.param_groups[0]["param_names"] == ["1.weight", "1.bias"]
    swap(net, "gem+attention", "global", optimizer, sample=x)
    named = {
        name: p
        for group in optimizer.param_groups
        for name, p in zip(group["param_names"], group["params"], strict=True)
    }
    assert {name: id(p) for name, p in named.items()} == {name: id(p) for name, p in net.named_parameters()}
    assert len(optimizer.param_groups) == 2


class OneGroup(torch.optim.SGD):
    """An optimizer that takes no more groups."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        if self.param_groups:
            raise NotImplementedError("one group, and no more")
        super().add_param_group(param_group)


def test_an_optimizer_that_refuses_changes_nothing() -> None:
    net: Any = nn.Sequential(GlobalPool("attention", channels=4, keepdim=False), nn.Linear(4, 2))
    x = normal(2, 4, 5, 5, dtype=torch.float32)
    optimizer = OneGroup(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    net(x).sum().backward()
    optimizer.step()
    before, wanted = held(optimizer), net(x)
    state = {id(p): value["momentum_buffer"] for p, value in optimizer.state.items()}
    with pytest.raises(NotImplementedError, match="one group"):
        swap(net, "max+gem", "global", optimizer, sample=x)
    assert held(optimizer) == before == [id(p) for p in net.parameters()]
    assert {id(p): value["momentum_buffer"] for p, value in optimizer.state.items()} == state
    assert net[1].in_features == 4
    identical(net(x), wanted, "result")


def test_without_decay_they_share_the_group() -> None:
    model = by_hand()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    swap(model, "gem", "global", optimizer, sample=images())
    assert group_of(optimizer, model.avgpool.pool.p) == 0
    assert len(optimizer.param_groups) == 1


def test_a_frozen_model_gets_a_group_for_what_is_new() -> None:
    model = by_hand().requires_grad_(False)
    model.fc.requires_grad_(True)
    optimizer = torch.optim.Adam([model.fc.bias], lr=0.1)
    swap(model, "gem", "squeeze", optimizer, sample=images())
    assert group_of(optimizer, model.layer1[1].avgpool.pool.p) == 0
    model.fc.weight.requires_grad_(False)
    report = swap(model, "mean+max", "global", optimizer, sample=images())
    assert "frozen" in report.swapped[0].note
    assert not model.fc.weight.requires_grad


def test_what_is_gone_leaves() -> None:
    net: Any = nn.Sequential(GlobalPool("attention", channels=4, keepdim=False), nn.Linear(4, 2))
    x = normal(2, 4, 5, 5, dtype=torch.float32)
    gone = net[0].pool.score.weight
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(x).sum().backward()
    optimizer.step()
    swap(net, "mean", "global", optimizer, sample=x)
    assert id(gone) not in held(optimizer)
    assert gone not in optimizer.state
    assert sorted(held(optimizer)) == sorted(id(p) for p in net.parameters())


def test_an_optimizer_of_another_model() -> None:
    model = by_hand()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="optimizer must have parameters of the model; found none"):
        swap(model, "gem", "global", torch.optim.SGD(by_hand().parameters()))
    wrong: Any = "adam"
    with pytest.raises(TypeError, match=r"optimizer must be a torch\.optim\.Optimizer; found str"):
        insert_se(model, "conv1", optimizer=wrong, sample=images())
    assert before.keys() == model.state_dict().keys()


def test_a_pooling_learns_to_be_the_maximum() -> None:
    """The task tells them apart by their largest pixel; the exponent that began at the mean grows."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(256, 1, 6, 6, generator=generator)
    target = x.amax((1, 2, 3))
    net: Any = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    swap(net, "gem", sample=x)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.3)
    pool = net[0].pool
    for _ in range(60):
        optimizer.zero_grad()
        (net(x)[:, 0] - target).square().mean().backward()
        optimizer.step()
    assert pool.p.item() > 5
