"""The training loop that the image and the graph networks share."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

Batch = TypeVar("Batch")


def fit(
    model: nn.Module,
    batches: Callable[[torch.Generator], Sequence[Batch]],
    loss: Callable[[Batch], Tensor],
    *,
    epochs: int,
    rate: float,
    seed: int,
    tick: Callable[[], object] = lambda: None,
) -> None:
    """Train in place with AdamW and a one-cycle schedule, then switch to evaluation.

    Args:
        model: the network whose parameters move.
        batches: the batches of one epoch, in an order drawn from the generator; always the same number of them.
        loss: the scalar loss of one batch.
        epochs: passes over the batches.
        rate: the largest learning rate of the cycle.
        seed: seeds the order of the batches.
        tick: called after each epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule: torch.optim.lr_scheduler.OneCycleLR | None = None
    model.train()
    for _ in range(epochs):
        epoch = batches(generator)
        if schedule is None:
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * len(epoch))
        for batch in epoch:
            optimizer.zero_grad()
            loss(batch).backward()
            optimizer.step()
            schedule.step()
        tick()
    model.eval()
