"""Weights of tokens by how rare they are: smooth inverse frequency."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Self

import torch
from torch import Tensor

from polypool import _checks
from polypool.poolings._settings import positive


class TokenCounts:
    """How often each token of a vocabulary occurs, counted batch by batch and merged across processes.

    Args:
        vocabulary: How many tokens there are.
        special: The ids of special tokens. They are not counted and get the weight 0, which leaves them out.

    Attributes:
        counts: `(vocabulary,)` int64.

    Example:
        >>> import torch, polypool as pp
        >>> from polypool.text import TokenCounts
        >>> ids = torch.tensor([[0, 2, 2, 3], [0, 2, 1, 1]])
        >>> counts = TokenCounts(4, special=[0, 1]).update(ids)
        >>> counts.counts
        tensor([0, 0, 3, 1])
        >>> weight = counts.weights(a=0.25)  # a / (a + p), by id
        >>> weight
        tensor([0.0000, 0.0000, 0.2500, 0.5000])
        >>> pp.build("mean")(pp.Tokens(torch.tensor([[[9.0], [1.0], [1.0], [4.0]]]), weight=weight[ids[:1]]))
        tensor([[2.5000]])
    """

    def __init__(self, vocabulary: int, special: Iterable[int] = ()) -> None:
        size = _checks.size(vocabulary, "vocabulary", 1)
        self.special = tuple(sorted({int(each) for each in special}))
        if self.special and not 0 <= self.special[0] <= self.special[-1] < size:
            raise ValueError(
                f"special must hold ids in [0, {size}); found {self.special[0]} to {self.special[-1]}. "
                "Pass len(tokenizer) as vocabulary."
            )
        self.counts = torch.zeros(size, dtype=torch.int64)

    @property
    def total(self) -> int:
        """How many tokens were counted."""
        return int(self.counts.sum())

    def update(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Self:
        """Counts the tokens of a batch.

        Args:
            input_ids: Integers of any shape.
            attention_mask: The same shape, which tokens are no padding.

        Raises:
            TypeError: An argument has a dtype that does not fit.
            ValueError: A shape does not fit, or an id is out of range; then nothing was counted.
        """
        ids = _checks.index(input_ids, "input_ids", None, "(B, T)", input_ids)
        if attention_mask is not None:
            ids = ids[_checks.mask(attention_mask, ids.shape, "(B, T)", ids, "attention_mask")]
        ids = ids.flatten().cpu()
        size = self.counts.shape[0]
        _checks.in_range(ids, "input_ids", 0, size, "the vocabulary", "Pass len(tokenizer) as vocabulary.")
        found = torch.bincount(ids, minlength=size)
        found[list(self.special)] = 0
        self.counts += found
        return self

    def merge(self, other: TokenCounts) -> TokenCounts:
        """The counts of both together; exact.

        Raises:
            ValueError: The two have different vocabularies or special tokens.
        """
        if (self.counts.shape, self.special) != (other.counts.shape, other.special):
            raise ValueError(
                f"other must count the same vocabulary of {self.counts.shape[0]} and {len(self.special)} special "
                f"tokens; found {other.counts.shape[0]} and {len(other.special)}. Use one tokenizer."
            )
        both = TokenCounts(self.counts.shape[0], self.special)
        both.counts = self.counts + other.counts
        return both

    def weights(self, a: float = 1e-3) -> Tensor:
        """`(vocabulary,)` float32, `a / (a + p)` with p the share of the token among those counted.

        1 for a token that never occurred, 0 for special tokens. `weights[input_ids]` is a `weight` for `Tokens` and
        `Packed`. With these the `mean` divides by the sum of the weights; the authors divide by the number of tokens.
        The direction is the same, and the length does not matter to a cosine; for theirs pool with `sum` and divide
        by the number of tokens.

        Args:
            a: > 0. The smaller it is, the less frequent tokens count; the authors suggest 1e-4 to 1e-3 for words.

        Raises:
            TypeError: `a` is no number.
            ValueError: `a` is not > 0 and finite, or nothing was counted.

        Source: Arora, Liang, Ma 2017, A Simple but Tough-to-Beat Baseline for Sentence Embeddings, algorithm 1; for
        words there, for the tokens of a tokenizer here.
        """
        positive(a, "a")
        total = self.total
        if total == 0:
            raise ValueError("counts must hold at least one token; found none. Call update first.")
        weights = a / (a + self.counts.double() / total)
        weights[list(self.special)] = 0
        return weights.float()

    def __repr__(self) -> str:
        return f"TokenCounts(vocabulary={self.counts.shape[0]}, total={self.total})"


def count_tokens(tokenizer: Any, texts: Iterable[str], *, chunk: int = 2048) -> TokenCounts:
    """Counts the tokens of texts, in full length and without special tokens.

    Args:
        tokenizer: A transformers tokenizer, such as `encoder.tokenizer`.
        texts: Any number of texts; a generator is read once, `chunk` texts at a time.
        chunk: Texts that are tokenized together, > 0.

    Raises:
        TypeError: `texts` is one string, or `chunk` no int.
        ValueError: The texts hold no token.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be several texts; found one string. Pass [text].")
    _checks.size(chunk, "chunk", 1)
    counts = TokenCounts(len(tokenizer), tokenizer.all_special_ids)
    source = iter(texts)
    while batch := list(islice(source, chunk)):
        found = tokenizer(batch, add_special_tokens=False, truncation=False, verbose=False)
        counts.update(torch.tensor([each for ids in found["input_ids"] for each in ids], dtype=torch.int64))
    if counts.total == 0:
        raise ValueError("texts must hold at least one token; found none. A generator can be read only once.")
    return counts
