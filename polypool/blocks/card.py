"""What a block says of itself, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polypool.layouts import KINDS


@dataclass(frozen=True)
class BlockCard:
    """What holds for a registered block; the tests build and run every variant on every layout it declares.

    Attributes:
        name: The name in the registry.
        summary: One sentence.
        layouts: The kinds of layout that it runs on with its default settings.
        variants: Settings, beside `channels`, that make it run in another way.
        source: Authors, year and equation.
    """

    name: str
    summary: str = ""
    layouts: tuple[str, ...] = KINDS
    variants: tuple[Mapping[str, Any], ...] = ({},)
    source: str = ""
