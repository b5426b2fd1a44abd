"""Dense cells: B cells of N places each, some of which may be padding."""

import torch
from torch import Tensor

from polypool._lazy import lazy
from polypool.cells.cells import Cells
from polypool.ops.elementwise import safe


def wide(values: Tensor) -> Tensor:
    """The values in float32 or wider: half precision is for storage, not for statistics."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


class Dense(Cells):
    """B cells of N places, `(B, N, C)` with any strides.

    Args:
        values: `(B, N, C)` in the user's dtype; never copied here.
        real: `(B, N, 1)` bool, or None when every place is a member.
        weight: `(B, N, 1)`, one number per member, or None.
    """

    def __init__(self, values: Tensor, real: Tensor | None = None, weight: Tensor | None = None) -> None:
        self.values = values
        self.real = real
        self.weight = None if weight is None else weight.to(torch.promote_types(values.dtype, torch.float32))

    def _wide_rows(self) -> Tensor:
        return wide(self.values)

    @lazy
    def n(self) -> Tensor:
        """The number of real members, `(B, 1)` int64."""
        batch, places = self.values.shape[0], self.values.shape[1]
        if self.real is None:
            return torch.full((batch, 1), places, dtype=torch.int64, device=self.values.device)
        return self.real.sum(-2)

    @lazy
    def positions(self) -> Tensor:
        """The place of each real member among the real ones, `(B, N, 1)` int64."""
        if self.real is not None:
            return self.real.to(torch.int64).cumsum(-2) - 1
        places = torch.arange(self.values.shape[1], device=self.values.device)
        return places[:, None].expand(self.values.shape[0], -1, 1)

    @property
    def can_be_empty(self) -> bool:
        return self.real is not None or self.values.shape[1] == 0

    def total(self, v: Tensor) -> Tensor:
        return _sum(self.clean(v))

    def reduce_rows(self, how: str = "sum") -> Tensor:
        """Without padding and weights one torch operation: it is already at the limit."""
        if self.weight is not None:
            return super().reduce_rows(how)  # type: ignore[arg-type]
        if self.can_be_empty or _one_number(self.values):
            total = _sum(self.rows)  # which are 0 at padding
            return total if how == "sum" else total / safe(self.mass)
        # Half precision is widened on the way, without a copy.
        dtype = torch.promote_types(self.values.dtype, torch.float32)
        return self.values.sum(-2, dtype=dtype) if how == "sum" else self.values.mean(-2, dtype=dtype)

    def expand(self, y: Tensor) -> Tensor:
        places = self.values.shape[1]
        if _one_number(y):
            return y.expand(1, 2).unsqueeze(-2).expand(1, places, 2)[..., :1]  # its gradient is a sum too
        return y.unsqueeze(-2).expand(*y.shape[:-1], places, y.shape[-1])

    def argbest(self, v: Tensor) -> Tensor:
        if v.shape[-2] == 0:
            return torch.zeros((*v.shape[:-2], v.shape[-1]), dtype=torch.int64, device=v.device)
        if self.real is None:
            return v.argmax(-2)
        winner = self.clean(v, float("-inf")).argmax(-2)
        # Padding can tie a real -inf and come first: then the first real member is the winner.
        first = self.real.to(torch.int8).argmax(-2).expand_as(winner)
        real = self.real.expand_as(v).gather(-2, winner.unsqueeze(-2)).squeeze(-2)
        return torch.where(real, winner, first)

    def at(self, v: Tensor, index: Tensor) -> Tensor:
        if v.shape[-2] == 0:
            return v.sum(-2)
        picked = v.gather(-2, index.unsqueeze(-2)).squeeze(-2)
        if self.real is None:
            return picked
        return torch.where(self.n > 0, picked, torch.zeros((), dtype=v.dtype, device=v.device))

    def rank(self, v: Tensor) -> Tensor:
        order = v.detach().argsort(dim=-2, stable=True)
        if self.real is None:
            return order.argsort(dim=-2)
        # Counting only real members along the order leaves padding out, wherever the sort has put it.
        real = self.real.expand_as(v)
        place = real.gather(-2, order).to(torch.int64).cumsum(-2) - 1
        place = place.gather(-2, order.argsort(dim=-2))
        return torch.where(real, place, torch.full_like(place, -1))

    def gram(self, a: Tensor, b: Tensor) -> Tensor:
        """One matrix product per cell, outside autocast, which would narrow it to half precision."""
        left = self.clean(a) if self.weight is None else self.weight * self.clean(a)
        with torch.autocast(a.device.type, enabled=False):
            return left.transpose(-1, -2) @ self.clean(b)


def _one_number(v: Tensor) -> bool:
    """Whether there is a single cell with a single channel. A compiler has its own sums, and need not ask."""
    return not torch.compiler.is_compiling() and v.shape[0] * v.shape[-1] == 1


def _sum(v: Tensor) -> Tensor:
    """`v.sum(-2)`, bitwise the same for any number of threads.

    torch cuts a sum with one result into a piece for each thread, and one with more results between them: a single
    channel is summed as two, which are the same memory.
    """
    return v.expand(-1, -1, 2).sum(-2)[..., :1] if _one_number(v) else v.sum(-2)
