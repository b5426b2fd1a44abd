"""Blocks by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from polypool.blocks.block import Block
from polypool.blocks.card import BlockCard
from polypool.card import summary
from polypool.catalogue import Catalogue
from polypool.layouts import KINDS

_blocks = Catalogue("block", Block)

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
    _blocks.require_plain((name, *others))

    def decorate(cls: B) -> B:
        _blocks.require_free(cls, (name, *others))
        cls.card = BlockCard(name, summary(cls), cls.layouts, ({}, *variants), source)
        _blocks.add(name, cls, {alias: {} for alias in others})
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
        name for name, cls in _blocks.classes.items() if layout is None or layout in cls.card.layouts
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
    cls, preset = _blocks.lookup(name)
    return _blocks.make(name, cls, {"channels": channels} | preset | settings)


def lookup(name: str) -> type[Block]:
    """The class of a name or an alias.

    Raises:
        TypeError: The name is no string.
        ValueError: The name is unknown.
    """
    return _blocks.lookup(name)[0]
