"""Finds the places where a model pools."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from polypool.blocks.block import Block
from polypool.layouts import Layout, as_layout
from polypool.pooling import Pooling
from polypool.vision.surgery.excite import order_of
from polypool.vision.surgery.forms import Form, form_of
from polypool.vision.surgery.reads import Anchor, Read, anchor, gates, reads
from polypool.vision.surgery.risks import risks_of
from polypool.vision.surgery.site import Site
from polypool.vision.surgery.trace import Call, Trace, is_one_step
from polypool.vision.surgery.windows import Counts, binned

GATES = (nn.Sigmoid, nn.Hardsigmoid)


@dataclass(frozen=True, eq=False)
class Found:
    """A site, and what it takes to put something else there.

    Attributes:
        site: What users see.
        module: The module that pools; None for a function.
        form: How it pools, if it is a module.
        channels: The channels of what is pooled; None when it did not run.
        pooled: What it gave; None when it did not run.
        stop: The steps from here on come after it.
        read: The function, if it is one.
        anchor: Where a module can be put in its place.
        order: For the function in a Squeeze-and-Excitation block, what makes the gate.
    """

    site: Site
    module: nn.Module | None = None
    form: Form | None = None
    channels: int | None = None
    pooled: Tensor | None = None
    stop: int = 0
    read: Read | None = None
    anchor: Anchor | None = None
    order: list[str] | None = None


def find(model: nn.Module, trace: Trace | None) -> list[Found]:
    """All sites of a model in the order in which they run; without a trace the modules alone."""
    modules = list(_modules(model, trace))
    functions = list(_functions(model, trace)) if trace is not None else []
    last = len(trace.steps) if trace is not None else 0
    return sorted([*modules, *functions], key=lambda one: last if one.pooled is None else one.stop)


def _modules(model: nn.Module, trace: Trace | None) -> Iterator[Found]:
    closed: list[str] = []
    for name, module in model.named_modules(remove_duplicate=False):
        if any(name.startswith(prefix) for prefix in closed):
            continue
        if is_one_step(module) and type(module).__module__.startswith("polypool."):
            closed.append(f"{name}.")  # what it holds is part of it
        form = form_of(module)
        if form is not None:
            found = _of_module(model, name, module, form, trace)
            if found is not None:
                yield found


def _of_module(
    model: nn.Module, name: str, module: nn.Module, form: Form, trace: Trace | None
) -> Found | None:
    calls = [] if trace is None else trace.of(module)
    call = calls[0] if calls else None
    given = _given(module, call)
    x = given.values if isinstance(given, Layout) else given
    y = call.output if call is not None and isinstance(call.output, Tensor) else None
    parent = model.get_submodule(name.rpartition(".")[0]) if name else model
    dims = form.dims if form.dims is not None or x is None else x.dim() - 2
    lengths = () if x is None or dims is None or form.how == "pooling" else tuple(x.shape[x.dim() - dims :])
    after = () if y is None or dims is None or form.how == "pooling" else tuple(y.shape[y.dim() - dims :])
    kind = _kind(form, lengths, after)
    if kind is None:
        return None
    if kind == "global" and _is_squeeze(parent, trace, call, x, y):
        kind = "squeeze"
    counts = _counts(form, lengths, after)
    obstacle = "it is the model itself; put it into nn.Sequential" if not name else form.obstacle
    site = Site(
        name=name,
        kind=kind,
        operator=form.operator,
        source=type(module).__name__,
        input=None if x is None else tuple(x.shape),
        output=None if y is None else tuple(y.shape),
        counts=counts,
        risks=risks_of(module, form, kind, lengths, counts),
        obstacle=obstacle,
    )
    channels = None
    if isinstance(given, Layout):
        channels = given.channels
    elif x is not None and dims is not None:
        last = bool(getattr(module, "channels_last", False))
        channels = x.shape[-1] if last else x.shape[x.dim() - dims - 1]
    if channels is None and isinstance(parent, Block):
        channels = parent.channels
    return Found(site, module, form, channels, y, 0 if call is None else call.stop)


def _given(module: nn.Module, call: Call | None) -> Tensor | Layout | None:
    if call is None:
        return None
    if isinstance(module, Pooling):
        return as_layout(*call.args, **call.kwargs)
    values = (*call.args, *call.kwargs.values())
    return next((value for value in values if isinstance(value, Tensor | Layout)), None)


def _kind(form: Form, lengths: tuple[int, ...], after: tuple[int, ...]) -> str | None:
    if form.to_one:
        return "global"
    if form.how == "stride":
        return "stride"
    if form.windows is not None:
        whole = zip(form.windows.kernel, lengths, strict=False)
        if lengths and set(after) == {1} and all(kernel >= length for kernel, length in whole):
            return "global"
        if all(step == 1 for step in form.windows.stride):
            return None
    return "down"


def _is_squeeze(
    parent: nn.Module, trace: Trace | None, call: Call | None, x: Tensor | None, y: Tensor | None
) -> bool:
    if isinstance(parent, Block):
        return True
    if trace is not None and call is not None and x is not None and y is not None:
        return gates(trace, call, x, y)
    # Without a sample: a small module that pools once and has a gate.
    inner = [module for module in parent.modules() if module is not parent]
    pools = [module for module in inner if form_of(module) is not None]
    return len(inner) <= 8 and len(pools) == 1 and any(isinstance(module, GATES) for module in inner)


def _counts(form: Form, lengths: tuple[int, ...], after: tuple[int, ...]) -> Counts:
    if not lengths or len(lengths) != len(after):
        return ()
    if form.windows is not None:
        return form.windows.counts(lengths, after)
    if form.how == "bins":
        mean = form.operator == "mean"
        return tuple(binned(length, count, mean) for length, count in zip(lengths, after, strict=True))
    return ()


def _functions(model: nn.Module, trace: Trace) -> Iterator[Found]:
    taken: dict[str, int] = {}
    blocks = [name for name, module in model.named_modules() if isinstance(module, Block)]
    for read in reads(trace):
        step = trace.steps[read.number]
        if any(step.inside == block or step.inside.startswith(f"{block}.") for block in blocks):
            continue  # how a block of this package computes
        inside = step.inside if step.module is None else step.inside.rpartition(".")[0]
        name = f"{inside}::{read.operator}"
        taken[name] = taken.get(name, 0) + 1
        if taken[name] > 1:
            name = f"{name}#{taken[name]}"
        place = anchor(model, trace, read)
        order = None if isinstance(place, Anchor) else order_of(model, trace, read)
        kind = "tokens" if read.operator in ("first", "last", "token", "attention") else "global"
        if read.form == "windows":
            kind = "down"
        elif kind == "global" and gates(trace, read, read.before, read.after):
            kind = "squeeze"
        site = Site(
            name=name,
            kind=kind,
            operator=read.operator,
            source=f"{step.operator} in {type(model.get_submodule(inside)).__name__}",
            input=tuple(read.before.shape),
            output=tuple(read.after.shape),
            obstacle=place if isinstance(place, str) and order is None else None,
        )
        channels = read.before.shape[1 if read.form in ("first", "windows") else -1]
        yield Found(
            site,
            channels=channels,
            pooled=read.after,
            stop=read.number + 1,
            read=read,
            anchor=place if isinstance(place, Anchor) else None,
            order=order,
        )
