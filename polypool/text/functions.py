"""The one-liners: a sentence vector from what a transformers model returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from polypool.layouts import Tokens
from polypool.pooling import Pooling
from polypool.registry import build

_NAMES = ("last_hidden_state", "token_embeddings")


def mean_pool(output_or_hidden: Any, attention_mask: Tensor | None) -> Tensor:
    """The mean of the real tokens of each row: `sum of real states / number of real states`.

    Padding is never read, whatever is in it, on any side. Half precision is summed in float32.

    Args:
        output_or_hidden: What a transformers model returned (a `ModelOutput`, or a tuple that starts with the hidden
            states), or the hidden states, `(B, T, C)`.
        attention_mask: `(B, T)`, bool or 0/1 integers, as the tokenizer gives it; None when every token is real.

    Returns:
        `(B, C)` in the dtype of the states; a row without tokens is 0.

    Raises:
        TypeError: There are no hidden states in what was passed, or the mask is no bool or integer tensor.
        ValueError: A shape does not fit: in particular a mask whose width is not that of the states.

    Example:
        >>> import torch
        >>> from polypool.text import mean_pool
        >>> hidden = torch.tensor([[[1.0, 5.0], [3.0, 7.0], [float("nan"), 0.0]]])
        >>> mean_pool(hidden, torch.tensor([[1, 1, 0]]))
        tensor([[2., 6.]])
    """
    return pool(output_or_hidden, attention_mask, "mean")


def pool(output: Any, attention_mask: Tensor | None, pooling: str | Pooling = "mean") -> Tensor:
    """Any pooling of the real tokens of each row.

    Args:
        output: As for `mean_pool`.
        attention_mask: As for `mean_pool`.
        pooling: A name such as `"max"`, several joined as in `"mean+max"`, or a pooling that was built; one with
            parameters has to be built once, so that it can be trained and kept.

    Returns:
        `(B, C_out)`, C channels for each of the joined poolings that keeps their number.

    Raises:
        TypeError: As for `mean_pool`, or the name is that of a pooling with parameters.
        ValueError: As for `mean_pool`, or the name is unknown.

    Example:
        >>> import torch
        >>> from polypool.text import pool
        >>> hidden = torch.tensor([[[1.0], [3.0], [9.0]]])
        >>> pool(hidden, torch.tensor([[1, 1, 0]]), "mean+max")
        tensor([[2., 3.]])
    """
    return built(pooling)(Tokens(hidden_states(output), attention_mask))


def hidden_states(output: Any) -> Tensor:
    """The token states `(B, T, C)` in whatever a model returned.

    Raises:
        TypeError: There are none.
    """
    found = output
    if isinstance(output, Mapping):
        found = next((output[name] for name in _NAMES if output.get(name) is not None), None)
    elif isinstance(output, tuple | list):
        found = output[0] if output else None
    elif not isinstance(output, Tensor):
        found = getattr(output, _NAMES[0], None)
    if isinstance(output, Tensor) or (isinstance(found, Tensor) and found.dim() == 3):
        states: Tensor = found
        return states
    raise TypeError(
        f"the output must hold hidden states (B, T, C) under {_NAMES[0]!r}, or first in a tuple; found "
        f"{_seen(output)}. Use the model without its head (AutoModel), or pass output.hidden_states[-1]."
    )


def _seen(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"{type(output).__name__} with {', '.join(map(str, output)) or 'nothing'}"
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        return f"a {type(output).__name__} that starts with a tensor of shape {tuple(output[0].shape)}"
    return f"a {type(output).__name__}"


def built(pooling: str | Pooling) -> Pooling:
    """A pooling, by name or as it is.

    Raises:
        TypeError: It is neither, or the name is that of a pooling with parameters.
        ValueError: The name is unknown.
    """
    if isinstance(pooling, Pooling):
        return pooling
    try:
        found = build(pooling)
    except TypeError as error:
        if isinstance(pooling, str):
            raise TypeError(f"{error} Build it once, and pass what was built.") from error
        raise TypeError(
            f"pooling must be a name or a pooling that was built; found {type(pooling).__name__}."
        ) from error
    if found.card.learnable:
        raise TypeError(
            f"{pooling} has parameters, which would be new on every call; build it once with polypool.build and pass "
            "what was built."
        )
    return found
