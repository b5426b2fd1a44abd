"""Batch normalisation that leaves padding out."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from polypool.cells import safe
from polypool.cells.dense import wide


class BatchNorm(_NormBase):
    """Batch normalisation of rows `(..., C)`; the statistics are those of the real rows alone.

    In training `(x - mean) / sqrt(var + eps) * weight + bias` with the mean and the population variance over all real
    rows of the batch; otherwise with the running ones. Computed in float32 or wider. Parameters, buffers and their
    names are those of `torch.nn.BatchNorm1d`, from which it is not derived: `convert_sync_batchnorm` would put a module
    in its place that knows no padding.

    Raises:
        ValueError: There is a single row in training.

    Source:
        Ioffe, Szegedy 2015, Batch Normalization, algorithm 1.

    Example:
        >>> import torch
        >>> norm = BatchNorm(1)
        >>> rows, real = torch.tensor([[1.0], [3.0], [99.0]]), torch.tensor([[True], [True], [False]])
        >>> norm(rows, real)[:2].round(decimals=3).flatten().tolist()
        [-1.0, 1.0]
    """

    def forward(self, input: Tensor, real: Tensor | None = None) -> Tensor:
        """Normalises rows `(..., C)`; `real` is `(..., 1)` bool, None when all rows count."""
        x = wide(input)
        kept_mean, kept_var = self.running_mean, self.running_var
        if self.training or kept_mean is None or kept_var is None:
            mean, var, n = _measured(x, real)
            if self.training and kept_mean is not None and kept_var is not None:
                share = self._share(n)
                unbiased = var * (n / (n - 1).clamp(min=1))
                _move(kept_mean, mean, share)
                _move(kept_var, unbiased, share)
        else:
            mean, var = kept_mean.to(x.dtype), kept_var.to(x.dtype)
        y = (x - mean) * torch.rsqrt(var + self.eps)
        if self.affine:
            y = y * self.weight.to(x.dtype) + self.bias.to(x.dtype)
        return y.to(input.dtype)

    @torch.no_grad()
    def _share(self, n: Tensor) -> Tensor:
        """How far the running statistics move towards those of a batch; not at all for a batch of padding."""
        share = torch.full((), self.momentum or 0.0, dtype=torch.float64, device=n.device)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                share = self.num_batches_tracked.double().reciprocal()
        return torch.where(n > 0, share, torch.zeros_like(share))


@torch.no_grad()
def _move(kept: Tensor, found: Tensor, share: Tensor) -> None:
    wanted = kept.to(found.dtype)
    kept.copy_(wanted + share.to(found.dtype) * (found.detach() - wanted))


def _measured(x: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and population variance of the real rows, and how many there are."""
    rows = x.flatten(0, -2)
    if rows.shape[0] == 1:
        raise ValueError(
            "batch normalisation needs more than one row in training; found 1. Use a larger batch, eval(), or "
            "build the block with norm=False."
        )
    if real is None:
        kept = torch.ones((rows.shape[0], 1), dtype=torch.bool, device=x.device)
    else:
        kept = real.reshape(-1, 1)
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    n = kept.sum().to(x.dtype)
    mean = torch.where(kept, rows, zero).sum(0) / safe(n)
    var = torch.where(kept, rows - mean, zero).square().sum(0) / safe(n)
    return mean, var, n
