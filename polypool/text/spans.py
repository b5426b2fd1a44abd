"""From stretches of characters to stretches of tokens: words, sentences and chunks of a text that was encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polypool import _checks
from polypool.layouts import Packed, Tokens
from polypool.pooling import Pooling
from polypool.text.characters import CharSpans, checked
from polypool.text.functions import built


@dataclass(frozen=True)
class SpanVectors:
    """One vector for each span, in the order in which the spans were given, text by text.

    Attributes:
        vectors: `(M, C_out)`; zeros for a span without a token.
        token_spans: `(M, 3)` int64: the text of each span, its first token, and the one after its last.
        counts: `(M,)` int64, the tokens of each span, special tokens left out.
    """

    vectors: Tensor
    token_spans: Tensor
    counts: Tensor

    @property
    def empty(self) -> tuple[int, ...]:
        """The spans that hold no token."""
        return tuple((self.counts == 0).nonzero().flatten().tolist())

    def of(self, row: int = 0) -> Tensor:
        """`(m, C_out)`, the vectors of the spans of one text."""
        return self.vectors[self.token_spans[:, 0] == row]


def char_spans_to_token_spans(
    offset_mapping: Tensor,
    spans: CharSpans,
    *,
    attention_mask: Tensor | None = None,
    special_tokens_mask: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """The tokens of stretches of characters, for `Tokens.spans` or `Packed.spans`.

    A token belongs to a span when they share at least one character: `max(starts) < min(ends)`. So a token on the
    border of two spans belongs to both, spans may overlap, and a token without characters belongs to none. Special
    tokens have no characters; tokenizers give them the offset (0, 0), and `special_tokens_mask` leaves out those that
    it marks.

    Args:
        offset_mapping: `(B, T, 2)` integers, the characters of each token as a fast tokenizer gives them with
            `return_offsets_mapping=True`; with `cu_seqlens` `(N, 2)`.
        spans: For each text a list of `(start, end)` characters, half-open.
        attention_mask: `(B, T)` or `(N,)`, which tokens are no padding. Padding has the offset (0, 0) anyway.
        special_tokens_mask: `(B, T)` or `(N,)`, 1 at special tokens.
        cu_seqlens: `(B + 1,)` integers, where each text of a packed batch begins and the last ends.

    Returns:
        `(M, 3)` int64: text, first token, one after the last token. A span without a token is `(text, 0, 0)`.
        Between the two there may be tokens that belong to no span, such as special ones: `content_mask` tells.

    Raises:
        TypeError: An argument has a dtype that does not fit, or a span is no pair of integers.
        ValueError: A shape does not fit, a span ends before it starts, the number of texts differs, or the offsets of a
            text go backwards (two texts were encoded as a pair).

    Example:
        >>> import torch
        >>> from polypool.text import char_spans_to_token_spans
        >>> offsets = torch.tensor([[[0, 0], [0, 3], [4, 9], [9, 10], [0, 0]]])  # [CLS] the whale . [SEP]
        >>> char_spans_to_token_spans(offsets, [[(0, 3), (2, 6), (3, 4)]])
        tensor([[0, 1, 2],
                [0, 1, 3],
                [0, 0, 0]])
    """
    row, place, rows = _places(offset_mapping, cu_seqlens)
    real = content_mask(offset_mapping, attention_mask, special_tokens_mask).flatten()
    text, start, end = _bounds(spans, rows, row.device)
    offsets, row, place = offset_mapping.reshape(-1, 2)[real].to(torch.int64), row[real], place[real]
    token_start, token_end = offsets.unbind(1)
    _require_order(token_start, token_end, row)
    # All texts at once: numbers of different texts are kept apart by more than the longest text.
    apart = 1 + max(_checks.extent(token_end)[1], _checks.extent(end)[1])
    first = torch.searchsorted(row * apart + token_end, text * apart + start, right=True)
    stop = torch.searchsorted(row * apart + token_start, text * apart + end)
    some = (first < stop) & (start < end)
    place = torch.cat([place, place.new_zeros(1)])  # for spans after the last token
    begin = torch.where(some, place[first], 0)
    return torch.stack([text, begin, torch.where(some, place[stop - 1] + 1, 0)], 1)


def word_ids_to_token_spans(word_ids: Sequence[Sequence[int | None]]) -> Tensor:
    """The sub-words of each word, for `Tokens.spans`, from what a fast tokenizer calls `word_ids`.

    What counts as a word is up to the tokenizer: to BERT's, punctuation marks are words. A text that was split before
    (`is_split_into_words=True`) keeps its own words.

    Args:
        word_ids: For each text the word of each token, counted from 0; None for special tokens and padding.

    Returns:
        `(M, 3)` int64: text, first token, one after the last token; the words of a text from 0 to the largest number
        found. A word that has no token is `(text, 0, 0)`.

    Raises:
        TypeError: A word is neither an integer nor None.
        ValueError: A word is negative, or the words of a text go backwards (two texts were encoded as a pair).

    Example:
        >>> import torch, polypool as pp
        >>> from polypool.text import word_ids_to_token_spans
        >>> words = word_ids_to_token_spans([[None, 0, 1, 1, None]])  # [CLS] the wha ##le [SEP]
        >>> words
        tensor([[0, 1, 2],
                [0, 2, 4]])
        >>> hidden = torch.tensor([[[9.0], [1.0], [2.0], [4.0], [9.0]]])
        >>> pp.build("mean")(pp.Tokens(hidden).spans(words))
        tensor([[1.],
                [3.]])
    """
    texts = [_words(ids, number) for number, ids in enumerate(word_ids)]
    if not texts:
        return torch.zeros(0, 3, dtype=torch.int64)
    word = torch.cat(texts)
    lengths = torch.tensor([ids.shape[0] for ids in texts])
    row = torch.arange(len(texts)).repeat_interleave(lengths)
    place = torch.arange(word.shape[0]) - (lengths.cumsum(0) - lengths)[row]
    words = torch.tensor([1 + int(ids.max()) if ids.shape[0] else 0 for ids in texts])
    real = word >= 0
    row, place, word = row[real], place[real], word[real]
    _require_order(word, word, row)
    cell = (words.cumsum(0) - words)[row] + word
    total = int(words.sum())
    # Words are in order, so the tokens of one stand together but for what has no word.
    first = torch.zeros(total, dtype=torch.int64).scatter_reduce(0, cell, place, "amin", include_self=False)
    stop = torch.zeros(total, dtype=torch.int64).scatter_reduce(
        0, cell, place + 1, "amax", include_self=False
    )
    return torch.stack([torch.arange(len(texts)).repeat_interleave(words), first, stop], 1)


def content_mask(
    offset_mapping: Tensor, attention_mask: Tensor | None = None, special_tokens_mask: Tensor | None = None
) -> Tensor:
    """`(B, T)` or `(N,)` bool, the tokens that stand for characters: neither special nor padding.

    Args:
        offset_mapping: `(B, T, 2)` or `(N, 2)` integers, the characters of each token.
        attention_mask: Which tokens are no padding.
        special_tokens_mask: 1 at special tokens.

    Example:
        >>> import torch
        >>> from polypool.text import content_mask
        >>> content_mask(torch.tensor([[[0, 0], [0, 5], [0, 0]]]))
        tensor([[False,  True, False]])
    """
    offsets = _checks.index(offset_mapping, "offset_mapping", None, "(B, T, 2)", offset_mapping)
    if offsets.dim() not in (2, 3) or offsets.shape[-1] != 2:
        raise ValueError(
            f"offset_mapping must have shape (B, T, 2), or (N, 2) when packed; found {_checks.shape(offsets)}. "
            'Ask the tokenizer for return_offsets_mapping=True and return_tensors="pt".'
        )
    shape, form = offsets.shape[:-1], "(B, T)" if offsets.dim() == 3 else "(N,)"
    real = offsets[..., 0] < offsets[..., 1]
    if attention_mask is not None:
        real = real & _checks.mask(attention_mask, shape, form, offsets, "attention_mask")
    if special_tokens_mask is not None:
        real = real & ~_checks.mask(special_tokens_mask, shape, form, offsets, "special_tokens_mask")
    return real


def pool_spans(
    hidden: Tensor,
    offset_mapping: Tensor,
    spans: CharSpans,
    pool: str | Pooling = "mean",
    *,
    attention_mask: Tensor | None = None,
    special_tokens_mask: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> SpanVectors:
    """One vector for each stretch of characters, from the token states of whole texts.

    The tokens of a span have seen the text around it, which is what late chunking is about. `chunk_embeddings` does the
    same from a text. Which token belongs to which span: see `char_spans_to_token_spans`.

    Args:
        hidden: `(B, T, C)` floating, the states of an encoder's last layer; with `cu_seqlens` `(N, C)`.
        offset_mapping: `(B, T, 2)` or `(N, 2)` integers, the characters of each token.
        spans: For each text a list of `(start, end)` characters, half-open. They may overlap.
        pool: A name such as `"max"` or `"mean+max"`, or a pooling that was built, as one with parameters has to be.
        attention_mask: `(B, T)` or `(N,)`, which tokens are no padding.
        special_tokens_mask: `(B, T)` or `(N,)`, 1 at special tokens.
        cu_seqlens: `(B + 1,)` integers, where each text of a packed batch begins and the last ends.

    Raises:
        TypeError: An argument has a dtype that does not fit, a span is no pair of integers, or `pool` names a pooling
            with parameters.
        ValueError: A shape does not fit, a span ends before it starts, or the name of the pooling is unknown.

    Source: Günther et al. 2024, Late Chunking, section 3. They add the special tokens to the first and the last chunk;
    here these belong to none.

    Example:
        >>> import torch
        >>> from polypool.text import pool_spans
        >>> hidden = torch.tensor([[[9.0], [1.0], [3.0], [9.0]]])
        >>> offsets = torch.tensor([[[0, 0], [0, 2], [3, 7], [0, 0]]])  # [CLS] it rains [SEP]
        >>> found = pool_spans(hidden, offsets, [[(0, 7), (3, 7), (2, 3)]])
        >>> found.vectors
        tensor([[2.],
                [3.],
                [0.]])
        >>> found.empty
        (2,)
    """
    _checks.values(
        hidden, "hidden", (3,) if cu_seqlens is None else (2,), "(B, T, C), or (N, C) with cu_seqlens"
    )
    real = content_mask(offset_mapping, attention_mask, special_tokens_mask)
    if real.shape != hidden.shape[:-1]:
        raise ValueError(
            f"offset_mapping must have shape {(*hidden.shape[:-1], 2)}; found {_checks.shape(offset_mapping)}. "
            "It goes with the hidden states, one pair for each token."
        )
    token_spans = char_spans_to_token_spans(
        offset_mapping,
        spans,
        attention_mask=attention_mask,
        special_tokens_mask=special_tokens_mask,
        cu_seqlens=cu_seqlens,
    ).to(hidden.device)
    real = real.to(hidden.device)
    if cu_seqlens is None:
        cells = Tokens(hidden, real).spans(token_spans)
    else:
        # A packed layout has no mask. As one long row it has, and order statistics can be taken too.
        begin = cu_seqlens.to(token_spans)[token_spans[:, 0]]
        moved = torch.stack(
            [torch.zeros_like(begin), begin + token_spans[:, 1], begin + token_spans[:, 2]], 1
        )
        cells = Tokens(hidden[None], real[None]).spans(moved)
    return SpanVectors(built(pool)(cells), token_spans, cells.counts)


def _places(offset_mapping: Tensor, cu_seqlens: Tensor | None) -> tuple[Tensor, Tensor, int]:
    """The text of each token, its place in the text, and the number of texts."""
    offsets = _checks.tensor(offset_mapping, "offset_mapping")
    wanted = 3 if cu_seqlens is None else 2
    if offsets.dim() != wanted:
        form = "(B, T, 2) without cu_seqlens" if wanted == 3 else "(N, 2) with cu_seqlens"
        raise ValueError(
            f"offset_mapping must have shape {form}; found {_checks.shape(offsets)}. "
            "A packed batch is (N, 2) and comes with cu_seqlens."
        )
    if cu_seqlens is None:
        rows, length = offsets.shape[0], offsets.shape[1]
        place = torch.arange(rows * length, device=offsets.device)
        row = place // max(length, 1)
        return row, place - row * length, rows
    # The layout knows what offsets of sequences must be.
    packed = Packed(torch.empty(offsets.shape[0], 0), _checks.tensor(cu_seqlens, "cu_seqlens").cpu())
    row = packed.members.cell.to(offsets.device)
    begins = packed.offsets.to(offsets.device)
    return row, torch.arange(offsets.shape[0], device=offsets.device) - begins[row], packed.num_cells


def _bounds(spans: CharSpans, rows: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The spans of all texts one after the other: text, start, end."""
    listed = [(row, *pair) for row, own in enumerate(checked(spans, rows)) for pair in own]
    found = torch.tensor(listed, dtype=torch.int64, device=device).reshape(-1, 3)
    text, start, end = found.unbind(1)
    return text, start, end


def _words(ids: Sequence[int | None], row: int) -> Tensor:
    """The word of each token, -1 for none."""
    if any(not (each is None or isinstance(each, int)) for each in ids):
        raise TypeError(f"word_ids[{row}] must hold integers and None. Pass batch.word_ids({row}).")
    if any(each is not None and each < 0 for each in ids):
        raise ValueError(f"word_ids[{row}] must not be negative; None stands for no word.")
    return torch.tensor([-1 if each is None else each for each in ids], dtype=torch.int64)


def _require_order(starts: Tensor, ends: Tensor, row: Tensor) -> None:
    """Within a text neither starts nor ends go backwards; then the tokens of a span stand together."""
    backwards = ((starts.diff() < 0) | (ends.diff() < 0)) & (row.diff() == 0)
    if bool(backwards.any()):
        at = int(backwards.nonzero()[0])
        raise ValueError(
            f"the tokens of a text must be in the order of its characters; those of text {int(row[at])} go back from "
            f"{int(starts[at])} to {int(starts[at + 1])}. Encode one text in a row, not a pair."
        )
