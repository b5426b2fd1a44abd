"""Batch normalisation of rows: torch's own where nothing is padding, torch's on the real rows otherwise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import polypool as pp
from polypool.blocks._norm import BatchNorm
from tests.support import close, normal, uniform


def both(momentum: float | None = 0.1) -> tuple[BatchNorm, nn.BatchNorm1d]:
    ours, theirs = BatchNorm(3, momentum=momentum).double(), nn.BatchNorm1d(3, momentum=momentum).double()
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.copy_(normal(3, seed=4))
            other.copy_(mine)
    return ours, theirs


def compare(ours: BatchNorm, theirs: nn.BatchNorm1d, rows: Tensor, real: Tensor | None) -> None:
    mine, other = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    kept = torch.ones(rows.shape[:-1], dtype=torch.bool) if real is None else real.squeeze(-1)
    out, wanted = ours(mine, real)[kept], theirs(other[kept])
    close(out, wanted, "rows")
    into = normal(*out.shape, seed=9)
    found = torch.autograd.grad((out * into).sum(), (mine, *ours.parameters()))
    gradients = torch.autograd.grad((wanted * into).sum(), (other, *theirs.parameters()))
    for gradient, other_gradient in zip(found, gradients, strict=True):
        close(gradient, other_gradient, "gradient")
    for buffer, other_buffer in zip(ours.buffers(), theirs.buffers(), strict=True):
        close(buffer.double(), other_buffer.double(), "running statistics")


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("masked", [False, True], ids=["", "mask"])
def test_like_torch_on_the_real_rows(masked: bool, momentum: float | None) -> None:
    ours, theirs = both(momentum)
    for step in range(3):
        rows = normal(4, 5, 3, seed=step)
        real = uniform(4, 5, 1, seed=step) > 0.4 if masked else None
        flat = rows.flatten(0, 1)
        compare(ours, theirs, flat, None if real is None else real.flatten(0, 1))
    ours.eval()
    theirs.eval()
    compare(ours, theirs, normal(7, 3, seed=8), None)


def test_a_batch_of_padding_changes_nothing() -> None:
    ours, _ = both()
    before = [ours.running_mean.clone(), ours.running_var.clone()]  # type: ignore[union-attr]
    out = ours(normal(4, 3), torch.zeros(4, 1, dtype=torch.bool))
    assert bool(out.isfinite().all())
    for kept, now in zip(before, (ours.running_mean, ours.running_var), strict=True):
        assert now is not None
        close(now, kept, "running statistics")


def test_one_row() -> None:
    ours, _ = both()
    with pytest.raises(ValueError, match=r"more than one row in training; found 1. .* norm=False"):
        ours(normal(1, 3))
    assert ours.eval()(normal(1, 3)).shape == (1, 3)


def test_without_parameters_and_without_memory() -> None:
    rows = normal(6, 3)
    for affine, track in ((False, True), (True, False), (False, False)):
        ours = BatchNorm(3, affine=affine, track_running_stats=track).double()
        theirs = nn.BatchNorm1d(3, affine=affine, track_running_stats=track).double()
        close(ours(rows), theirs(rows), "train")
        close(ours.eval()(rows), theirs.eval()(rows), "eval")


def test_a_converted_model_still_runs() -> None:
    """`convert_sync_batchnorm` is part of many training scripts."""
    block = pp.blocks.CBAM(16)
    net = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm2d(16), block))
    assert isinstance(net[0], nn.SyncBatchNorm)
    assert net[1](normal(2, 16, 5, 5, dtype=torch.float32)).shape == (2, 16, 5, 5)
