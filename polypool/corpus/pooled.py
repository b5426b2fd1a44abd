"""Adapters whose vectors are what a network gives, pooled: images and graphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from polypool.corpus.adapter import Adapter
from polypool.corpus.networks import identity, load_pooling
from polypool.pooling import Pooling


class PooledNetwork(Adapter):
    """A network by name, or none, and a pooling of what it gives.

    Args:
        settings: Those of the kind of data; `model` and `pool` among them.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = dict(settings)
        self._network: nn.Module | None = None
        self._pool: Pooling | None = None
        self._dimension = 0
        self._fingerprint: dict[str, Any] = {}
        self._device = torch.device("cpu")

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self._settings)

    def _fit(self, channels: int, kind: str, device: str) -> None:
        """Makes the pooling of a layout for the channels that the network gives, and the fingerprint of both."""
        pool = self._settings["pool"]
        self._pool = load_pooling(pool, channels, kind, device)
        self._dimension = self._pool.out_channels(channels)
        self._fingerprint = {
            "model": identity(self._settings["model"], self._network),
            "pooling": {
                "pool": pool,
                **identity(pool, self._pool),
                "channels": channels,
                "dimension": self._dimension,
            },
        }

    @property
    def pooling(self) -> Pooling:
        """The pooling.

        Raises:
            RuntimeError: The model is not loaded.
        """
        if self._pool is None:
            raise RuntimeError("the model is not loaded; call load first")
        return self._pool

    @property
    def dimension(self) -> int:
        return self._dimension

    def fingerprint(self) -> dict[str, Any]:
        return self._fingerprint
