"""Selects by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Literal, TypeVar

from polypool.graph.select.base import Select, SelectCard

_classes: dict[str, type[Select]] = {}

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
        ValueError: The name is taken by another class.
    """

    def decorate(cls: S) -> S:
        given: object = cls
        if not (inspect.isclass(given) and issubclass(given, Select)):
            raise TypeError(f"register decorates a class derived from Select; found {cls!r}.")
        owner = _classes.get(name)
        # The same class again is a module that was reloaded, or a cell of a notebook run twice.
        if owner is not None and (owner.__module__, owner.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"the name {name!r} is taken by {owner.__module__}.{owner.__qualname__}.")
        summary = (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")
        cls.card = replace(
            SelectCard(name, kind), learnable=learnable, losses=losses, source=source, summary=summary
        )
        _classes[name] = cls
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
    if not isinstance(name, str):
        raise TypeError(f"name must be a str; found {type(name).__name__}.")
    cls = _lookup(name)
    accepted = _accepted(cls)
    if "channels" not in accepted:
        settings.pop("channels", None)
    unknown = sorted(set(settings) - set(accepted))
    if unknown:
        known = ", ".join(accepted) or "none"
        raise TypeError(f"{name} has no setting {', '.join(map(repr, unknown))}; its settings are: {known}.")
    missing = [
        key for key, p in accepted.items() if p.default is inspect.Parameter.empty and key not in settings
    ]
    if missing:
        raise TypeError(f"{name} needs {', '.join(missing)}: build({name!r}, {missing[0]}=...).")
    return cls(**settings)


def names() -> tuple[str, ...]:
    """The registered names, sorted.

    Example:
        >>> from polypool.graph import select
        >>> "k_mis" in select.names()
        True
    """
    return tuple(sorted(_classes))


def settings(name: str) -> tuple[str, ...]:
    """The names of the settings of a registered select.

    Example:
        >>> from polypool.graph import select
        >>> select.settings("top_k")
        ('channels', 'ratio', 'gate')
    """
    return tuple(_accepted(_lookup(name)))


def card(name: str) -> SelectCard:
    """The card of a registered name.

    Example:
        >>> from polypool.graph import select
        >>> select.card("min_cut").losses
        ('cut', 'orthogonality')
    """
    return _lookup(name).card


def _accepted(cls: type[Select]) -> dict[str, inspect.Parameter]:
    if cls.__init__ is Select.__init__:
        return {}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {key: p for key, p in inspect.signature(cls).parameters.items() if p.kind in named}


def _lookup(name: str) -> type[Select]:
    if name not in _classes:
        close = get_close_matches(name, _classes, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"no select is named {name!r}.{hint} There are: {', '.join(names())}.")
    return _classes[name]
