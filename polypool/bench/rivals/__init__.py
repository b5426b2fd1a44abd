"""Who else computes the same: what a user would write in torch, and what packages offer.

Each module has a function `offers` that yields the rivals for one operator on one tensor. A rival whose package is not
installed is yielded all the same, and its row says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from polypool.bench.data import Data
from polypool.bench.rivals import composed, geometric, native, sentences, vision
from polypool.bench.rivals.rival import Rival

__all__ = ["Rival", "rivals"]


def rivals(subject: str, data: Data, module: nn.Module, *, compiled: bool = False) -> Iterator[Rival]:
    """Everybody who computes what the subject computes, on such data.

    Args:
        subject: The subject's name.
        data: What is pooled.
        module: Ours, whose parameters the rivals share.
        compiled: Whether to add what `torch.compile` makes of the composition.
    """
    yield from composed.offers(subject, data, module, compiled=compiled)
    for source in (native, geometric, sentences, vision):
        yield from source.offers(subject, data, module)
