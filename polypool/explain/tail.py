"""The way from the last map of a model, through its pooling and its linear head, to the logits."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from polypool.explain.affine import Reduction, joined, reduction, sources
from polypool.explain.tape import Step, Tape
from polypool.layouts import Layout
from polypool.pooling import Pooling


@dataclass(frozen=True, eq=False)
class Pooled:
    """A pooling whose result reaches the logits through affine steps alone.

    Attributes:
        number: Its step.
        before: The map that it pools.
        after: The pooled tensor.
        pooling: The pooling and what it pooled, when it is a `Pooling`.
        reduction: How it pools, when it is a torch function.
    """

    number: int
    before: Tensor
    after: Tensor
    pooling: tuple[Pooling, Layout] | None = None
    reduction: Reduction | None = None


@dataclass(frozen=True, eq=False)
class Tail:
    """What the logits are affine in.

    Attributes:
        pooled: The poolings of whole maps.
        others: Everything else, each with the step that made it (None: the model's input).
    """

    pooled: list[Pooled] = field(default_factory=list)
    others: list[tuple[Tensor, Step | None]] = field(default_factory=list)

    def nonlinear(self, tape: Tape) -> Step | None:
        """A step between the pooled maps and the logits that is not affine; None when there is none."""
        maps = [pooled.before for pooled in self.pooled]
        behind = tape.descendants(maps) - {id(tensor) for tensor in maps}
        return next((step for tensor, step in self.others if id(tensor) in behind), None)


def tail(tape: Tape, logits: Tensor, dependent: set[int]) -> Tail:
    """Walks back from the logits through affine steps, to poolings and to what is no affine step's result."""
    found = Tail()
    _walk(tape, logits, None, dependent, found, set())
    return found


def _walk(
    tape: Tape,
    tensor: Tensor,
    before: int | None,
    dependent: set[int],
    found: Tail,
    seen: set[tuple[int, int]],
) -> None:
    number = tape.maker(tensor, before)
    # In-place steps give the tensor that they got: what counts is which of its states is meant.
    state = (id(tensor), -1 if number is None else number)
    if state in seen:
        return
    seen.add(state)
    if number is None:
        found.others.append((tensor, None))
        return
    step = tape.steps[number]
    if step.pooling is not None:
        found.pooled.append(Pooled(number, step.inputs[0], tensor, pooling=step.pooling))
        return
    pooled = whole(tape, number)
    inner = sources(step, dependent)
    if pooled is not None:
        # A sum inside the head looks like a pooling; then the pooling itself is further back.
        deeper = Tail()
        if inner is not None:
            _walk(tape, pooled.before, pooled.step, dependent, deeper, set())
        if not deeper.pooled:
            found.pooled.append(Pooled(number, pooled.before, tensor, reduction=pooled))
            return
    if inner is None:
        found.others.append((tensor, step))
        return
    for one in inner:
        _walk(tape, one, number, dependent, found, seen)


def whole(tape: Tape, number: int) -> Reduction | None:
    """The reduction that ends in a step, with those before it that pool other dimensions of the same map."""
    found = reduction(tape.steps[number], number)
    if found is None:
        return None
    made = tape.maker(found.before, number)
    earlier = None if made is None else whole(tape, made)
    return found if earlier is None else joined(earlier, found)


def last_pooling(tape: Tape, logits: Tensor) -> Pooled | None:
    """The pooling that ends the maps: the logits depend on it and no map does, whatever stands between."""
    for number in range(len(tape.steps) - 1, -1, -1):
        step = tape.steps[number]
        pooled = whole(tape, number) if step.pooling is None else None
        if step.pooling is None and pooled is None:
            continue
        behind = tape.descendants([step.outputs[0]], number)
        maps = (t for later in tape.steps[number + 1 :] for t in later.outputs if has_places(t))
        if id(logits) in behind and not any(id(tensor) in behind for tensor in maps):
            before = step.inputs[0] if pooled is None else pooled.before
            return Pooled(number, before, step.outputs[0], step.pooling, pooled)
    return None


def has_places(tensor: Tensor) -> bool:
    """Whether a tensor `(B, ...)` has more than its channels: a map, or tokens."""
    return tensor.dim() > 2 and tensor.shape[1:].numel() > max(tensor.shape[1:])
