"""Modules that run before or behind another one, as its child: no name of the model changes."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from polypool.layouts import Tokens
from polypool.pooling import Pooling
from polypool.vision.surgery.edits import Edits


class Then:
    """A forward hook: the output goes through a child of the module. Copied and pickled with the module.

    Args:
        child: The name of the child.
    """

    def __init__(self, child: str) -> None:
        self.child = child

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        return getattr(module, self.child)(output)


class Before:
    """A forward pre-hook: the first argument goes through a child of the module.

    Args:
        child: The name of the child.
    """

    def __init__(self, child: str) -> None:
        self.child = child

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (getattr(module, self.child)(args[0]), *args[1:])


class TokenPool(nn.Module):
    """Pools the tokens of each row and keeps the dimension: `(B, T, C)` to `(B, 1, C_out)`.

    What then reads one token, or the mean of all, reads the pooled vector.

    Args:
        pool: The pooling.
    """

    def __init__(self, pool: Pooling) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(Tokens(x)).unsqueeze(1)


def attach(edits: Edits, module: nn.Module, key: str, new: nn.Module, before: bool = False) -> str:
    """Lets a module run behind (or before) another one; returns the name of the child that it becomes."""
    name = free(module, key)
    edits.add(module, name, new)
    if isinstance(module, nn.Sequential) and not before:
        return name  # runs its children in a row
    if before:
        edits.hook(module.register_forward_pre_hook(Before(name)))
    else:
        edits.hook(module.register_forward_hook(Then(name)))
    return name


def free(module: nn.Module, key: str) -> str:
    """The name, with a number behind it if the module has something of that name."""
    name, number = key, 1
    while hasattr(module, name):
        number += 1
        name = f"{key}_{number}"
    return name
