"""Changes of a model that can be taken back, and what they mean for an optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

#: How a tensor in the shape of an old parameter becomes one in the shape of the new.
Grow = Callable[[Tensor], Tensor]
#: What groups of an optimizer have for each parameter.
NAMED = {"params", "param_names"}


@dataclass(eq=False)
class Edits:
    """What was changed in a model.

    Args:
        model: The model.
    """

    model: nn.Module
    undo: list[Callable[[], None]] = field(default_factory=list)
    grown: list[tuple[nn.Parameter, nn.Parameter, Grow]] = field(default_factory=list)
    #: What reads the new parameters, or stands where they were put; by their ids.
    near: dict[int, list[nn.Parameter]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.before = list(self.model.parameters())

    def replace(self, name: str, new: nn.Module) -> None:
        """Puts a module in the place of another."""
        parent, _, key = name.rpartition(".")
        holder = self.model.get_submodule(parent)
        old = holder._modules[key]
        new.train(old.training if old is not None else holder.training)
        holder._modules[key] = new
        self.undo.append(lambda: holder._modules.__setitem__(key, old))

    def add(self, holder: nn.Module, key: str, new: nn.Module) -> None:
        """Puts a module into another, under a new name."""
        new.train(holder.training)
        holder.add_module(key, new)
        self.undo.append(lambda: holder._modules.__delitem__(key))

    def hook(self, handle: Any) -> None:
        """Remembers a hook."""
        self.undo.append(handle.remove)

    def set(self, module: nn.Module, attribute: str, value: object) -> None:
        """Sets an attribute that is no parameter, buffer or module."""
        old = getattr(module, attribute)
        setattr(module, attribute, value)
        self.undo.append(lambda: setattr(module, attribute, old))

    def grow(self, module: nn.Module, key: str, by: Grow) -> None:
        """Makes a parameter or a buffer larger; its gradient too."""
        if key in module._parameters:
            old = module._parameters[key]
            if old is None:
                return
            new = nn.Parameter(by(old.detach()), requires_grad=old.requires_grad)
            if old.grad is not None:
                new.grad = by(old.grad)
            module._parameters[key] = new
            self.grown.append((old, new, by))
            self.undo.append(lambda: module._parameters.__setitem__(key, old))
        else:
            buffer = module._buffers[key]
            if buffer is None:
                return
            module._buffers[key] = by(buffer)
            self.undo.append(lambda: module._buffers.__setitem__(key, buffer))

    def stand_near(self, new: nn.Module, neighbours: Iterable[nn.Parameter]) -> None:
        """Says whose group in an optimizer the parameters of a new module belong to."""
        listed = list(neighbours)
        for parameter in new.parameters():
            self.near.setdefault(id(parameter), []).extend(listed)

    def take_back(self) -> None:
        """Undoes everything, the last change first."""
        while self.undo:
            self.undo.pop()()

    def tell(self, optimizer: Optimizer) -> None:
        """Brings an optimizer up to date: grown parameters keep their state, removed ones leave, new ones join.

        It is as before when it refuses a group.
        """
        groups = [
            (group, {key: list(group[key]) for key in NAMED & group.keys()})
            for group in optimizer.param_groups
        ]
        state = dict(optimizer.state)
        try:
            self._tell(optimizer)
        except BaseException:
            optimizer.param_groups[:] = [group for group, _ in groups]
            for group, lists in groups:
                for key, kept in lists.items():
                    group[key][:] = kept
            optimizer.state.clear()
            optimizer.state.update(state)
            raise

    def _tell(self, optimizer: Optimizer) -> None:
        named = list(self.model.named_parameters())
        now = [parameter for _, parameter in named]
        there, replaced = {id(p) for p in now}, {id(old) for old, _, _ in self.grown}
        known = {id(p) for p in self.before} | {id(new) for _, new, _ in self.grown}
        for old, new, by in self.grown:
            _exchange(optimizer, old, new, by)
        for parameter in self.before:
            if id(parameter) not in there and id(parameter) not in replaced:
                _leave(optimizer, parameter)
        stand_ins = {id(old): new for old, new, _ in self.grown}
        for place, (name, parameter) in enumerate(named):
            if id(parameter) not in known:
                around = [*reversed(now[:place]), *now[place + 1 :]]
                near = [stand_ins.get(id(p), p) for p in self.near.get(id(parameter), [])]
                _join(optimizer, name, parameter, [*near, *around])


def _group(optimizer: Optimizer, parameter: Tensor) -> dict[str, Any] | None:
    for group in optimizer.param_groups:
        if any(one is parameter for one in group["params"]):
            return group
    return None


def _exchange(optimizer: Optimizer, old: nn.Parameter, new: nn.Parameter, by: Grow) -> None:
    group = _group(optimizer, old)
    if group is None:
        return
    place = next(i for i, one in enumerate(group["params"]) if one is old)
    group["params"][place] = new
    state = optimizer.state.pop(old, None)
    if state is not None:
        optimizer.state[new] = {
            key: by(value) if isinstance(value, Tensor) and value.shape == old.shape else value
            for key, value in state.items()
        }


def _leave(optimizer: Optimizer, parameter: nn.Parameter) -> None:
    group = _group(optimizer, parameter)
    if group is not None:
        place = next(i for i, one in enumerate(group["params"]) if one is parameter)
        for key in NAMED & group.keys():
            del group[key][place]
        optimizer.state.pop(parameter, None)


def _join(optimizer: Optimizer, name: str, parameter: nn.Parameter, near: Iterable[Tensor]) -> None:
    """Into the group of the first of these that the optimizer has; exponents and constants without weight decay."""
    group = next((group for one in near if (group := _group(optimizer, one)) is not None), None)
    settings = {} if group is None else {key: value for key, value in group.items() if key not in NAMED}
    if parameter.dim() <= 1 and settings.get("weight_decay"):
        # Decay would pull an exponent to 0, where there is no such mean.
        settings["weight_decay"] = 0.0
        group = next((other for other in optimizer.param_groups if _has(other, settings)), None)
    if group is not None:
        group["params"].append(parameter)
        if "param_names" in group:
            group["param_names"].append(name)
        return
    names = any("param_names" in other for other in optimizer.param_groups)
    optimizer.add_param_group({"params": [(name, parameter) if names else parameter], **settings})


def _has(group: dict[str, Any], settings: dict[str, Any]) -> bool:
    return all(key in group and _same(group[key], value) for key, value in settings.items())


def _same(a: Any, b: Any) -> bool:
    return bool(torch.equal(a, b)) if isinstance(a, Tensor) and isinstance(b, Tensor) else bool(a == b)
