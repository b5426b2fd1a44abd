"""sentence-transformers: its `Pooling` module on a padded batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

import polypool as pp
from polypool.bench.data import Data
from polypool.bench.rivals.rival import Call, Rival

PACKAGE = "sentence_transformers"
MODES = {
    "mean": "mean",
    "max": "max",
    "first": "cls",
    "last": "lasttoken",
    "position_weighted": "weightedmean",
    "mean_sqrt_len": "mean_sqrt_len_tokens",
}


def offers(subject: str, data: Data, module: nn.Module) -> Iterator[Rival]:
    """The mode that is the subject."""
    if not isinstance(data.layout, pp.Tokens) or subject not in MODES:
        return
    values, mask = data.values, data.mask
    attention_mask = torch.ones(values.shape[:2], dtype=torch.int64) if mask is None else mask.to(torch.int64)
    yield Rival(
        f"sentence-transformers {MODES[subject]}",
        lambda: pooling(MODES[subject], values.shape[2], attention_mask),
        PACKAGE,
    )


def pooling(mode: str, channels: int, attention_mask: Tensor) -> Call:
    """Its module in one mode."""
    from polypool.demo.encoder import stay_offline

    stay_offline()
    from sentence_transformers.sentence_transformer.modules import Pooling

    module = Pooling(channels, pooling_mode=mode)

    def call(x: Tensor) -> Tensor:
        pooled: Tensor = module({"token_embeddings": x, "attention_mask": attention_mask})[
            "sentence_embedding"
        ]
        return pooled

    return call
