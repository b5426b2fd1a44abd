"""Poolings that begin as the one whose place they take."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from polypool.pooling import Pooling
from polypool.poolings import (
    AttentionPool,
    AttentiveStatsPool,
    Concat,
    GatedAttentionPool,
    GeMPool,
    MomentsPool,
    PowerPool,
)
from polypool.registry import build
from polypool.vision.surgery.signed_gem import SignedGeMPool
from polypool.vision.surgery.site import Site

#: A name, a pooling or module that is copied for every site, or a function that makes one for a site.
Pool: TypeAlias = str | nn.Module | Callable[[Site], nn.Module]


@dataclass(frozen=True, eq=False)
class Start:
    """A pooling for one site.

    Attributes:
        pool: The pooling.
        width: How many channels it gives.
        taken: How many the old pooling gave, whose columns are taken over.
        place: Where among them those begin that take over the columns of what reads the pooling.
        keeps: Whether these are what the old pooling gives.
        note: What else there is to say.
    """

    pool: Pooling
    width: int
    taken: int
    place: int
    keeps: bool
    note: str = ""


def start(pool: Pooling | str, site: Site, old: Pooling | None, channels: int | None) -> Start:
    """A pooling for a site, begun as the old one where it can.

    Args:
        pool: A name, or the pooling itself.
        site: The site.
        old: The pooling that is there, if it is one of this package.
        channels: The channels of what is pooled.

    Raises:
        TypeError: The pooling has to know the channels, which nothing tells.
        ValueError: The pooling is unknown, or was built for other channels.
    """
    made = _named(pool, site, old, channels) if isinstance(pool, str) else pool
    if channels is not None and made.channels not in (None, channels):
        raise ValueError(
            f"pool must be built for the {channels} channels of {site.name}; found one for {made.channels}. "
            "Give its name, and it is built for each site."
        )
    if channels is None:
        if made.out_channels(64) != 64:
            raise ValueError(
                f"pool must give as many channels as it gets where {site.name} did not run; {made.card.name} gives "
                "others. Pass a sample on which it runs."
            )
        begins, note = _begins(made, site, old)
        return Start(made, 0, 0, 0, begins, note)
    parts = made.parts if isinstance(made, Concat) else [made]
    before = [0]
    for part in parts:
        before.append(before[-1] + part.out_channels(channels))
    was = old.parts if isinstance(old, Concat) else []
    taken = channels if old is None else old.out_channels(channels)
    notes = []
    for i, part in enumerate(parts):
        if was:
            begins, note = len(was) <= len(parts) - i and all(map(_same, was, parts[i:])), ""
        else:
            begins, note = _begins(part, site, old)
        if begins:
            return Start(made, before[-1], taken, before[i], True, note)
        notes.append(note)
    return Start(made, before[-1], taken, 0, False, "; ".join(filter(None, notes)))


def _named(name: str, site: Site, old: Pooling | None, channels: int | None) -> Pooling:
    names = [part.strip() for part in name.split("+")]
    parts: list[Pooling] = []
    was = old.parts if isinstance(old, Concat) else []
    while len(parts) < len(names):
        rest = names[len(parts) :]
        if was and [_name(part) for part in was] == rest[: len(was)]:
            parts += was  # goes on with what it has learned
            was = []
        else:
            parts.append(_part(rest[0], site, old, channels))
    return parts[0] if len(parts) == 1 else Concat(parts)


def _name(pool: Pooling) -> str:
    return pool.card.name.removeprefix("signed_")


def _same(a: Pooling, b: Pooling) -> bool:
    """Whether two poolings are one function, now and later."""
    return a is b or (repr(a) == repr(b) and not list(a.parameters()))


def _part(name: str, site: Site, old: Pooling | None, channels: int | None) -> Pooling:
    if old is not None and name == _name(old):
        return old
    if name == "gem" and site.operator == "mean":
        return SignedGeMPool()
    try:
        made = build(name) if channels is None else build(name, channels=channels)
    except TypeError as error:
        raise TypeError(f"{error} Pass a sample on which {site.name} runs.") from error
    if site.operator == "mean":
        last = _last_of_score(made)
        if last is not None:
            nn.init.zeros_(last.weight)
    return made


def _begins(pool: Pooling, site: Site, old: Pooling | None) -> tuple[bool, str]:
    """Whether a pooling gives in its first channels what the old one gives; and what else there is to say."""
    if pool is old:
        return True, ""
    if old is not None and list(old.parameters()):
        return False, ""
    if pool.card.name == site.operator and not list(pool.parameters()):
        return old is None or _same(old, pool), ""
    if site.operator != "mean":
        return False, ""
    if isinstance(pool, MomentsPool):
        return True, ""
    last = _last_of_score(pool)
    if last is not None and not last.weight.any():
        return True, ""
    if isinstance(pool, SignedGeMPool) and _all_one(pool.p):
        return True, ""
    if isinstance(pool, PowerPool) and pool.signed and pool.p == 1:
        return True, ""
    if isinstance(pool, GeMPool) and _all_one(pool.p):
        return (
            False,
            f'the mean for values from {pool.eps:g} on alone; the name "gem" begins as the mean of all',
        )
    return False, ""


def _last_of_score(pool: Pooling) -> nn.Linear | None:
    """The last linear map of what scores the elements: where it is 0, all of them weigh the same."""
    if not isinstance(pool, AttentionPool | GatedAttentionPool | AttentiveStatsPool):
        return None
    linear = [module for module in pool.score.modules() if isinstance(module, nn.Linear)]
    return linear[-1]


def _all_one(p: float | Tensor) -> bool:
    return bool((torch.as_tensor(p) == 1).all())


def copied(pool: nn.Module) -> nn.Module:
    """An instance of its own for every site."""
    return copy.deepcopy(pool)
