"""Stretches of a text by its characters: words, sentences, chunks of one size.

What `pool_spans` and `chunk_embeddings` take. These cuts are simple and need no language model; spans from any other
source (a parser, an annotation, a text splitter) do as well.
"""

from __future__ import annotations

import re

from polypool._checks import size as whole_number

# An apostrophe inside a word joins it.
_WORD = re.compile(r"\w+(?:['’]\w+)*")
# What ends a sentence, with closing quotes and brackets; spaces must follow, but for the full-width marks. A blank line
# ends one too.
_BETWEEN = re.compile(
    r"(?<=[.!?…])[\"'”’»)\]]*(?:\s+|\Z)"
    r"|(?<=[。！？])(?![。！？])[”’」』）]*\s*"
    r"|\n[^\S\n]*\n\s*"
)


def word_spans(text: str) -> list[tuple[int, int]]:
    """The words of a text as `(start, end)` characters, half-open: letters, digits and underscores, no punctuation.

    A tokenizer's own words are in its `word_ids`; see `word_ids_to_token_spans`.

    Raises:
        TypeError: `text` is no string.

    Example:
        >>> from polypool.text import word_spans
        >>> text = "It's raining, again."
        >>> [text[start:end] for start, end in word_spans(text)]
        ["It's", 'raining', 'again']
    """
    return [found.span() for found in _WORD.finditer(_text(text))]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """The sentences of a text as `(start, end)` characters, half-open, without the spaces around them.

    A sentence ends at `.`, `!`, `?` or `…` before a space, at a full-width mark, and at a blank line. Abbreviations are
    not known: "Dr. No" is cut after "Dr.".

    Raises:
        TypeError: `text` is no string.

    Example:
        >>> from polypool.text import sentence_spans
        >>> text = "It rains. 'Really?' Yes: 3.5 mm."
        >>> [text[start:end] for start, end in sentence_spans(text)]
        ['It rains.', "'Really?'", 'Yes: 3.5 mm.']
    """
    borders = [0, *(found.end() for found in _BETWEEN.finditer(_text(text))), len(text)]
    pieces = [_stripped(text, *borders[i : i + 2]) for i in range(len(borders) - 1)]
    return [(start, end) for start, end in pieces if start < end]


def chunk_spans(text: str, size: int, overlap: int = 0) -> list[tuple[int, int]]:
    """Chunks of `size` characters as `(start, end)`, half-open; the last one may be shorter.

    They cut through words; a token that lies on a border belongs to both chunks.

    Args:
        text: The text.
        size: Characters in a chunk, > 0.
        overlap: Characters that a chunk shares with the next, from 0 to `size - 1`.

    Raises:
        TypeError: `text` is no string, or a number no int.
        ValueError: `size` or `overlap` is out of range.

    Example:
        >>> from polypool.text import chunk_spans
        >>> chunk_spans("abcdefgh", 4, overlap=1)
        [(0, 4), (3, 7), (6, 8)]
    """
    length = len(_text(text))
    whole_number(size, "size", 1)
    if whole_number(overlap, "overlap") >= size:
        raise ValueError(f"overlap must be < size = {size}; found {overlap}. Make the chunks larger.")
    step = size - overlap
    # The last chunk starts where the one before it has not reached the end.
    return [
        (start, min(start + size, length)) for start in range(0, max(length - overlap, min(length, 1)), step)
    ]


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """The same stretch without the spaces at its ends."""
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    return start, start + len(piece.strip())


def _text(text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"text must be a str; found {type(text).__name__}. Cut one text at a time.")
    return text
