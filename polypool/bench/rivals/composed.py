"""What a user would write in torch: the formulas over four steps, and torch's own functions where it has some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import polypool as pp
from polypool.bench.data import Data
from polypool.bench.rivals.builtin import offers as builtin
from polypool.bench.rivals.rival import Call, Rival
from polypool.bench.subjects import FUSED


@dataclass(frozen=True)
class Steps:
    """What differs between layouts: summing per cell, the largest of a cell, and a cell's row at its elements."""

    total: Callable[[Tensor], Tensor]
    best: Callable[[Tensor], Tensor]
    spread: Callable[[Tensor], Tensor]
    count: Tensor | int
    last: Callable[[Tensor], Tensor] = lambda x: x  # channels last and back, for linear layers
    back: Callable[[Tensor], Tensor] = lambda x: x
    flat: Callable[[Tensor], Tensor] = lambda y: y


def steps(data: Data) -> Steps:
    """Those of a layout."""
    if isinstance(data.layout, pp.Grid):
        return Steps(
            lambda v: v.sum((2, 3), keepdim=True),
            lambda v: v.amax((2, 3), keepdim=True),
            lambda y: y,
            data.values.shape[2] * data.values.shape[3],
            lambda x: x.movedim(1, -1),
            lambda x: x.movedim(-1, 1),
            lambda y: y.flatten(1),
        )
    if isinstance(data.layout, pp.Tokens):
        return _padded(data)
    if data.index is None or data.lengths is None:
        raise ValueError(f"no composition for {data.layout!r}")
    index, cells = data.index, data.cells
    return Steps(
        lambda v: v.new_zeros(cells, v.shape[1]).index_add(0, index, v),
        lambda v: v.new_zeros(cells, v.shape[1]).scatter_reduce(
            0, index[:, None].expand_as(v), v, "amax", include_self=False
        ),
        lambda y: y.index_select(0, index),
        data.lengths[:, None],
    )


def _padded(data: Data) -> Steps:
    mask, lengths = data.mask, data.lengths
    if mask is None or lengths is None:
        return Steps(
            lambda v: v.sum(1, keepdim=True),
            lambda v: v.amax(1, keepdim=True),
            lambda y: y,
            data.values.shape[1],
            flat=lambda y: y.flatten(1),
        )
    real = mask[..., None]
    return Steps(
        lambda v: (v * real).sum(1, keepdim=True),
        lambda v: v.masked_fill(~real, -torch.inf).amax(1, keepdim=True),
        lambda y: y,
        lengths[:, None, None],
        flat=lambda y: y.flatten(1),
    )


Formula = Callable[[Steps, Any, Tensor], Tensor]


def _mean(s: Steps, m: Any, x: Tensor) -> Tensor:
    return s.total(x) / s.count


def _var(s: Steps, m: Any, x: Tensor) -> Tensor:
    return s.total((x - s.spread(_mean(s, m, x))) ** 2) / s.count


def _std(s: Steps, m: Any, x: Tensor) -> Tensor:
    return _var(s, m, x).sqrt()


def _fused(s: Steps, m: Any, x: Tensor) -> Tensor:
    return torch.cat([s.flat(y) for y in (_mean(s, m, x), s.best(x), -s.best(-x), _std(s, m, x))], dim=1)


def _logsumexp(s: Steps, m: Any, x: Tensor) -> Tensor:
    top = s.best(x.detach())
    return (s.total((x - s.spread(top)).exp()) / s.count).log() + top


def _attend(s: Steps, x: Tensor, scores: Tensor) -> Tensor:
    raised = (scores - s.spread(s.best(scores.detach()))).exp()
    return s.total(raised * x) / s.total(raised)


def _attention(s: Steps, m: Any, x: Tensor) -> Tensor:
    return _attend(s, x, s.back(m.score(s.last(x))))


def _power(s: Steps, x: Tensor, p: float | Tensor) -> Tensor:
    return (s.total(x.pow(p)) / s.count).pow(1 / p)


FORMULAS: dict[str, Formula] = {
    "sum": lambda s, m, x: s.total(x),
    "mean": _mean,
    "mean_sqrt_len": lambda s, m, x: s.total(x) / s.count**0.5,
    "max": lambda s, m, x: s.best(x),
    "min": lambda s, m, x: -s.best(-x),
    "var": _var,
    "std": _std,
    FUSED: _fused,
    "logsumexp": _logsumexp,
    "softmax": lambda s, m, x: _attend(s, x, x),
    "attention": _attention,
    "gated_attention": _attention,
    "power": lambda s, m, x: (s.total(x * x) / s.count).sqrt(),
    "gem3": lambda s, m, x: _power(s, x.clamp(min=1e-6), 3.0),
    "gem": lambda s, m, x: _power(s, x.clamp(min=1e-6), m.p),
}

#: What `torch.compile` is given: compiling takes half a minute each.
COMPILED = {"mean", "std", FUSED, "logsumexp", "softmax", "gem3"}


def offers(subject: str, data: Data, module: nn.Module, *, compiled: bool = False) -> Iterator[Rival]:
    """The composition, compiled too if asked for, and torch's own functions."""
    one_call = subject in ("sum", "mean", "max", "min") and data.index is None and data.mask is None
    if (subject in FORMULAS or subject == "scores") and (compiled or not one_call):
        call = _call(subject, steps(data), module)
        if not one_call:
            yield Rival("torch, composed", lambda: call)
        if compiled and subject in COMPILED:
            yield Rival("torch.compile", lambda: torch.compile(call), compiles=True)
    yield from builtin(subject, data)


def _call(subject: str, s: Steps, module: nn.Module) -> Call:
    if subject == "scores":
        return lambda x, scores: s.flat(_attend(s, x, scores))
    formula = FORMULAS[subject]
    if subject == FUSED:
        return lambda x: formula(s, module, x)
    return lambda x: s.flat(formula(s, module, x))
