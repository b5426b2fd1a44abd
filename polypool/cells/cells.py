"""Cells, written once over four primitives: `total`, `best`, `expand` and `rank`."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from polypool._checks import may_read
from polypool._lazy import lazy
from polypool.cells.statistics import Count, Mass, Statistic, closure, statistics, with_keys
from polypool.ops import exponential, moments, order, power
from polypool.ops.elementwise import safe
from polypool.ops.source import Source


def run(module: nn.Module, rows: Tensor) -> Tensor:
    """Runs a network in the dtype of its own parameters around rows that are float32 or wider.

    That is what makes `pool.half()` work: the network computes in half precision, the pooling does not.
    """
    parameter = next(module.parameters(), None)
    inside = rows if parameter is None else rows.to(parameter.dtype)
    return module(inside).to(rows.dtype)


class Cells(ABC):
    """A batch of cells, each a weighted multiset of rows.

    Every quantity keeps a channel dimension, so that all of them broadcast: what belongs to members has the shape
    `(..., N, c)`, what belongs to cells `(..., c)`, where `c` is C or 1.

    Attributes:
        rows: The members, channels last, in float32 or wider. 0 at padding.
        real: `(..., N, 1)` bool, which members are neither padding nor of weight 0; None when all are.
        weight: `(..., N, 1)`, one number per member; None when each counts 1.
        n: `(..., 1)` int64, the number of real members of each cell.
        mass: `(..., 1)`, the sum of their weights.
        positions: `(..., N, 1)` int64, the place of each real member in its cell, from 0.
    """

    real: Tensor | None
    weight: Tensor | None

    @lazy
    def rows(self) -> Tensor:
        """The members, channels last, float32 or wider, 0 at padding. Storage is shared where nothing changes."""
        return self.clean(self._wide_rows())

    @abstractmethod
    def _wide_rows(self) -> Tensor: ...

    @property
    @abstractmethod
    def n(self) -> Tensor: ...

    @property
    @abstractmethod
    def positions(self) -> Tensor: ...

    @lazy
    def mass(self) -> Tensor:
        """The sum of the weights of each cell, `(..., 1)`: the number of members where there are no weights."""
        if self.weight is None:
            return self.n.to(self.dtype)
        return self.total(self.weight)

    @property
    @abstractmethod
    def channels(self) -> int:
        """The number of channels of the members."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """What is computed in: float32 or wider."""

    @property
    @abstractmethod
    def can_be_empty(self) -> bool:
        """Whether some cell might have no member, as far as shapes alone can tell."""

    @lazy
    def none_empty(self) -> bool:
        """Whether every cell has a member; False where nobody can tell without waiting for a GPU, or while tracing."""
        return not self.can_be_empty or (may_read(self.n) and bool((self.n > 0).all()))

    def zero_where_empty(self, y: Tensor) -> Tensor:
        """What belongs to cells, `(..., c)`, with 0 for those that have no member."""
        if self.none_empty:
            return y
        return torch.where(self.n > 0, y, torch.zeros((), dtype=y.dtype, device=y.device))

    @abstractmethod
    def total(self, v: Tensor) -> Tensor:
        """Member rows summed per cell, blind to weight. Padding is never read, an empty cell gives 0."""

    @abstractmethod
    def expand(self, y: Tensor) -> Tensor:
        """Each cell's row to its members. Its gradient is `total`, and `total`'s is `expand`.

        Padding gets something that means nothing; it is finite and not 0 when all of `y` is.
        """

    @abstractmethod
    def argbest(self, v: Tensor) -> Tensor:
        """int64 index, along the member dimension, of the first largest member per cell and channel; NaN wins."""

    @abstractmethod
    def rank(self, v: Tensor) -> Tensor:
        """int64 place of each member in its cell and channel, ascending and stable, NaN last, -1 at padding."""

    @abstractmethod
    def at(self, v: Tensor, index: Tensor) -> Tensor:
        """The members of `v` that `argbest` (or any index along the member dimension) names; 0 in empty cells."""

    def best(self, v: Tensor) -> Tensor:
        """The largest member per cell and channel. Ties go to the first; the gradient goes to the winner alone."""
        return self.at(v, self.argbest(v.detach()))

    def least(self, v: Tensor) -> Tensor:
        """The smallest member per cell and channel, as `best`."""
        return -self.best(-v)

    def clean(self, v: Tensor, fill: float = 0.0) -> Tensor:
        """`v` with `fill` at padding, so that a function of it is finite there, forward and backward."""
        if self.real is None:
            return v
        return torch.where(self.real, v, torch.full((), fill, dtype=v.dtype, device=v.device))

    @abstractmethod
    def source(
        self, v: Tensor | None = None, weight: Tensor | None = None, among_weights: bool = False
    ) -> Source | None:
        """What a kernel reads: the values, or `v` of the members; None where plain torch has to compute.

        Args:
            v: `(..., N, c)`, numbers of the members; the values when None.
            weight: `(..., N, h)`, in place of the weights of the cells.
            among_weights: Whether the kernel gives gradients of weights as well.
        """

    @abstractmethod
    def reweighted(self, density: Tensor) -> "Cells":
        """The same members with the weights `w d`, for a density `(..., N, 1)`; those of density 0 are not read."""

    @abstractmethod
    def first(self) -> Tensor:
        """The first real member of each cell, 0 in empty cells."""

    @abstractmethod
    def last(self) -> Tensor:
        """The last real member of each cell, 0 in empty cells."""

    def reduce(self, v: Tensor, how: Literal["sum", "mean"] = "sum") -> Tensor:
        """The integral of `v` over each cell with its weights: `sum w v`, or divided by the mass."""
        if how not in ("sum", "mean"):
            raise ValueError(f'how must be "sum" or "mean"; found {how!r}.')
        total = self.total(v if self.weight is None else self.weight * self.clean(v))
        return total if how == "sum" else total / safe(self.mass)

    def mean(self, v: Tensor) -> Tensor:
        """`sum w v / sum w` of each cell."""
        return self.reduce(v, "mean")

    def reduce_rows(self, how: Literal["sum", "mean"] = "sum") -> Tensor:
        """`reduce(rows, how)` by plain torch, for the structures that can do it without listing the members."""
        return self.reduce(self.rows, how)

    def apply(self, density: Tensor, v: Tensor | None = None) -> Tensor:
        """`sum w d v`: what members weighed by a density `(..., N, h)` add up to; v is the rows when None.

        With h heads, head k weighs the channels `[k C / h, (k + 1) C / h)`. A member with density 0 is not read,
        so that 0 times inf does not become NaN, yet its density still gets a gradient where `v` is finite.
        """
        heads, channels = density.shape[-1], self.channels if v is None else v.shape[-1]
        if channels % max(heads, 1):
            raise ValueError(f"heads must divide the channels; found {heads} heads and {channels} channels.")
        if heads < channels or heads == 1:
            weight = density if self.weight is None else density * self.weight
            source = self.source(v, weight, among_weights=True)
            if source is not None:
                return moments.moments(source, ["sum"])[0]["sum"]
        if v is None:
            v = self.rows
        if heads not in (1, channels):
            density = density.repeat_interleave(channels // heads, dim=-1)
        unread = (density == 0) & ~v.isfinite()
        return self.reduce(density * v.masked_fill(unread, 0.0))

    def normalise(self, choice: Tensor) -> Tensor:
        """Scales non-negative numbers to a density over the members of each cell: `sum w d = 1`."""
        return choice / self.expand(safe(self.reduce(choice)))

    def statistics(self, wanted: Iterable[Statistic]) -> dict[Statistic, Tensor]:
        """The statistics asked for and those that they rest on, measured together."""
        needed = closure(wanted)
        keys = [each.key for each in needed if each.key in moments.CODES]
        if self.simple(keys):
            return statistics(self, needed)
        learned = self.weight is not None and self.weight.requires_grad
        source = (
            self.source(among_weights=not {"m3", "m4", "max", "min"}.intersection(keys)) if keys else None
        )
        if source is None:
            return statistics(self, needed)
        measured, mass = moments.moments(source, keys)
        found: dict[Statistic, Tensor] = {}
        for each in needed:
            if isinstance(each, Count):
                found[each] = self.n
            elif isinstance(each, Mass):
                found[each] = self.mass if learned or not mass.numel() else mass.detach()
            else:
                found[each] = measured[each.key]
        return found

    def simple(self, keys: list[str]) -> bool:
        """Whether one operation of torch measures these statistics as fast as memory is read."""
        return False

    def measured(self, keys: Iterable[str]) -> dict[Statistic, Tensor]:
        """The statistics of these names, by plain torch."""
        return statistics(self, with_keys(keys))

    def softmax(self, scores: Tensor, t: float | Tensor = 1.0) -> Tensor:
        """The density `e^(s / t) / sum w e^(s / t)` over the members of each cell, per channel of the scores."""
        source = self.source(scores)
        if source is None:
            return exponential.softmax(self, scores, t)
        return exponential.op.softmax(source, 1 / t)

    def log_mean_exp(self, v: Tensor | None = None, t: float | Tensor = 1.0) -> Tensor:
        """`t log(sum w e^(v / t) / sum w)`: max for t to 0, mean for t to infinity. v is the rows when None."""
        source = self.source(v)
        if source is None:
            return exponential.log_mean_exp(self, self.rows if v is None else v, t)
        return exponential.op.log_mean_exp(source, t)

    def power_mean(
        self, v: Tensor | None, p: float | Tensor, signed: bool = False, floor: float | None = None
    ) -> Tensor:
        """`(sum w |v|^p / sum w)^(1 / p)` without overflow; signed: the same of `sign(v) |v|^p`, sign kept.

        v is the rows when None; what is below `floor` counts as `floor`.
        """
        plain = signed and isinstance(p, float) and p == 1.0 and floor is None
        source = None if plain else self.source(v)
        if source is None:
            return power.power_mean(self, self.rows if v is None else v, p, signed, floor)
        return power.op.power_mean(source, p, signed, floor)

    def attend(
        self, scores: Tensor | None = None, v: Tensor | None = None, t: float | Tensor = 1.0
    ) -> Tensor:
        """The members of `v` averaged under the softmax of scores `(..., N, h)` at temperature t.

        v is the rows when None; so are the scores, one for each channel.
        """
        if scores is not None:
            return self.apply(self.softmax(scores, t), v)
        source = self.source() if v is None else None
        if source is None:
            return exponential.attend(self, self.rows, self.rows if v is None else v, t)
        return exponential.op.average(source, 1 / t)

    def quantile(self, q: float) -> Tensor:
        """The q-quantile of each channel, linear between ranks."""
        source = self._unweighted_source()
        return order.quantile(self, q) if source is None else order.op.quantiles(source, [q])[0]

    def trimmed(self, t: float) -> Tensor:
        """The mean of each channel without its `floor(t n)` smallest and largest members."""
        source = self._unweighted_source()
        return order.trimmed(self, t) if source is None else order.op.trimmed(source, t)

    def top(self, k: int) -> Tensor:
        """The mean of the `min(k, n)` largest members of each channel, ties to the first."""
        source = self._unweighted_source()
        return order.top(self, k) if source is None else order.op.top(source, k)

    def _unweighted_source(self) -> Source | None:
        """What a kernel of order statistics reads; None with weights too, which the definition refuses."""
        return self.source() if self.weight is None else None

    def quantile_density(self, q: float) -> Tensor:
        """The density that picks the q-quantile of each channel, linear between ranks."""
        return order.quantile_density(self, q)

    def trimmed_density(self, t: float) -> Tensor:
        """The density of the mean without the `floor(t n)` smallest and largest members of each channel."""
        return order.trimmed_density(self, t)

    def top_density(self, k: int) -> Tensor:
        """The density of the mean of the `min(k, n)` largest members of each channel, ties to the first."""
        return order.top_density(self, k)

    def per_cell(self, parameter: Tensor) -> Tensor:
        """A parameter of one number or C numbers as a row per cell, `(..., C)`."""
        return parameter.expand(self.n.shape[0], self.channels)

    def gram(self, a: Tensor, b: Tensor) -> Tensor:
        """The integral of the outer product `a b^T` over each cell, `(..., Ca, Cb)`.

        One column of `a` at a time: the extra memory is one copy of `b`, never members x Ca x Cb.
        """
        columns = [self.reduce(a[..., i : i + 1] * b) for i in range(a.shape[-1])]
        if not columns:
            empty = self.reduce(b)
            return empty.new_zeros((*empty.shape[:-1], 0, empty.shape[-1]))
        return torch.stack(columns, dim=-2)
