"""Names and patterns of modules, and which sites a user means."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from polypool.vision.surgery.find import Found
from polypool.vision.surgery.site import KINDS, Site

#: A kind, a name, a pattern, several of these, or a function of the site.
Where: TypeAlias = str | Iterable[str] | Callable[[Site], bool]


def fitting(names: Iterable[str], pattern: str) -> list[str]:
    """The names that fit a pattern; where none does, those that fit with `*` going on over dots.

    Example:
        >>> names = ["layer1", "layer1.0", "layer1.0.bn2"]
        >>> fitting(names, "layer*"), fitting(names, "*bn*")
        (['layer1'], ['layer1.0.bn2'])
    """
    listed = list(names)
    found = [name for name in listed if matches(name, pattern)]
    return found or [name for name in listed if matches(name, re.sub(r"\*+", "**", pattern))]


def matches(name: str, pattern: str) -> bool:
    """Whether a dotted name fits a pattern: `*` and `?` stay within a part of the name, `**` goes on over dots.

    Example:
        >>> (
        ...     matches("layer1.0.bn2", "layer?.*.bn2"),
        ...     matches("layer1.0.bn2", "layer*"),
        ...     matches("a.b.c", "a.**"),
        ... )
        (True, False, True)
    """
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    wild = {"**": ".*", "*": "[^.]*", "?": "[^.]"}
    return re.fullmatch("".join(wild.get(part, re.escape(part)) for part in parts), name) is not None


def chosen(found: Sequence[Found], where: Where) -> tuple[list[Found], bool]:
    """The sites that are meant, and whether all of them were named one by one.

    Raises:
        TypeError: `where` is none of the things that it may be.
        ValueError: It fits no site, or one of its names does not.
    """
    if callable(where):
        picked = [one for one in found if where(one.site)]
        if not picked:
            raise ValueError(f"where must be True for a site; found none. {listed(found)}")
        return picked, False
    given: object = where
    patterns = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError(
            "where must be a kind, a name, a pattern, a list of names or a function of the site; found "
            f"{given!r}. The kinds are: {', '.join(KINDS)}."
        )
    picked, named = [], True
    for pattern in map(str, patterns):
        names = fitting([one.site.name for one in found], pattern)
        own = [
            one for one in found if (one.site.kind == pattern if pattern in KINDS else one.site.name in names)
        ]
        if not own:
            raise ValueError(f"where must fit a site; found {pattern!r}. {listed(found)}")
        named = named and all(one.site.name == pattern for one in own)
        picked += [one for one in own if one not in picked]
    return [one for one in found if one in picked], named


def listed(found: Sequence[Found], most: int = 30) -> str:
    """The sites in one line."""
    if not found:
        return "The model has no site: no pooling, and no convolution with a stride."
    lines = [f"{one.site.name} ({one.site.kind}, {one.site.operator})" for one in found[:most]]
    rest = f", and {len(found) - most} more" if len(found) > most else ""
    return f"The sites are: {', '.join(lines)}{rest}."
