"""One small call: what stands between a user and the arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from statistics import median

import torch
from torch import Tensor

import polypool as pp
from polypool.bench.contest import contest
from polypool.bench.contestant import Contestant
from polypool.bench.pooled import Options
from polypool.bench.record import Check, Row
from polypool.bench.suites.case import Case
from polypool.bench.targets import SMALL_CALL

TABLE = "small"
CALLS = 300
IMAGES = (32, 64, 7, 7)
#: A batch of a data set of molecules: 32 graphs.
GRAPHS, NODES = 32, (1280, 32)
GLOBAL = {"sum": "add", "mean": "mean", "max": "max"}

Call = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Small:
    """Something small to pool.

    Attributes:
        name: Of the case, before what is asked of gradients.
        workload: In words.
        layout: Its kind.
        operator: The pooling.
        shape: Of the values.
        cells: How many there are.
        ours: Our ways to call it, the first of which is judged.
        rival: Its name.
        theirs: Makes the call of the rival.
        package: That the rival needs.
    """

    name: str
    workload: str
    layout: str
    operator: str
    shape: tuple[int, ...]
    cells: int
    ours: Callable[[pp.Pooling], dict[str, Call]]
    rival: str
    theirs: Callable[[], Call]
    package: str = "torch"


def cases() -> list[Case]:
    """Images, and a batch of graphs."""
    kinds = [_images(), *(_graphs(name) for name in GLOBAL)]
    return [Case(_case(kind, mode), TABLE, partial(_rows, kind, mode)) for kind in kinds for mode in _MODES]


def _images() -> Small:
    return Small(
        "",
        "one small call",
        "grid",
        "mean",
        IMAGES,
        IMAGES[0],
        lambda pool: {
            "polypool, layout and module": lambda x: pool(pp.Grid(x)),
            "polypool, module on a tensor": pool,
        },
        "x.mean((2, 3))",
        lambda: lambda x: x.mean((2, 3)),
    )


def _graphs(name: str) -> Small:
    batch = torch.arange(GRAPHS).repeat_interleave(NODES[0] // GRAPHS)

    def theirs() -> Call:
        import torch_geometric.nn as geometric

        function = getattr(geometric, f"global_{GLOBAL[name]}_pool")
        return lambda x: function(x, batch, GRAPHS)

    return Small(
        f"nodes-{name}-",
        f"one small call, {GRAPHS} graphs",
        "nodes",
        name,
        NODES,
        GRAPHS,
        lambda pool: {"polypool, layout and module": lambda x: pool(pp.Nodes(x, batch, GRAPHS))},
        f"PyG global_{GLOBAL[name]}_pool",
        theirs,
        "torch_geometric",
    )


#: Whether the values require a gradient, and whether it is taken.
_MODES = {
    "without gradients": (False, False),
    "with gradients": (True, False),
    "forward and backward": (True, True),
}


def _case(kind: Small, mode: str) -> str:
    return f"small/{kind.name}{mode.replace(' ', '-')}"


def _rows(kind: Small, mode: str, options: Options) -> Iterator[Row]:
    required, taken = _MODES[mode]
    x = torch.randn(kind.shape, generator=torch.Generator().manual_seed(0)).requires_grad_(required)
    (ours, first), *more = kind.ours(pp.build(kind.operator)).items()
    with pp.kernels("reference"), torch.no_grad():
        true = first(x.detach().double())
    way = torch.ones(true.shape)

    def judge(results: Sequence[Tensor]) -> str:
        gap = float((results[0].detach().double() - true).abs().amax())
        return "" if gap < 1e-5 else f"off by {gap:.1e}"

    def entrant(name: str, call: Call, mine: bool) -> Contestant:
        def step() -> Sequence[Tensor]:
            return torch.autograd.grad(call(x), x, way) if taken else (call(x),)

        return Contestant(name, step, (lambda _: "") if taken else judge, CALLS, mine)

    missing = find_spec(kind.package) is None
    rival = (
        Contestant.absent(kind.rival, f"{kind.package} is not installed")
        if missing
        else entrant(kind.rival, kind.theirs(), False)
    )
    contestants = [entrant(ours, first, True), rival, *(entrant(name, call, True) for name, call in more)]
    quiet = nullcontext() if required else torch.no_grad()
    with pp.kernels(options.kernels), quiet:
        standing = contest(contestants, None, options.effort)
    entries = [replace(entry, extra=None) for entry in standing.entries]
    mine, others = standing.times[0], standing.times[1]
    if options.targets and kind.layout == "grid" and mode in SMALL_CALL and mine and others:
        beyond = median(mine[turn] - others[turn] for turn in mine.keys() & others.keys()) * 1e3
        entries[0] = replace(entries[0], checks=(Check("beyond_us", beyond, SMALL_CALL[mode]),))
    yield Row(
        table=TABLE,
        case=_case(kind, mode),
        workload=kind.workload,
        operator=f"{kind.operator}, {mode}",
        layout=kind.layout,
        shape=kind.shape,
        dtype="float32",
        cells=kind.cells,
        direction="call",
        allocator=options.allocator,
        checked=1.0,
        read_ms=None,
        read_spread=None,
        others=standing.others,
        entries=tuple(entries),
    )
