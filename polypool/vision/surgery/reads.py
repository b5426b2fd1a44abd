"""Pooling that is a function and no module, and where a module can be put to do it instead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from polypool.vision.surgery.trace import Call, Step, Trace

REDUCTIONS = {"mean": "mean", "sum": "sum", "amax": "max", "max": "max", "amin": "min", "min": "min"}
POOLS = {
    f"{prefix}{kind}_pool{d}d": (operator, d)
    for prefix in ("", "adaptive_")
    for kind, operator in (("avg", "mean"), ("max", "max"))
    for d in (1, 2, 3)
}
#: What gives the very tensor that it got, when it does.
HANDED_ON = {"Identity", "Sequential", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "dropout"}
MULTIPLY = {"mul", "__mul__", "__rmul__", "mul_", "__imul__", "multiply"}


@dataclass(frozen=True, eq=False)
class Anchor:
    """A module that a pooling can be put before or behind.

    Attributes:
        name: Its name.
        module: The module.
        before: Whether its input is pooled; otherwise its output.
    """

    name: str
    module: nn.Module
    before: bool


@dataclass(frozen=True, eq=False)
class Read:
    """A function that pools.

    Attributes:
        number: Its step.
        operator: The name of the pooling.
        form: `"first"` for `(B, C, *S)`, `"last"` for `(B, *S, C)`, `"tokens"` for `(B, T, C)`, `"windows"` or
            `"attention"`.
        before: What it reads.
        after: What it gives.
    """

    number: int
    operator: str
    form: str
    before: Tensor
    after: Tensor


def reads(trace: Trace) -> Iterator[Read]:
    """The functions that pool, of those that the model's output depends on; and attention with a single query."""
    live = trace.live()
    for number, step in enumerate(trace.steps):
        found = _attention(step, number) if isinstance(step.module, nn.MultiheadAttention) else None
        if found is None and live[number] and step.module is None and step.inputs:
            found = _reduction(step, number) or _pool(step, number) or _token(step, number)
        if found is not None:
            yield found


def _reduction(step: Step, number: int) -> Read | None:
    if step.operator not in REDUCTIONS:
        return None
    x, y = step.inputs[0], step.outputs[0]
    total = x.dim()
    dims = _dims(step.argument(1, "dim", step.kwargs.get("axis")), total)
    keepdim = y.dim() == total
    form = None
    if total > 3 and dims == tuple(range(2, total)):
        form = "first"
    elif total > 3 and dims == tuple(range(1, total - 1)):
        form = "last"
    elif total == 3 and dims == (1,):
        form = "tokens"
    elif total == 3 and dims == (2,) and not keepdim:
        form = "first"  # with the dimension kept it is the mean over channels of a normalisation
    if form is None or all(x.shape[d] == 1 for d in dims):
        return None
    return Read(number, REDUCTIONS[step.operator], form, x, y)


def _pool(step: Step, number: int) -> Read | None:
    operator, dims = POOLS.get(step.operator, ("", 0))
    if not dims or step.inputs[0].dim() != dims + 2:
        return None
    x, y = step.inputs[0], step.outputs[0]
    if x.shape[2:] == y.shape[2:]:
        return None
    return Read(number, operator, "first" if set(y.shape[2:]) == {1} else "windows", x, y)


def _token(step: Step, number: int) -> Read | None:
    x, y = step.inputs[0], step.outputs[0]
    if x.dim() != 3 or x.shape[1] < 2 or y.shape != (x.shape[0], x.shape[2]):
        return None
    place: Any = None
    if step.operator == "select" and step.argument(1, "dim") == 1:
        place = step.argument(2, "index")
    elif step.operator == "__getitem__" and isinstance(step.args[1], tuple) and len(step.args[1]) > 1:
        rows, place, *rest = step.args[1]
        if any(one != slice(None) for one in (rows, *rest)):
            place = None
    if not isinstance(place, int):
        return None
    named = {0: "first", -1: "last", x.shape[1] - 1: "last"}
    return Read(number, named.get(place, "token"), "tokens", x, y)


def _attention(step: Step, number: int) -> Read | None:
    query, key = step.argument(0, "query"), step.argument(1, "key")
    if not (isinstance(query, Tensor) and isinstance(key, Tensor) and query.dim() == key.dim() == 3):
        return None
    length = 1 if getattr(step.module, "batch_first", False) else 0
    if query.shape[length] != 1 or key.shape[length] == 1:
        return None
    return Read(number, "attention", "attention", key, step.outputs[0])


def anchor(model: nn.Module, trace: Trace, read: Read) -> Anchor | str:
    """The module to put a pooling before or behind, so that the function is left one place to read; or why none."""
    step = trace.steps[read.number]
    x, owner = read.before, model.get_submodule(step.inside)
    where = f"the forward of {type(owner).__name__}"
    if read.form == "attention":
        return "its query, its projections and what follows were trained together; there is no pooling to take out"
    if read.form == "windows" or read.operator == "token":
        return f"it is a function in {where}; replace it there with a module of polypool.vision"
    calls = trace.of(owner)
    given = owner is not model and len(calls) == 1 and calls[0].args and calls[0].args[0] is x
    if given and _uses(trace, x, calls[0].start, calls[0].stop) == [read.number]:
        return Anchor(step.inside, owner, True)
    named = list(model.named_modules())
    made = [
        (calls[0].stop, -place, name, module)
        for place, (name, module) in enumerate(named)
        if name
        and len(calls := trace.of(module)) == 1
        and calls[0].output is x
        and calls[0].stop <= read.number
    ]
    # The last that gave it, so that dropout stays before the pooling; of a module and the one around it the inner.
    for stop, _, name, module in sorted(made, key=lambda one: (-one[0], one[1])):
        if isinstance(module, nn.Sequential):
            continue  # a child of it would be called in its row
        if _uses(trace, x, stop, len(trace.steps)) == [read.number]:
            if any(result is x for result in trace.results()):
                return (
                    f"it is a function in {where}, and what it reads is an output of the model too; put a GlobalPool "
                    "there"
                )
            return Anchor(name, module, False)
    return (
        f"it is a function in {where}, and no module gives what it reads to it alone; put a GlobalPool there"
    )


def _uses(trace: Trace, x: Tensor, start: int, stop: int) -> list[int]:
    """The steps that read a tensor and matter for the model's output."""
    live = trace.live()
    return [
        number
        for number in range(start, stop)
        if live[number]
        and any(one is x for one in trace.steps[number].inputs)
        and not (trace.steps[number].operator in HANDED_ON and trace.steps[number].outputs[0] is x)
    ]


def gates(trace: Trace, call: Call | Read, x: Tensor, y: Tensor) -> bool:
    """Whether what was pooled from `x` is multiplied in the end with something of the shape of `x`."""
    reached = {id(y)}
    after = call.number + 1 if isinstance(call, Read) else call.stop
    for step in trace.steps[after:]:
        if not any(id(tensor) in reached for tensor in step.inputs):
            continue
        others = [tensor for tensor in step.inputs if id(tensor) not in reached]
        if step.operator in MULTIPLY and any(tensor.shape == x.shape for tensor in others):
            return True
        reached.update(id(tensor) for tensor in step.outputs)
    return False


def _dims(given: Any, total: int) -> tuple[int, ...]:
    listed = (given,) if isinstance(given, int) else given
    if not isinstance(listed, tuple | list) or not all(isinstance(d, int) for d in listed):
        return ()
    return tuple(sorted({d % total for d in listed}))
