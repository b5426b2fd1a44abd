"""Features as the modules of sentence-transformers hand them on, and their own pooling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from polypool.text.config import MODES
from tests.support import identical, normal

SIX = tuple(MODES)
COMBINED = (("cls", "mean"), ("max", "lasttoken", "weightedmean"))
LENGTHS = (5, 2, 7, 3)
CHANNELS = 6

STATES = normal(len(LENGTHS), max(LENGTHS), CHANNELS, seed=1, dtype=torch.float32)
RIGHT = torch.tensor([[int(place < length) for place in range(max(LENGTHS))] for length in LENGTHS])
LEFT = RIGHT.flip(1)


def theirs(mode: Any = "mean", include_prompt: bool = True, channels: int = CHANNELS) -> Any:
    """`sentence_transformers`' own `Pooling`."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    return Pooling(channels, mode, include_prompt)


def padded(mask: Tensor = RIGHT, states: Tensor = STATES, **more: Any) -> dict[str, Any]:
    """Padded features."""
    return {"token_embeddings": states, "attention_mask": mask, **more}


def flattened(mask: Tensor = RIGHT, states: Tensor = STATES, **more: Any) -> dict[str, Any]:
    """The same without padding: what its `Transformer` makes for flash attention."""
    lengths = mask.sum(1)
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]).to(torch.int32)
    return {"token_embeddings": states[mask.bool()][None], "cu_seq_lens_q": offsets, **more}


def vectors(pooling: Any, features: dict[str, Any]) -> Tensor:
    """What a module makes of the features, which stay as they are."""
    found: Tensor = pooling(dict(features))["sentence_embedding"]
    return found


def same(actual: Tensor, expected: Tensor) -> None:
    """Bit for bit."""
    identical(actual, expected, "result")
