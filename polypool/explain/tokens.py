"""What each token adds to a score of its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from polypool.explain.contributions import Contributions, contributions
from polypool.explain.quiet import quiet
from polypool.layouts import Tokens
from polypool.pooling import Pooling
from polypool.registry import build


@dataclass(frozen=True)
class TokenContributions(Contributions):
    """What each token adds to a score of its text.

    Attributes:
        values: `(B, T)`, signed; 0 at padding.
        score: `(B,)`, the pooled vector times the direction; a cosine similarity where texts are compared.
        error: `(B,)`, the score minus the sum over the tokens.
        mask: `(B, T)` bool, which places are tokens.
        tokens: The tokens of each text, padding left out; empty for hidden states without a tokenizer.
        other: What each text was compared with; None for a direction.
    """

    mask: Tensor
    tokens: tuple[tuple[str, ...], ...] = ()
    other: tuple[str, ...] | None = None

    def of(self, row: int = 0) -> Tensor:
        """What the tokens of one text add, padding left out."""
        return self.values[row][self.mask[row]]


def token_contributions(
    model_or_hidden: nn.Module | Tensor,
    mask: Tensor | None = None,
    direction: Tensor | None = None,
    *,
    tokenizer: Any = None,
    text: str | Sequence[str] | None = None,
    to: str | Sequence[str] | None = None,
    pool: str | Pooling = "mean",
    max_length: int | None = None,
) -> TokenContributions:
    """Splits a score of a text over its tokens, from hidden states or from a model and a text.

    With `to`, the score is the cosine similarity of the two pooled vectors, `p . q / (|p| |q|)`: the direction is
    `q / (|p| |q|)`, with the lengths held fixed, so that the tokens of the text add up to the similarity.

    Args:
        model_or_hidden: Hidden states `(B, T, C)`; or a transformers model that gives `last_hidden_state`.
        mask: `(B, T)`, for hidden states: which places are tokens.
        direction: `(C_out,)` or `(B, C_out)`: what the pooled vector is multiplied with.
        tokenizer: The model's tokenizer.
        text: The text to explain, or several.
        to: Another text, for all or one for each; with neither this nor a direction, the text itself.
        pool: What pools the hidden states: a name or a pooling.
        max_length: Tokens at most; the tokenizer's own limit when None.

    Returns:
        The contributions; `tokens` names them.

    Raises:
        TypeError: An argument has a type that does not fit, or is missing.
        ValueError: Arguments contradict each other, or a shape does not fit.

    Example:
        >>> import torch
        >>> from polypool.explain import token_contributions
        >>> hidden, query = torch.randn(1, 4, 8), torch.randn(8)
        >>> found = token_contributions(hidden, torch.tensor([[1, 1, 1, 0]]), query, pool="max")
        >>> torch.allclose(found.values.sum(), hidden[:, :3].amax(1)[0] @ query, atol=1e-5)
        True
    """
    if isinstance(model_or_hidden, Tensor):
        if direction is None:
            raise TypeError("direction must be given with hidden states: (C_out,) or (B, C_out).")
        if not (tokenizer is None and text is None and to is None):
            raise ValueError("tokenizer, text and to go with a model; found hidden states.")
        layout = Tokens(model_or_hidden, mask)
        found = contributions(_pooling(pool, layout.channels), layout, direction)
        real = torch.ones_like(found.values, dtype=torch.bool) if layout.mask is None else layout.mask
        return TokenContributions(found.values, found.score, found.error, real)
    if not isinstance(model_or_hidden, nn.Module):
        raise TypeError(
            f"model_or_hidden must be hidden states or a model; found {type(model_or_hidden).__name__}."
        )
    if tokenizer is None or text is None:
        raise TypeError("tokenizer and text must be given with a model.")
    if mask is not None:
        raise ValueError("mask goes with hidden states; the tokenizer makes that of a text.")
    if to is not None and direction is not None:
        raise ValueError("either to or direction may be given; found both.")
    texts = (text,) if isinstance(text, str) else tuple(text)
    layout, names = _encode(model_or_hidden, tokenizer, texts, max_length)
    pooling = _pooling(pool, layout.channels)
    others = None
    if direction is None:
        others = _others(to, texts)
        there, _ = _encode(model_or_hidden, tokenizer, others, max_length)
        direction = _towards(pooling, layout, there)
    found = contributions(pooling, layout, direction)
    real = torch.ones_like(found.values, dtype=torch.bool) if layout.mask is None else layout.mask
    return TokenContributions(found.values, found.score, found.error, real, names, others)


def _pooling(pool: str | Pooling, channels: int) -> Pooling:
    return build(pool, channels=channels) if isinstance(pool, str) else pool


def _others(to: str | Sequence[str] | None, texts: tuple[str, ...]) -> tuple[str, ...]:
    if to is None:
        return texts
    others = (to,) * len(texts) if isinstance(to, str) else tuple(to)
    if len(others) != len(texts):
        raise ValueError(f"to must be one text, or one for each of {len(texts)}; found {len(others)}.")
    return others


def _encode(
    model: nn.Module, tokenizer: Any, texts: tuple[str, ...], max_length: int | None
) -> tuple[Tokens, tuple[tuple[str, ...], ...]]:
    """The hidden states of some texts, and the names of their tokens."""
    if not texts or not all(isinstance(one, str) for one in texts):
        raise TypeError("text and to must be a text or several, at least one.")
    batch = tokenizer(
        list(texts), padding=len(texts) > 1, truncation=True, max_length=max_length, return_tensors="pt"
    )
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    inputs = {key: value.to(device) for key, value in batch.items()}
    with quiet(model), torch.no_grad():
        result = model(**inputs)
    hidden = getattr(result, "last_hidden_state", None)
    if hidden is None:
        raise TypeError(f"the model must give last_hidden_state; found {type(result).__name__}.")
    mask = inputs.get("attention_mask")
    layout = Tokens(hidden, mask)
    real = torch.ones(hidden.shape[:2], dtype=torch.bool) if mask is None else mask.bool().cpu()
    ids = inputs["input_ids"].cpu()
    names = tuple(
        tuple(tokenizer.convert_ids_to_tokens(row[keep].tolist()))
        for row, keep in zip(ids, real, strict=True)
    )
    return layout, names


@torch.no_grad()
def _towards(pool: Pooling, here: Tokens, there: Tokens) -> Tensor:
    """The direction whose score is the cosine similarity."""
    wide = torch.promote_types(here.values.dtype, torch.float32)
    own, other = pool(here).to(wide), pool(there).to(wide)
    lengths = own.norm(dim=-1, keepdim=True) * other.norm(dim=-1, keepdim=True)
    return other / lengths.clamp(min=torch.finfo(wide).tiny)
