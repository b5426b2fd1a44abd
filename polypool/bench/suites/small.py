"""One small call: what stands between a user and the arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
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
SHAPE = (32, 64, 7, 7)
CALLS = 300
RIVAL = "x.mean((2, 3))"
WORKLOAD = "one small call"


def cases() -> list[Case]:
    """The mean of small images."""
    return [Case(f"small/{mode.replace(' ', '-')}", TABLE, _runner(mode)) for mode in _MODES]


#: Whether the values require a gradient, and whether it is taken.
_MODES = {
    "without gradients": (False, False),
    "with gradients": (True, False),
    "forward and backward": (True, True),
}


def _runner(mode: str) -> Callable[[Options], Iterator[Row]]:
    return lambda options: iter([_row(mode, options)])


def _row(mode: str, options: Options) -> Row:
    required, taken = _MODES[mode]
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).requires_grad_(required)
    pool, g = pp.build("mean"), torch.ones(SHAPE[:2])
    true = x.detach().double().mean((2, 3))

    def judge(results: Sequence[Tensor]) -> str:
        gap = float((results[0].detach().double() - true).abs().amax())
        return "" if gap < 1e-6 else f"off by {gap:.1e}"

    def step(call: Callable[[Tensor], Tensor]) -> Callable[[], Sequence[Tensor]]:
        if not taken:
            return lambda: (call(x),)
        return lambda: torch.autograd.grad(call(x), x, g)

    checked = (lambda _: "") if taken else judge
    contestants = [
        Contestant("polypool, layout and module", step(lambda v: pool(pp.Grid(v))), checked, CALLS, True),
        Contestant(RIVAL, step(lambda v: v.mean((2, 3))), checked, CALLS),
        Contestant("polypool, module on a tensor", step(pool), checked, CALLS, True),
    ]
    quiet = nullcontext() if required else torch.no_grad()
    with pp.kernels(options.kernels), quiet:
        standing = contest(contestants, None, options.effort)
    entries = [replace(entry, extra=None) for entry in standing.entries]
    mine, torchs = standing.times[0], standing.times[1]
    if options.targets and mode in SMALL_CALL and mine and torchs:
        beyond = median(mine[turn] - torchs[turn] for turn in mine.keys() & torchs.keys()) * 1e3
        entries[0] = replace(entries[0], checks=(Check("beyond_us", beyond, SMALL_CALL[mode]),))
    return Row(
        table=TABLE,
        case=f"small/{mode.replace(' ', '-')}",
        workload=WORKLOAD,
        operator=f"mean, {mode}",
        layout="grid",
        shape=SHAPE,
        dtype="float32",
        cells=SHAPE[0],
        direction="call",
        allocator=options.allocator,
        checked=1.0,
        read_ms=None,
        read_spread=None,
        others=standing.others,
        entries=tuple(entries),
    )
