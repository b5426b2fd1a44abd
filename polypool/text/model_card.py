"""What the README of a model says about its pooling: the printed modules, and the code to copy."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import Any

from polypool.text.config import declared_by_booleans, declared_by_name

#: Functions that model cards tell people to copy.
_FUNCTIONS = {
    "mean_pooling": "mean",
    "mean_pool": "mean",
    "average_pool": "mean",
    "cls_pooling": "cls",
    "cls_pool": "cls",
    "max_pooling": "max",
    "last_token_pool": "lasttoken",
    "last_token_pooling": "lasttoken",
    "lasttoken_pool": "lasttoken",
    "weighted_mean_pooling": "weightedmean",
}


@dataclass
class ModelCard:
    """What was found; None and empty where the card says nothing.

    Args:
        printed: The modes of the `Pooling({...})` in the printed architecture.
        dimension: Of the token embeddings, there.
        copied: The modes of the functions in the code to copy.
        normalized: Whether the printed architecture has a Normalize.
        normalizing: Whether the code to copy normalizes.
        length: "Maximum Sequence Length".
        output: "Output Dimensionality".
    """

    printed: tuple[str, ...] | None = None
    dimension: int | None = None
    copied: tuple[str, ...] = field(default=())
    normalized: bool | None = None
    normalizing: bool = False
    length: int | None = None
    output: int | None = None


def read_card(text: str) -> ModelCard:
    """Everything about pooling that the text of a README says."""
    card = ModelCard(
        length=_number(text, "Maximum Sequence Length"), output=_number(text, "Output Dimensionality")
    )
    printed = _printed_pooling(text)
    if printed is not None:
        card.printed = _declared(printed)
        size = printed.get("word_embedding_dimension", printed.get("embedding_dimension"))
        card.dimension = size if isinstance(size, int) else None
        card.normalized = re.search(r"\(\d+\): Normalize\(", text) is not None
    names = re.findall(r"^\s*def (\w+)\(", text, flags=re.MULTILINE)
    card.copied = tuple(dict.fromkeys(_FUNCTIONS[name] for name in names if name in _FUNCTIONS))
    card.normalizing = re.search(r"^[^#\n]*=.*\bnormalize\(\w", text, flags=re.MULTILINE) is not None
    return card


def _number(text: str, heading: str) -> int | None:
    found = re.search(rf"\*\*{heading}:\*\*\s*(\d+)", text)
    return int(found[1]) if found else None


def _printed_pooling(text: str) -> dict[str, Any] | None:
    found = re.search(r"\(\d+\): Pooling\((\{.*?\})\)", text, flags=re.DOTALL)
    if found is None:
        return None
    try:
        data = ast.literal_eval(found[1])
    except (ValueError, SyntaxError):
        return None
    return data if isinstance(data, dict) else None


def _declared(data: dict[str, Any]) -> tuple[str, ...] | None:
    try:
        return declared_by_name(data) or declared_by_booleans(data)
    except TypeError:
        return None
