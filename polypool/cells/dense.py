"""Dense cells: B cells of N places each, some of which may be padding."""

import torch
from torch import Tensor

from polypool._lazy import lazy
from polypool.cells.cells import Cells
from polypool.ops import dispatch
from polypool.ops.elementwise import safe
from polypool.ops.source import Source

HALF = (torch.float16, torch.bfloat16)


def wide(values: Tensor) -> Tensor:
    """The values in float32 or wider: half precision is for storage, not for statistics."""
    return values.float() if values.dtype in HALF else values


class Dense(Cells):
    """B cells of N places, `(B, N, C)` with any strides.

    Args:
        stored: `(B, N, C)` in the user's dtype, or `(B, C, N)` with `channels_first`; never copied here.
        real: `(B, N, 1)` bool, or None when every place is a member.
        weight: `(B, N, 1)`, one number per member, or None.
        channels_first: Whether the places are the last dimension. Reduced in that order, a gradient is written in
            the order of the memory, which autograd would otherwise copy it to.
    """

    def __init__(
        self,
        stored: Tensor,
        real: Tensor | None = None,
        weight: Tensor | None = None,
        channels_first: bool = False,
    ) -> None:
        self.stored = stored
        self.channels_first = channels_first
        self.real = real
        self.weight = None if weight is None else weight.to(torch.promote_types(stored.dtype, torch.float32))

    @lazy
    def values(self) -> Tensor:
        """The elements, `(B, N, C)`."""
        return self.stored.mT if self.channels_first else self.stored

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
    def channels(self) -> int:
        return self.stored.shape[-2 if self.channels_first else -1]

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32 if self.stored.dtype in HALF else self.stored.dtype

    def source(
        self, v: Tensor | None = None, weight: Tensor | None = None, among_weights: bool = False
    ) -> Source | None:
        given = self.stored if v is None else v
        own = self.weight if weight is None else weight
        if own is not None and own.requires_grad and torch.is_grad_enabled() and not among_weights:
            dispatch.decline("this operation has no kernel for gradients of weights")
            return None
        if not dispatch.accelerated(given, own, dense=True):
            return None
        return Source(
            self.values if v is None else v, weight=self._shares if weight is None else self._cut(weight)
        )

    @lazy
    def _shares(self) -> Tensor | None:
        """The weights, 0 at padding; None when every place is a member that counts 1."""
        if self.weight is not None:
            return self._cut(self.weight)
        return None if self.real is None else self.real.to(self.dtype)

    def _cut(self, weight: Tensor) -> Tensor:
        return weight if self.real is None else torch.where(self.real, weight, torch.zeros_like(weight))

    def reweighted(self, density: Tensor) -> "Dense":
        read = density.detach() != 0
        return Dense(
            self.stored,
            read if self.real is None else read & self.real,
            density if self.weight is None else density * self.weight,
            self.channels_first,
        )

    def first(self) -> Tensor:
        return self._end(from_behind=True)

    def last(self) -> Tensor:
        return self._end()

    def _end(self, from_behind: bool = False) -> Tensor:
        """The last member of each cell; the first where places are numbered from behind."""
        highest = self.values.shape[1] - 1
        if highest < 0:
            return self.rows.sum(-2)
        if self.real is None:
            return wide(self.values.select(1, 0 if from_behind else highest))
        numbers = torch.arange(highest + 1, device=self.values.device, dtype=torch.int32)
        if from_behind:
            numbers = highest - numbers
        # A product takes half the time of a choice.
        place = (self.real.squeeze(-1) * numbers).amax(-1).to(torch.int64)
        cells = torch.arange(place.shape[0], device=place.device)
        return self.zero_where_empty(wide(self.values[cells, highest - place if from_behind else place]))

    def simple(self, keys: list[str]) -> bool:
        """One operation of torch is a sum or a mean of all places, or an extreme that nothing is derived from."""
        if self.real is not None or self.weight is not None or self.stored.dtype in HALF or len(keys) != 1:
            return False
        torch_is_fast = keys[0] in ("sum", "mean") or (
            keys[0] in ("max", "min") and self._only_read(self.stored)
        )
        return torch_is_fast and dispatch.choice() != "numba"

    def _only_read(self, v: Tensor) -> bool:
        """Whether no derivative goes through `v`: then it does not matter which of equal members is the largest."""
        if self.can_be_empty or (torch.is_grad_enabled() and v.requires_grad):
            return False
        return dispatch.choice() != "numba" and dispatch.accelerated(v, dense=True)

    def best(self, v: Tensor) -> Tensor:
        if self.real is None and self._only_read(v):
            return v.amax(-2)
        return super().best(v)

    def least(self, v: Tensor) -> Tensor:
        if self.real is None and self._only_read(v):
            return v.amin(-2)
        return super().least(v)

    @property
    def can_be_empty(self) -> bool:
        return self.real is not None or self.stored.shape[-1 if self.channels_first else -2] == 0

    @property
    def _one_number(self) -> bool:
        return not torch.compiler.is_compiling() and self.stored.shape[0] * self.channels == 1

    def total(self, v: Tensor) -> Tensor:
        return _sum(self.clean(v))

    def reduce_rows(self, how: str = "sum") -> Tensor:
        """Without padding and weights one torch operation: it is already at the limit."""
        if self.weight is not None:
            return super().reduce_rows(how)  # type: ignore[arg-type]
        if self.can_be_empty or self._one_number:
            total = _sum(self.rows)  # which are 0 at padding
            return total if how == "sum" else total / safe(self.mass)
        # Half precision is widened on the way, without a copy.
        x, places = self.stored, -1 if self.channels_first else -2
        dtype = torch.float32 if x.dtype in HALF else x.dtype
        return x.sum(places, dtype=dtype) if how == "sum" else x.mean(places, dtype=dtype)

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
        return self.zero_where_empty(picked)

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
