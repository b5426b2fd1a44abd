"""Selects by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, TypeVar

from polypool.card import summary
from polypool.catalogue import Catalogue
from polypool.graph.select.base import Select, SelectCard

_selects = Catalogue("select", Select)

S = TypeVar("S", bound=type[Select])


def register(
    name: str,
    kind: Literal["drop", "partition", "overlap", "soft"],
    *,
    learnable: bool = False,
    losses: tuple[str, ...] = (),
    source: str = "",
) -> Callable[[S], S]:
    """Gives a select class a name and its card.

    Args:
        name: The name for `build`.
        kind: `"drop"`, `"partition"`, `"overlap"` or `"soft"`, as on the card.
        learnable: Whether it can have parameters.
        losses: The names of its losses.
        source: Authors and year.

    Raises:
        TypeError: What is decorated is not a `Select` class.
        ValueError: The name is taken by another class or is not a plain name.
    """
    _selects.require_plain([name])

    def decorate(cls: S) -> S:
        _selects.require_free(cls, [name])
        cls.card = replace(
            SelectCard(name, kind), learnable=learnable, losses=losses, source=source, summary=summary(cls)
        )
        _selects.add(name, cls, {})
        return cls

    return decorate


def build(name: str, **settings: Any) -> Select:
    """Builds a select by name.

    Args:
        name: One of `names()`.
        **settings: What its class takes. `channels` is always accepted; selects with parameters need it.

    Raises:
        TypeError: A setting is unknown or missing.
        ValueError: The name is unknown, or a setting has a wrong value.

    Example:
        >>> from polypool.graph import select
        >>> select.build("top_k", channels=16, ratio=0.25).card.kind
        'drop'
    """
    cls, preset = _selects.lookup(name)
    return _selects.make(name, cls, preset | settings)


def names() -> tuple[str, ...]:
    """The registered names, sorted.

    Example:
        >>> from polypool.graph import select
        >>> "k_mis" in select.names()
        True
    """
    return tuple(_selects.classes)


def settings(name: str) -> tuple[str, ...]:
    """The names of the settings of a registered select.

    Example:
        >>> from polypool.graph import select
        >>> select.settings("top_k")
        ('channels', 'ratio', 'gate')
    """
    return tuple(_selects.settings_of(_selects.lookup(name)[0]))


def card(name: str) -> SelectCard:
    """The card of a registered name.

    Example:
        >>> from polypool.graph import select
        >>> select.card("min_cut").losses
        ('cut', 'orthogonality')
    """
    return _selects.lookup(name)[0].card
