"""Property cards as data and as text."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from polypool.cli._errors import UserError

if TYPE_CHECKING:
    from polypool import PropertyCard


def find_card(name: str) -> PropertyCard:
    """The card of a name, an alias or a `+` string.

    Raises:
        UserError: there is no such pooling.
    """
    import polypool as pp

    try:
        # the parts of a + string may need a number of channels, which no field of the card depends on
        return pp.build(name, channels=64).card if "+" in name else pp.card(name)
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error


def settings(name: str) -> dict[str, Any]:
    """The settings of a pooling with their defaults, an alias's own ones included; None where one is required."""
    if "+" in name:
        return {}
    from polypool.registry import lookup, settings_of

    cls, preset = lookup(name)
    defaults = {
        key: None if setting.default is setting.empty else setting.default
        for key, setting in settings_of(cls).items()
    }
    return {**defaults, **preset}


def as_data(name: str) -> dict[str, Any]:
    """Everything about a pooling that fits into JSON."""
    return {**asdict(find_card(name)), "settings": settings(name)}


def degree(card: PropertyCard) -> str:
    """The degree of homogeneity, or a dash."""
    return "-" if card.homogeneity is None else str(card.homogeneity)
