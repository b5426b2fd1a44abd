"""Blocks by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from inspect import getdoc
from typing import Any, TypeVar

from polypool.blocks.block import Block
from polypool.blocks.card import BlockCard
from polypool.layouts import KINDS

_classes: dict[str, type[Block]] = {}
_aliases: dict[str, str] = {}

B = TypeVar("B", bound=type[Block])


def register(
    name: str,
    *,
    source: str = "",
    variants: Iterable[Mapping[str, Any]] = (),
    aliases: Iterable[str] = (),
) -> Callable[[B], B]:
    """Gives a block class a name and its card. It must be built by `cls(channels)` alone.

    Args:
        name: Lower case, digits and underscores.
        source: Authors, year and equation.
        variants: Settings that make it run in another way, for the tests; the defaults are always among them.
        aliases: Other names.

    Raises:
        TypeError: What is decorated is not a `Block` class.
        ValueError: The name is taken by another class or is not a plain name.
    """
    others = tuple(aliases)
    for each in (name, *others):
        if not each.isascii() or not each.isidentifier() or each != each.lower():
            raise ValueError(f"a name must be lower case letters, digits and underscores; found {each!r}.")

    def decorate(cls: B) -> B:
        given: object = cls
        if not (inspect.isclass(given) and issubclass(given, Block)):
            raise TypeError(f"register decorates a class derived from Block; found {cls!r}.")
        for taken in (name, *others):
            owner = _classes.get(_aliases.get(taken, taken))
            # The same class again is a module that was reloaded, or a cell of a notebook run twice.
            if owner is not None and (owner.__module__, owner.__qualname__) != (
                cls.__module__,
                cls.__qualname__,
            ):
                raise ValueError(f"the name {taken!r} is taken by {owner.__module__}.{owner.__qualname__}.")
        summary = (getdoc(cls) or "").strip().split("\n\n")[0].replace("\n", " ")
        cls.card = BlockCard(name, summary, cls.layouts, ({}, *variants), source)
        _classes[name] = cls
        _aliases.update(dict.fromkeys(others, name))
        return cls

    return decorate


def names(layout: str | None = None) -> tuple[str, ...]:
    """The registered names, sorted; with the name of a layout only those that run on it.

    Example:
        >>> from polypool.blocks.registry import names
        >>> "cbam" in names(), "cbam" in names("tokens")
        (True, False)
    """
    if layout is not None and layout not in KINDS:
        raise ValueError(f"no layout is named {layout!r}. There are: {', '.join(KINDS)}.")
    return tuple(
        sorted(name for name, cls in _classes.items() if layout is None or layout in cls.card.layouts)
    )


def card(name: str) -> BlockCard:
    """The card of a registered name."""
    return lookup(name).card


def build(name: str, channels: int, **settings: Any) -> Block:
    """Builds a block by name.

    Args:
        name: A registered name or an alias: `"squeeze_excite"` or `"se"`.
        channels: The channels of the values.
        **settings: What the class of the block takes.

    Raises:
        TypeError: A setting is unknown.
        ValueError: The name is unknown, or a setting has a wrong value.

    Example:
        >>> import torch, polypool as pp
        >>> pp.blocks.build("eca", 32, pool="max")(torch.randn(2, 32, 8, 8)).shape
        torch.Size([2, 32, 8, 8])
    """
    cls = lookup(name)
    accepted = [key for key in inspect.signature(cls).parameters if key != "channels"]
    unknown = sorted(set(settings) - set(accepted))
    if unknown:
        raise TypeError(
            f"{name} has no setting {', '.join(map(repr, unknown))}; its settings are: {', '.join(accepted)}."
        )
    return cls(channels, **settings)


def lookup(name: str) -> type[Block]:
    """The class of a name or an alias.

    Raises:
        TypeError: The name is no string.
        ValueError: The name is unknown.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a str; found {type(name).__name__}.")
    target = _aliases.get(name, name)
    if target not in _classes:
        close = get_close_matches(name, [*_classes, *_aliases], n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"no block is named {name!r}.{hint} There are: {', '.join(names())}.")
    return _classes[target]
