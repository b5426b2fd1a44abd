"""One decision of a model: its logits, the chosen one, and how it was computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from polypool import _checks
from polypool.explain.quiet import ordinary, quiet
from polypool.explain.tail import Pooled, Tail, has_places, last_pooling, tail
from polypool.explain.tape import Tape

Method = Literal["exact", "frozen", "gradient"]
METHODS = ("exact", "frozen", "gradient")


class NotExplained(ValueError):
    """A model whose decision cannot be split in the way that was asked for; the message says why, and what can."""


@dataclass(frozen=True, eq=False)
class Decision:
    """What a model said.

    Attributes:
        tape: The steps.
        logits: `(B, K)`.
        target: `(B,)` int64, the explained class of each row.
        chosen: `(B,)`, the logit of the target.
        given: The ids of the tensors that the model was given; None when they are unknown.
        own: The ids of the model's parameters and buffers.
    """

    tape: Tape
    logits: Tensor
    target: Tensor
    chosen: Tensor
    given: set[int] | None
    own: set[int]

    def gradients(self, tensors: list[Tensor]) -> list[Tensor]:
        """The gradient of the chosen logits with respect to each tensor.

        Raises:
            NotExplained: The model computes without gradients.
        """
        ones = torch.ones_like(self.chosen)
        if not (self.chosen.requires_grad and all(tensor.requires_grad for tensor in tensors)):
            raise NotExplained(
                "the model computes without gradients (no_grad, inference_mode, detach or integers inside forward), so "
                "the direction of its head cannot be found. Remove that from forward, or call contributions with "
                "the features and a row of the classifier's weights."
            )
        found = torch.autograd.grad(
            self.chosen, tensors, ones, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return [one.detach() for one in found]

    def tail(self, missing: str | None = None) -> Tail:
        """The way back from the chosen logits to the poolings, with nothing but affine steps between.

        Args:
            missing: The reason to give when there is no pooling; found out when None.

        Raises:
            NotExplained: There is no such way.
        """
        dependent = self.dependent()
        if id(self.chosen) not in dependent:
            raise NotExplained(
                "what the model computes between its input and its logits cannot be followed: a compiled or scripted "
                "model hides it. Pass the module that was compiled."
            )
        found = tail(self.tape, self.chosen, dependent)
        step = found.nonlinear(self.tape)
        if step is not None:
            raise NotExplained(_not_linear(step.name))
        if not found.pooled:
            raise NotExplained(self._no_pooling(found) if missing is None else missing)
        return found

    def dependent(self) -> set[int]:
        """The ids of the tensors that depend on the model's input."""
        return self.tape.descendants(
            tensor for step in self.tape.steps for tensor in step.inputs if self._is_given(tensor)
        )

    def _is_given(self, tensor: Tensor) -> bool:
        if self.given is not None:
            return id(tensor) in self.given
        return id(tensor) not in self.own and self.tape.maker(tensor) is None

    def last_pooling(self) -> Pooled | None:
        """The last pooling before the logits, whatever stands between."""
        return last_pooling(self.tape, self.chosen)

    def _no_pooling(self, found: Tail) -> str:
        for tensor, _ in found.others:
            if not has_places(tensor):
                continue
            channel = 2 if tensor.dim() == 3 else 1
            read = (self.gradients([tensor])[0] != 0).any(0).any(channel - 1)
            if not read.all():
                return (
                    f"the head reads {int(read.sum())} of {read.numel()} positions alone, the first of them at "
                    f"{tuple(read.nonzero()[0].tolist()) if read.any() else None}, so the others add nothing to the "
                    'logit themselves. Name method="gradient" and an earlier layer= to see what reached it.'
                )
            return (
                f"the head flattens a map of shape {_checks.shape(tensor)} instead of pooling it: every position "
                'has weights of its own. Name method="gradient", or pool the map.'
            )
        steps = [step.name for _, step in found.others if step is not None]
        if self.last_pooling() is not None and steps:
            return _not_linear(steps[0])
        behind = f", and the head is not linear: it ends behind {steps[0]}" if steps else ""
        return f'no pooling of a whole map leads to the logits{behind}. Name method="gradient" and layer=.'


def _not_linear(name: str) -> str:
    frozen = ', method="frozen" to hold the scale of normalisations fixed' if name.endswith("norm") else ""
    return (
        f"the head is not linear: {name} stands between the pooling and the logits, so they are no sum over "
        f'positions. Name method="gradient" for gradient times activation (its error says what is missing){frozen}.'
    )


def decide(
    model: nn.Module, call: Callable[[], Any], given: Any, target: int | Tensor | None, method: str
) -> Decision:
    """Runs a model in evaluation mode on a recording, and picks a logit of each row.

    Args:
        model: The model.
        call: Runs it.
        given: What the model is given; None when its tensors cannot be listed.
        target: A class, one per row, or None for the largest logit.
        method: Checked here; `"frozen"` holds the scale of normalisations.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; found {method!r}.")
    tape = Tape(hold_scales=method == "frozen")
    with quiet(model) as hooks, ordinary(), tape:
        tape.watch(model, hooks)
        logits = _logits(call())
        place = _target(target, logits)
        chosen = logits[torch.arange(logits.shape[0], device=logits.device), place]
    inputs = None
    if given is not None:
        inputs = {id(tensor) for tensor in pytree.tree_leaves(given) if isinstance(tensor, Tensor)}
    own = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    return Decision(tape, logits, place, chosen, inputs, own)


def _logits(result: Any) -> Tensor:
    found = getattr(result, "logits", None)
    if found is None:
        found = result.get("logits") if isinstance(result, dict) else result
    if isinstance(found, tuple | list) and found:
        found = found[0]
    if not isinstance(found, Tensor) or not found.is_floating_point():
        raise NotExplained(
            "the model must give logits: a floating tensor (B, K), or an output with logits; found "
            f"{type(result).__name__}."
        )
    if found.dim() == 1:
        found = found.unsqueeze(1)
    if found.dim() < 2 or found.shape[2:].numel() != 1:
        raise NotExplained(f"the logits must have shape (B, K); found {_checks.shape(found)}.")
    return found.flatten(1)


def _target(target: int | Tensor | None, logits: Tensor) -> Tensor:
    """The explained class of each row."""
    rows, classes = logits.shape
    if target is None:
        return logits.detach().argmax(1)
    if isinstance(target, Tensor):
        place = _checks.index(target, "target", torch.Size((rows,)), "(B,)", logits)
    else:
        place = torch.full((rows,), _checks.size(target, "target"), device=logits.device)
    _checks.in_range(place, "target", 0, classes, "the classes", "Count classes from 0.")
    return place
