"""Texts that are longer than the model's limit: read in overlapping pieces, every token counted once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polypool import _checks
from polypool.layouts import Tokens
from polypool.text.batching import by_length, windows
from polypool.text.progress import Bar
from polypool.text.report import Report
from polypool.text.tokenizing import Encoded, Frame, prompt_length, room_for_text, strings, tokenize

if TYPE_CHECKING:
    from polypool.text.encoder import TextEncoder

#: How many texts are looked at together. They may be long: fewer than of short ones.
WINDOW = 256
State = dict[str, Tensor]


@dataclass(frozen=True)
class Piece:
    """A stretch of a text with the special tokens and the prompt that the model expects around it.

    Attributes:
        text: The place of the text.
        tokens: What goes through the model.
        start: The first of them that counts.
        stop: The one after the last that counts.
    """

    text: int
    tokens: Encoded
    start: int
    stop: int


def pieces(
    text: Encoded, place: int, limit: int, overlap: int, frame: Frame, prompt_tokens: int = 0
) -> list[Piece]:
    """The pieces of a text, so that each of its tokens counts in exactly one.

    They are spread evenly. Of two neighbours, each counts its half of what they share, so that a token has at least
    half the overlap around it on either side. The special tokens and the prompt count once: what is before the text in
    the first piece, what is behind it in the last.

    Args:
        text: Its tokens.
        place: Its place among the texts.
        limit: The tokens of a piece, at most.
        overlap: The tokens that neighbours share, at least.
        frame: The special tokens around each text.
        prompt_tokens: The tokens before the text that belong to the prompt, special tokens before it with them.

    Raises:
        ValueError: The limit leaves no room for new tokens beside overlap, prompt and special tokens.

    Example:
        >>> from polypool.text.long import pieces
        >>> from polypool.text.tokenizing import Encoded, Frame
        >>> text = Encoded([101, 1, 2, 3, 4, 5, 6, 102])
        >>> for piece in pieces(text, 0, limit=6, overlap=2, frame=Frame(1, 1)):
        ...     print(piece.tokens.ids, piece.tokens.ids[piece.start : piece.stop])
        [101, 1, 2, 3, 4, 102] [101, 1, 2, 3]
        [101, 3, 4, 5, 6, 102] [4, 5, 6, 102]
    """
    if len(text) <= limit:
        return [Piece(place, text, 0, len(text))]
    head = max(frame.lead, prompt_tokens)
    room = limit - head - frame.tail
    if overlap >= room:
        raise ValueError(
            f"overlap must be below {max(room, 0)}, what {limit} tokens leave beside {head + frame.tail} of the prompt "
            f"and special ones; found {overlap}. Pass less, or raise max_tokens."
        )
    body = len(text) - head - frame.tail
    count = 1 - (room - body) // (room - overlap)
    starts = [(body - room) * i // (count - 1) for i in range(count)]
    borders = [(starts[i] + room + starts[i + 1]) // 2 for i in range(count - 1)]
    found = []
    for i, start in enumerate(starts):
        first = 0 if i == 0 else head + borders[i - 1] - start
        last = limit if i == count - 1 else head + borders[i] - start
        around = [
            slice(0, head),
            slice(head + start, head + start + room),
            slice(len(text) - frame.tail, None),
        ]
        found.append(Piece(place, text.take(around), first, last))
    return found


def encode_long(
    encoder: TextEncoder,
    texts: str | Iterable[str],
    overlap: int | None,
    batch_tokens: int | None,
    normalize: bool | None,
    prompt: str | None,
    progress: bool | None,
) -> NDArray[np.float32]:
    """What `TextEncoder.encode_long` does."""
    if normalize is not None:
        _checks.flag(normalize, "normalize")
    budget, before = encoder.budget(batch_tokens), encoder.prompt(prompt)
    shown = prompt_length(encoder.tokenizer, before) if before else 0
    reader = _Reader(encoder, _overlap(encoder, overlap, shown), budget, normalize, shown)
    listed: Iterable[str] = [texts] if isinstance(texts, str) else texts
    found, report = [torch.empty(0, encoder.dimension)], Report()
    with Bar(listed, progress) as bar:
        for window in windows(strings(listed), WINDOW):
            vectors, own = reader.read(tokenize(encoder.tokenizer, [before + text for text in window]))
            found.append(vectors.cpu())
            report += own + Report(empty=sum(not text.strip() for text in window))
            bar.update(len(window))
    encoder.report = report
    result = torch.cat(found).numpy()
    return result[0] if isinstance(texts, str) else result


@dataclass(frozen=True)
class _Reader:
    """The settings of one call."""

    encoder: TextEncoder
    overlap: int
    budget: int
    normalize: bool | None
    prompt_tokens: int

    def read(self, texts: list[Encoded]) -> tuple[Tensor, Report]:
        """The vectors `(n, dimension)` of a window."""
        encoder, limit = self.encoder, self.encoder.max_tokens
        short = [i for i, text in enumerate(texts) if limit is None or len(text) <= limit]
        frame = Frame.of(encoder.tokenizer)
        cut = [
            piece
            for i, text in enumerate(texts)
            if limit is not None and len(text) > limit
            for piece in pieces(text, i, limit, self.overlap, frame, self.prompt_tokens)
        ]
        vectors = torch.zeros(len(texts), encoder.dimension, device=encoder.device)
        with encoder.inference():
            vectors[short] = encoder.vectors(
                [texts[i] for i in short], self.prompt_tokens, self.budget, self.normalize
            )
            if cut:
                long = sorted({piece.text for piece in cut})
                pooled = self._merged(cut) if encoder.pooling.pool.card.decomposable else self._joined(cut)
                with self.encoder.exact():
                    vectors[long] = encoder.finish(pooled, self.normalize).to(vectors.dtype)
        read = [len(texts[i]) for i in short] + [len(piece.tokens) for piece in cut]
        longest = max(map(len, texts), default=0)
        return vectors, Report(texts=len(texts), tokens=sum(read), longest=longest)

    def _merged(self, cut: list[Piece]) -> Tensor:
        """Pooled texts `(texts, D)` from the states of their pieces, which are small."""
        pool = self.encoder.pooling.pool
        skipped = 0 if self.encoder.pooling.include_prompt else self.prompt_tokens
        found: State = {}
        for batch in by_length([len(piece.tokens) for piece in cut], self.budget):
            states, counted = self._states([cut[i] for i in batch], skipped)
            with self.encoder.exact():
                for key, value in pool.state(Tokens(states, counted)).items():
                    if key not in found:
                        found[key] = value.new_zeros(len(cut), *value.shape[1:])
                    found[key][batch] = value
        rows: dict[int, list[int]] = {}
        for i, piece in enumerate(cut):
            rows.setdefault(piece.text, []).append(i)
        listed = [rows[text] for text in sorted(rows)]
        merged = {key: value[[own[0] for own in listed]] for key, value in found.items()}
        for turn in range(1, max(map(len, listed))):
            texts = [text for text, own in enumerate(listed) if turn < len(own)]
            part = {key: value[[listed[text][turn] for text in texts]] for key, value in found.items()}
            both = pool.merge({key: value[texts] for key, value in merged.items()}, part)
            for key, value in both.items():
                merged[key][texts] = value
        return pool.finalize(merged)

    def _joined(self, cut: list[Piece]) -> Tensor:
        """Pooled texts `(texts, D)` from all states that count, in order: for poolings that cannot be merged."""
        kept: list[Tensor] = [torch.empty(0)] * len(cut)
        for batch in by_length([len(piece.tokens) for piece in cut], self.budget):
            states, counted = self._states([cut[i] for i in batch], 0)
            for row, i in enumerate(batch):
                kept[i] = states[row][counted[row]]
        lengths = torch.zeros(cut[-1].text + 1, dtype=torch.int64)
        for piece, own in zip(cut, kept, strict=True):
            lengths[piece.text] += len(own)
        ends = lengths[lengths > 0].cumsum(0)
        features = {
            "token_embeddings": torch.cat(kept).unsqueeze(0),
            "cu_seq_lens_q": torch.cat([ends.new_zeros(1), ends]).to(self.encoder.device),
        }
        if self.prompt_tokens:
            features["prompt_length"] = self.prompt_tokens  # type: ignore[assignment]
        with self.encoder.exact():
            pooled: Tensor = self.encoder.pooling(features)["sentence_embedding"]
        return pooled

    def _states(self, batch: Sequence[Piece], skipped: int) -> tuple[Tensor, Tensor]:
        """The states `(B, T, C)` of a batch of pieces, and which of them count, `(B, T)` bool."""
        features = self.encoder.batch([piece.tokens for piece in batch])
        mask = features["attention_mask"]
        # The place of each token in its piece, wherever the padding is.
        place = mask.cumsum(1) - 1
        # The prompt is at the front of every piece; where it counts at all, it does in the first.
        start = torch.tensor([max(piece.start, skipped) for piece in batch], device=mask.device)
        stop = torch.tensor([piece.stop for piece in batch], device=mask.device)
        counted = (place >= start[:, None]) & (place < stop[:, None]) & mask.bool()
        return self.encoder.states(features), counted


def _overlap(encoder: TextEncoder, overlap: int | None, prompt_tokens: int) -> int:
    if overlap is not None:
        return _checks.size(overlap, "overlap")
    if encoder.max_tokens is None:
        return 0
    # A long prompt leaves little room, of which at least half is for new tokens.
    room = room_for_text(encoder.tokenizer, encoder.max_tokens, prompt_tokens)
    return min(encoder.max_tokens // 8, room // 2)
