"""What grids and token sequences share: padding and weights of places."""

import torch
from torch import Tensor

from polypool import _checks


def real_places(mask: Tensor | None, weight: Tensor | None) -> Tensor | None:
    """`(B, N, 1)` bool, the places that are neither padding nor of weight 0; None when there is no padding.

    Args:
        mask: `(B, *S)` bool or None.
        weight: `(B, *S)` or None.
    """
    real = mask
    if weight is not None:
        counted = weight.detach() > 0
        real = counted if mask is None else counted & mask
    return None if real is None else real.flatten(1).unsqueeze(-1)


def flat_weight(weight: Tensor | None) -> Tensor | None:
    """`(B, *S)` as `(B, N, 1)`."""
    return None if weight is None else weight.flatten(1).unsqueeze(-1)


def count(real: Tensor | None, batch: int, places: int, device: torch.device) -> Tensor:
    """`(B,)` int64, the real places of each cell."""
    if real is None:
        return torch.full((batch,), places, dtype=torch.int64, device=device)
    return real.sum((-2, -1))


def blank(real: Tensor | None, v: Tensor) -> Tensor:
    """`(B, N, c)` with 0 at padding."""
    return v if real is None else torch.where(real, v, torch.zeros((), dtype=v.dtype, device=v.device))


def as_stored(x: Tensor, like: Tensor) -> Tensor:
    """`x` written out in the memory format of `like`; inside vmap, where that cannot be asked for, as it is."""
    if _checks.batched(x) or _checks.batched(like):
        return x
    if like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous():
        return x.contiguous(memory_format=torch.channels_last)
    if (
        like.dim() == 5
        and like.is_contiguous(memory_format=torch.channels_last_3d)
        and not like.is_contiguous()
    ):
        return x.contiguous(memory_format=torch.channels_last_3d)
    return x.contiguous()
