"""Texts to tokens, whole: what is cut off is known, and long texts are read in pieces. And tokens to padded batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Encoded:
    """The tokens of one text.

    Attributes:
        ids: Their numbers, special tokens with them.
        types: Their segments, where the tokenizer gives some.
    """

    ids: list[int]
    types: list[int] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, places: Sequence[slice]) -> Encoded:
        """Some stretches, one after the other."""
        ids, types = self.ids, self.types
        return Encoded(
            [one for place in places for one in ids[place]],
            None if types is None else [one for place in places for one in types[place]],
        )


@dataclass(frozen=True)
class Frame:
    """How many special tokens a tokenizer puts before each text, and how many behind it."""

    lead: int
    tail: int

    @classmethod
    def of(cls, tokenizer: Any) -> Frame:
        """Read off a text of one letter."""
        special = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
        own = [place for place, mark in enumerate(special) if not mark]
        return cls(own[0], len(special) - own[-1] - 1) if own else cls(len(special), 0)


def strings(texts: object) -> Iterator[str]:
    """The texts one by one; what is no text is an error that names its place."""
    if not isinstance(texts, Iterable) or isinstance(texts, bytes | Mapping):
        raise TypeError(f"texts must be strings, or one string; found {type(texts).__name__}.")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts[{place}] must be a str; found {type(text).__name__}.")
        yield text


def tokenize(tokenizer: Any, texts: Sequence[str]) -> list[Encoded]:
    """The tokens of each text, special tokens with them, nothing cut off.

    Raises:
        ValueError: A text holds half of a surrogate pair, which no tokenizer can read.
    """
    if not texts:
        return []
    try:
        found = tokenizer(
            list(texts), padding=False, truncation=False, return_attention_mask=False, verbose=False
        )
    except (TypeError, UnicodeEncodeError):
        _require_unicode(texts)
        raise
    types = found.get("token_type_ids")
    return [Encoded(ids, None if types is None else types[row]) for row, ids in enumerate(found["input_ids"])]


def cut(text: Encoded, limit: int | None, frame: Frame, side: str = "right") -> Encoded:
    """At most `limit` tokens of a text; its special tokens stay.

    Args:
        text: Its tokens.
        limit: The most that the model takes; None cuts nothing.
        frame: The special tokens around each text.
        side: Where tokens are dropped: `"right"`, or `"left"`.
    """
    if limit is None or len(text) <= limit:
        return text
    room = max(limit - frame.lead - frame.tail, 0)
    behind = len(text) - frame.tail
    first = frame.lead if side == "right" else behind - room
    return text.take([slice(0, frame.lead), slice(first, first + room), slice(behind, None)])


def padded(batch: Sequence[Encoded], tokenizer: Any) -> dict[str, Tensor]:
    """What a model takes: `input_ids`, `attention_mask`, and `token_type_ids` where there are some, `(B, T)` each."""
    longest = max(map(len, batch))
    left = tokenizer.padding_side == "left"

    def rows(lists: Sequence[list[int]], fill: int) -> Tensor:
        gaps = ([fill] * (longest - len(row)) for row in lists)
        return torch.tensor([gap + row if left else row + gap for row, gap in zip(lists, gaps, strict=True)])

    features = {
        "input_ids": rows([text.ids for text in batch], tokenizer.pad_token_id or 0),
        "attention_mask": rows([[1] * len(text) for text in batch], 0),
    }
    types = [text.types for text in batch if text.types is not None]
    if len(types) == len(batch):
        features["token_type_ids"] = rows(types, tokenizer.pad_token_type_id)
    return features


def prompt_length(tokenizer: Any, prompt: str) -> int:
    """How many tokens a prompt puts at the front of a text, special tokens before it with them."""
    ids = tokenize(tokenizer, [prompt])[0].ids
    return len(ids) - (bool(ids) and ids[-1] in tokenizer.all_special_ids)


def room_for_text(tokenizer: Any, limit: int, prompt_tokens: int) -> int:
    """How many tokens of a text fit beside the prompt and special tokens; not positive where none does."""
    frame = Frame.of(tokenizer)
    return limit - max(frame.lead, prompt_tokens) - frame.tail


def _require_unicode(texts: Sequence[str]) -> None:
    for place, text in enumerate(texts):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"texts[{place}] must be valid Unicode; found half of a surrogate pair at {error.start}. Replace it: "
                'text.encode("utf-8", "replace").decode().'
            ) from None
