"""What each node of a graph adds to a logit of a graph network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from polypool.explain.arguments import bound
from polypool.explain.contributions import Contributions, contributions
from polypool.explain.decision import Decision, Method, NotExplained, decide
from polypool.explain.quiet import ordinary
from polypool.explain.shares import activation, beside, head_bias
from polypool.explain.tail import Pooled
from polypool.layouts import Nodes, Packed
from polypool.pooling import Pooling
from polypool.registry import build


@dataclass(frozen=True)
class NodeContributions(Contributions):
    """What each node adds to a logit of its graph.

    Attributes:
        values: `(N,)`, signed, in the unit of the logits.
        score: `(num_graphs,)`, the logit minus its bias.
        error: `(num_graphs,)`, the score minus the sum over the graph's nodes and `outside`.
        logit: `(num_graphs,)`.
        bias: `(num_graphs,)`, what the logit would be for node states of 0.
        target: `(num_graphs,)` int64, the explained class.
        outside: `(num_graphs,)`, what the head reads beside the pooled nodes.
        batch: `(N,)` int64, the graph of each node; `num_graphs` for a node that is in none.
    """

    logit: Tensor
    bias: Tensor
    target: Tensor
    outside: Tensor
    batch: Tensor


def node_contributions(
    model: nn.Module, data: Any, target: int | Tensor | None = None, *, method: Method = "exact"
) -> NodeContributions:
    """Splits a logit of a graph network over the nodes.

    The readout is found as in `class_activation_map`: the `Pooling` over `Nodes` (alone, or inside a
    `PoolingAggregation`) whose result reaches the logits through a linear head.

    Args:
        model: A module that gives logits `(num_graphs, K)`, `(num_graphs,)` for one class. It is called with the
            data where it takes one argument, otherwise with those attributes of the data that its arguments name
            (`x`, `edge_index`, `batch`, ...).
        data: A PyG `Data` or `Batch`, or whatever the model takes.
        target: The class to explain, one for all or one per graph; the predicted one when None. One logit is the
            class 0.
        method: As for `class_activation_map`; `"gradient"` at the pooled node states, for heads that are not linear.

    Returns:
        The contributions with their score and completeness error.

    Raises:
        NotExplained: A ValueError with the reason: there is no such pooling, or the head is not linear.
        TypeError, ValueError: An argument does not fit.

    Example:
        >>> import torch, polypool as pp
        >>> from types import SimpleNamespace
        >>> from polypool.explain import node_contributions
        >>> class Readout(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.pool, self.head = pp.build("sum"), torch.nn.Linear(3, 2)
        ...
        ...     def forward(self, x, batch):
        ...         return self.head(self.pool(x, batch=batch))
        >>> graphs = SimpleNamespace(x=torch.randn(4, 3), batch=torch.tensor([0, 0, 1, 1]))
        >>> found = node_contributions(Readout(), graphs, target=1)
        >>> found.values.shape, torch.allclose(found.values[:2].sum(), found.score[0], atol=1e-6)
        (torch.Size([4]), True)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; found {type(model).__name__}.")
    call, given = bound(model, data)
    decision = decide(model, call, given, target, method)
    with ordinary():
        return _gradient(decision) if method == "gradient" else _exact(decision)


def _exact(decision: Decision) -> NodeContributions:
    tail = decision.tail(missing=_missing(decision))
    directions = decision.gradients([one.after for one in tail.pooled])
    outside = beside(decision, [tensor for tensor, _ in tail.others], tail.pooled, directions)
    score, left = outside, torch.zeros_like(outside)
    layout = _readout(decision, tail.pooled[0])[1]
    values = layout.values.new_zeros(layout.values.shape[:1], dtype=torch.float64)
    for one, direction in zip(tail.pooled, directions, strict=True):
        pool, layout = _readout(decision, one)
        part = contributions(pool, layout, layout.rows_of(direction))
        if values.shape != part.values.shape:
            raise NotExplained(
                f"the head reads poolings of {values.shape[0]} and of {part.values.shape[0]} nodes, so there is no one "
                'number per node. Name method="gradient".'
            )
        values = values + part.values.double()
        score, left = score + part.score.double(), left + part.error.double()
    return _result(decision, values, score, left, outside, layout)


def _gradient(decision: Decision) -> NodeContributions:
    last = decision.last_pooling()
    if last is None:
        raise NotExplained(_NO_READOUT)
    layout = _readout(decision, last)[1]
    (gradient,) = decision.gradients([last.before])
    values = activation(last.before, gradient, ())
    score = decision.chosen.detach().double() - head_bias(decision)
    summed = build("sum")(layout.with_values(values[:, None]))[:, 0]
    return _result(decision, values, score, score - summed, torch.zeros_like(score), layout)


_NO_READOUT = (
    "the readout must be a polypool Pooling over the nodes of each graph; found none that leads to the logits. Use a "
    "Pooling on Nodes, or PoolingAggregation, as the readout."
)


def _missing(decision: Decision) -> str | None:
    """Why there is no way back to a readout: None when there is one, behind a head that is not linear."""
    last = decision.last_pooling()
    return _NO_READOUT if last is None or _found(decision, last) is None else None


def _readout(decision: Decision, pooled: Pooled) -> tuple[Pooling, Nodes | Packed]:
    found = _found(decision, pooled)
    if found is None:
        raise NotExplained(_NO_READOUT)
    return found


def _found(decision: Decision, pooled: Pooled) -> tuple[Pooling, Nodes | Packed] | None:
    """The pooling and its layout, where there is one cell per row of the logits."""
    if pooled.pooling is None:
        return None
    pool, layout = pooled.pooling
    fits = isinstance(layout, Nodes | Packed) and layout.num_cells == decision.chosen.shape[0]
    return (pool, layout) if fits else None  # type: ignore[return-value]


def _result(
    decision: Decision,
    values: Tensor,
    score: Tensor,
    error: Tensor,
    outside: Tensor,
    layout: Nodes | Packed,
) -> NodeContributions:
    narrow = torch.promote_types(decision.chosen.dtype, torch.float32)
    logit = decision.chosen.detach().double()
    return NodeContributions(
        values=values.to(narrow),
        score=score.to(narrow),
        error=error.to(narrow),
        logit=logit.to(narrow),
        bias=(logit - score).to(narrow),
        target=decision.target,
        outside=outside.to(narrow),
        batch=layout.members.cell,
    )
