"""The rows of one pooling on one tensor: forward, and forward and backward together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

import polypool as pp
from polypool.bench import targets, truth
from polypool.bench.contest import Standing, contest
from polypool.bench.contestant import BROKEN, FULL, Contestant, Effort, first_line
from polypool.bench.data import Data
from polypool.bench.record import Entry, Row, Status
from polypool.bench.rivals import rivals
from polypool.bench.subjects import Subject, title
from polypool.bench.targets import BACKWARD, FORWARD
from polypool.bench.truth import Truth
from polypool.bench.workloads import Workload

Call = Callable[..., Tensor]


@dataclass(frozen=True)
class Options:
    """How a run is made.

    Attributes:
        scale: The share of the full sizes.
        effort: How long to measure.
        compiled: Whether `torch.compile` takes part.
        thorough: Whether every cell is compared with float64.
        kernels: What computes our side.
        allocator: The kind that this process has.
        targets: Whether the sizes are those that the targets speak of.
    """

    scale: float = 1.0
    effort: Effort = FULL
    compiled: bool = False
    thorough: bool = False
    kernels: str = "auto"
    allocator: str = "default"
    targets: bool = True


@dataclass(frozen=True)
class Field:
    """A pooling on a tensor: what every contest about it needs."""

    table: str
    case: str
    workload: Workload
    subject: Subject
    data: Data
    module: nn.Module
    inputs: tuple[Tensor, ...]
    options: Options


@lru_cache(maxsize=1)
def tensor(workload: Workload, scale: float) -> Data:
    """The data of a workload; the last is kept, since cases of one workload follow each other."""
    return workload.make(scale)


def field(table: str, case: str, workload: Workload, subject: Subject, options: Options) -> Field:
    """Everything there is before anybody computes."""
    data = tensor(workload, options.scale)
    inputs = (data.values, data.like(1)) if subject.scored else (data.values,)
    module = subject.make(data.layout.channels)
    return Field(table, case, workload, subject, data, module, inputs, options)


@dataclass(frozen=True)
class Opponent:
    """A rival on this field: what it calls, or why it does not; its own truth where it computes something else."""

    name: str
    call: Call | None = None
    true: Truth | None = None
    compiles: bool = False
    status: Status = "ok"
    why: str = ""


def rows(place: Field, *, backward: bool = True, against: bool = True) -> list[Row]:
    """Forward, then forward and backward, against all rivals or against nobody."""
    with pp.kernels(place.options.kernels):
        call = ours(place)
        g = cotangent(place, call) if backward else None
        definition = truth.of_module(place.module)
        true = truth.find(definition, place.data, place.inputs, g, thorough=place.options.thorough)
        opponents = list(_opponents(place, g)) if against else []
        forward = _row(place, call, true, opponents, None, None)
        if g is None or forward.ours.status != "ok":
            return [forward]
        remaining = [_patient(each, forward, place.options) for each in opponents]
        return [forward, _row(place, call, true, remaining, g, forward.ours.reads)]


def ours(place: Field) -> Call:
    """Our call; the structure of the layout is there already, unless the workload says otherwise."""
    module, layout, anew = place.module, place.data.layout, place.data.anew
    if anew is not None:
        return lambda x, *more: module(anew(x), *more)
    with torch.no_grad():
        module(layout, *place.inputs[1:])  # computes the structure, which `with_values` keeps
    return lambda x, *more: module(layout.with_values(x), *more)


def cotangent(place: Field, call: Call) -> Tensor:
    """What gradients are taken with, in the shape of the result."""
    with torch.no_grad():
        out = call(*place.inputs)
    return truth.cotangent(out.shape[0], out.shape[1], out.dtype)


def _row(
    place: Field,
    call: Call,
    true: Truth,
    opponents: Sequence[Opponent],
    g: Tensor | None,
    forward: float | None,
) -> Row:
    direction = FORWARD if g is None else BACKWARD
    contestants = [contestant("polypool", place, call, true.judge, g, compiles=True)]
    for each in opponents:
        if each.call is None:
            contestants.append(Contestant.absent(each.name, each.why, each.status))
        else:
            judge = (each.true or true).judge
            contestants.append(contestant(each.name, place, each.call, judge, g, compiles=each.compiles))
    standing = measure(place, contestants)
    mine, *others = standing.entries
    if place.options.targets:
        values = place.data.values
        limit = targets.reads_limit(place.subject.name, place.workload.tags, direction, forward)
        extra = targets.extra_limit(values.numel() * values.element_size(), place.workload.tags)
        mine = replace(mine, checks=targets.of_ours(mine, limit, extra))
        others = [targets.judged(e, place.subject.name, direction) for e in others]
    return described(place, standing, [mine, *others], direction, true.share)


def _opponents(place: Field, g: Tensor | None) -> Iterator[Opponent]:
    for rival in rivals(place.subject.name, place.data, place.module, compiled=place.options.compiled):
        if rival.missing:
            yield Opponent(rival.name, status="missing", why=rival.missing)
            continue
        try:
            call = rival.make()
        except BROKEN as error:
            why = f"{type(error).__name__}: {first_line(error)}"
            yield Opponent(rival.name, status="failed", why=why)
            continue
        own = None
        if rival.definition is not None:
            own = truth.find(rival.definition, place.data, place.inputs, g, thorough=place.options.thorough)
        yield Opponent(rival.name, call, own, rival.compiles)


def _patient(opponent: Opponent, forward: Row, options: Options) -> Opponent:
    """The same, unless its forward pass alone has tried our patience."""
    seconds = next((e.ms or 0.0 for e in forward.entries[1:] if e.name == opponent.name), 0.0) / 1e3
    if seconds <= options.effort.patience:
        return opponent
    return Opponent(opponent.name, status="skipped", why=f"forward alone takes {seconds:.1f} s")


def contestant(
    name: str,
    place: Field,
    call: Call,
    judge: Callable[[Sequence[Tensor]], str],
    g: Tensor | None,
    *,
    compiles: bool,
) -> Contestant:
    """One that calls `call` on the inputs, and takes their gradients and those of our parameters if there is a `g`."""
    inputs = place.inputs
    if g is None:

        def forward() -> Sequence[Tensor]:
            with torch.no_grad():
                return [call(*inputs)]

        return Contestant(name, forward, judge, compiles=compiles)

    wanted = [t.detach().requires_grad_() for t in inputs]
    trained = [p for p in place.module.parameters() if p.requires_grad]

    def both() -> Sequence[Tensor]:
        out = call(*wanted)
        # A rival with parameters of its own leaves ours alone.
        grads: Sequence[Tensor | None] = torch.autograd.grad(out, [*wanted, *trained], g, allow_unused=True)
        return [out.detach(), *(t for t in grads if t is not None)]

    return Contestant(name, both, judge, compiles=compiles)


def measure(place: Field, contestants: Sequence[Contestant], *, judge_last: bool = False) -> Standing:
    """Holds the contest on this field."""
    return contest(
        contestants,
        one_read(place.data.values),
        place.options.effort,
        warm=place.options.allocator == "warm",
        judge_last=judge_last,
    )


def one_read(x: Tensor) -> Callable[[], object]:
    """The yardstick: the sum of as many bytes, in the order in which they lie."""
    if x.dtype in (torch.float16, torch.bfloat16):
        x = torch.ones(x.numel() * x.element_size() // 4)
    flat = x.as_strided((x.numel(),), (1,))
    return lambda: flat.sum()


def described(
    place: Field, standing: Standing, entries: Sequence[Entry], direction: str, checked: float
) -> Row:
    """The row of a contest on this field."""
    values = place.data.values
    return Row(
        table=place.table,
        case=place.case,
        workload=place.workload.title,
        operator=title(place.subject.name),
        layout=place.data.layout.kind,
        shape=tuple(values.shape),
        dtype=str(values.dtype).removeprefix("torch."),
        cells=place.data.cells,
        direction=direction,
        allocator=place.options.allocator,
        checked=checked,
        read_ms=standing.read_ms,
        read_spread=standing.read_spread,
        others=standing.others,
        entries=tuple(entries),
    )
