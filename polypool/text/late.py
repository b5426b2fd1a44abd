"""Late chunking: a text goes through the model once and whole, and then each stretch of it is pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polypool.pooling import Pooling
from polypool.text.batching import by_length
from polypool.text.characters import CharSpans, checked
from polypool.text.functions import built
from polypool.text.spans import SpanVectors, pool_spans
from polypool.text.tokenizing import Encoded, tokenize

if TYPE_CHECKING:
    from polypool.text.encoder import TextEncoder


def chunk_embeddings(
    encoder: TextEncoder,
    text: str | Sequence[str],
    spans: Sequence[tuple[int, int]] | CharSpans,
    pool: str | Pooling | None = None,
    *,
    normalize: bool | None = None,
    prompt: str | None = None,
    batch_tokens: int | None = None,
) -> SpanVectors:
    """One vector for each stretch of a text, whose tokens have seen the whole text.

    A chunk that says "the city" and is encoded alone does not know which; here its tokens do. What comes after the
    encoder's pooling is applied to each vector, so that they can be compared with those of `encode`.

    Args:
        encoder: The encoder. Its tokenizer must be a fast one, since only these know where their tokens come from.
        text: One text, or several.
        spans: `(start, end)` characters of the text, half-open; of several texts one list for each. They may overlap.
            `sentence_spans`, `chunk_spans` and `word_spans` make some.
        pool: What pools the tokens of a span, as for `pool_spans`; the encoder's own when None.
        normalize: Whether vectors have length 1, as for `TextEncoder.encode`.
        prompt: What is put in front of each text, as for `TextEncoder.encode`. It is read and belongs to no span, but
            for a token that it shares with the text.
        batch_tokens: The padded tokens of a batch, as for `TextEncoder.encode`.

    Returns:
        One row for each span, text by text, on the encoder's device. A span without a token is zeros, and listed in
        `empty`. Which tokens belong to a span: see `char_spans_to_token_spans`; `token_spans` counts them within
        their text, special tokens and prompt with them.

    Raises:
        TypeError: A text is no string, or a span is no pair of integers.
        ValueError: A text has more tokens than the model reads at once (nothing is cut off); a span ends behind its
            text or before it starts; the tokenizer is not a fast one; or `pool` is None and the encoder's pooling reads
            one place of the whole text, its first or last token, which a span does not have.

    Source: Günther et al. 2024, Late Chunking: Contextual Chunk Embeddings Using Long-Context Embedding Models. They
    add the special tokens and the prompt to the first and the last chunk; here these belong to none.

    Example:
        >>> from polypool.demo.encoder import find_model
        >>> from polypool.text import TextEncoder, chunk_embeddings, sentence_spans
        >>> encoder = TextEncoder.load(find_model(None), device="cpu")
        >>> text = "Berlin is the capital of Germany. The city has four million inhabitants."
        >>> chunk_embeddings(encoder, text, sentence_spans(text)).vectors.shape
        torch.Size([2, 384])
    """
    texts = _texts(text)
    given: Any = [spans] if isinstance(text, str) else spans
    before = encoder.prompt(prompt)
    moved = _moved(texts, checked(given, len(texts)), len(before))
    pooling, width = _pooling(encoder, pool)
    found = _tokens(encoder, [before + one for one in texts])
    begins = [0, *accumulate(len(own) for own in moved)]
    device = encoder.device
    vectors = torch.zeros(begins[-1], width, device=device)
    token_spans = torch.zeros(begins[-1], 3, dtype=torch.int64, device=device)
    counts = torch.zeros(begins[-1], dtype=torch.int64, device=device)
    for row, own in enumerate(moved):
        token_spans[begins[row] : begins[row] + len(own), 0] = row
    # A text of which nothing is asked need not be read.
    lengths = [len(ids) if own else 0 for ids, own in zip(found["input_ids"], moved, strict=True)]
    batches = by_length(lengths, encoder.budget(batch_tokens))
    with encoder.inference():
        for batch in batches:
            part = _pooled(encoder, found, batch, [moved[row] for row in batch], pooling, normalize)
            place = torch.tensor(
                [i for row in batch for i in range(begins[row], begins[row + 1])],
                dtype=torch.int64,
                device=device,
            )
            vectors[place] = part.vectors.to(vectors.dtype)
            token_spans[place, 1:] = part.token_spans[:, 1:]
            counts[place] = part.counts
    return SpanVectors(vectors, token_spans, counts)


def _pooled(
    encoder: TextEncoder,
    found: dict[str, Any],
    batch: list[int],
    spans: CharSpans,
    pooling: Pooling,
    normalize: bool | None,
) -> SpanVectors:
    """The spans of some texts that go through the model together."""
    types = found.get("token_type_ids")
    encoded = [Encoded(found["input_ids"][row], None if types is None else types[row]) for row in batch]
    features = encoder.batch(encoded)
    # Without the padding a token's place does not depend on what else is in the batch.
    hidden = encoder.states(features)[features["attention_mask"].bool()]

    def joined(key: str) -> Tensor:
        return torch.tensor([one for row in batch for one in found[key][row]], dtype=torch.int64)

    with encoder.exact():
        pooled = pool_spans(
            hidden,
            joined("offset_mapping"),
            spans,
            pooling,
            special_tokens_mask=joined("special_tokens_mask"),
            cu_seqlens=torch.tensor([0, *accumulate(map(len, encoded))]),
        )
        # Without a token a vector stays zero, whatever a bias would make of it.
        vectors = torch.where(pooled.counts[:, None] > 0, encoder.finish(pooled.vectors, normalize), 0.0)
    return replace(pooled, vectors=vectors)


def _tokens(encoder: TextEncoder, texts: list[str]) -> dict[str, Any]:
    """The tokens of each text and their characters, in full length.

    Raises:
        ValueError: The tokenizer does not know characters, a text is no valid Unicode, or the model does not read so
            many tokens.
    """
    if not getattr(encoder.tokenizer, "is_fast", False):
        raise ValueError(
            f"spans need a fast tokenizer, which knows the characters of its tokens; found "
            f"{type(encoder.tokenizer).__name__}. Save the model with a tokenizer.json."
        )
    if not texts:
        return {"input_ids": []}
    asked = {"return_offsets_mapping": True, "return_special_tokens_mask": True}
    try:
        found: dict[str, Any] = encoder.tokenizer(
            texts, padding=False, truncation=False, verbose=False, **asked
        )
    except (TypeError, UnicodeEncodeError):
        tokenize(encoder.tokenizer, texts)  # says what is wrong with which text
        raise
    limit = encoder.max_tokens
    for row, ids in enumerate(found["input_ids"]):
        if limit is not None and len(ids) > limit:
            raise ValueError(
                f"text {row} has {len(ids)} tokens, and the model reads {limit} at once; for late chunking it must "
                "read the whole text. Cut the text where its subject changes, and call this for each part."
            )
    return found


def _pooling(encoder: TextEncoder, pool: str | Pooling | None) -> tuple[Pooling, int]:
    """What pools a span, and the size of the vectors in the end."""
    channels = encoder.pooling.embedding_dimension
    if pool is None:
        placed = sorted({"first", "last"}.intersection(encoder.pooling.config.pool.split("+")))
        if placed:
            raise ValueError(
                f"pool must be given for this encoder: it pools by the {placed[0]} token of the whole text, which a "
                'span does not have. pool="mean" is usual; the model was not trained for it.'
            )
        return encoder.pooling.pool, encoder.dimension
    pooling = built(pool)
    size = pooling.out_channels(channels)
    for module in encoder.after:
        size = module.out_channels(size)  # type: ignore[operator]
    return pooling, size if encoder.truncate is None else min(size, encoder.truncate)


def _texts(text: object) -> list[str]:
    listed = [text] if isinstance(text, str) else text
    if not isinstance(listed, Sequence):
        raise TypeError(f"text must be a str, or a list of them; found {type(text).__name__}.")
    for row, one in enumerate(listed):
        if not isinstance(one, str):
            raise TypeError(
                f"text must be a str, or a list of them; found {type(one).__name__} at place {row}."
            )
    return list(listed)


def _moved(texts: list[str], spans: list[list[tuple[int, int]]], by: int) -> list[list[tuple[int, int]]]:
    """The spans behind a prompt of `by` characters.

    Raises:
        ValueError: A span ends behind its text.
    """
    for row, (text, own) in enumerate(zip(texts, spans, strict=True)):
        last = max((end for _, end in own), default=0)
        if last > len(text):
            raise ValueError(
                f"spans must end within their text; found the end {last} in text {row}, which has {len(text)} "
                "characters. Count characters, not bytes or tokens."
            )
    return [[(start + by, end + by) for start, end in own] for own in spans]
