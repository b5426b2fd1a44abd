"""What models share: a training step, its truth, and a row."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec

import torch
from torch import Tensor, nn

import polypool as pp
from polypool.bench import targets
from polypool.bench.contest import Standing
from polypool.bench.pooled import Options
from polypool.bench.record import Entry, Row

TABLE = "models"
STEP = "training step"

#: Norm of the error over that of the truth. Where rounding puts a unit on the other side of its kink, single gradients
#: jump: they are judged as a whole, and more loosely.
RESULT, GRADIENT = 1e-4, 1e-2

Network = Callable[[nn.Module, Tensor], Tensor]


def step(module: nn.Module, call: Network, x: Tensor, g: Tensor) -> Callable[[], Sequence[Tensor]]:
    """Forward, backward, and an optimizer whose learning rate is 0, so that every step is the first one."""
    x = x.detach().requires_grad_()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.0)

    def run() -> Sequence[Tensor]:
        optimizer.zero_grad()
        out = call(module, x)
        out.backward(g)
        optimizer.step()
        gradient, x.grad = _gradient(x), None
        return [out.detach(), gradient]

    return run


def _gradient(x: Tensor) -> Tensor:
    if x.grad is None:
        raise RuntimeError("the step gave the values no gradient")
    return x.grad


def judge(module: nn.Module, call: Network, x: Tensor, g: Tensor) -> Callable[[Sequence[Tensor]], str]:
    """Compares the result and the gradient of the values with the same network in float64, and the reference."""
    with pp.kernels("reference"):
        true = step(copy.deepcopy(module).double(), call, x.double(), g.double())()

    def compare(results: Sequence[Tensor]) -> str:
        for what, limit, found, wanted in zip(
            ("result", "gradient"), (RESULT, GRADIENT), results, true, strict=True
        ):
            error = float((found.double() - wanted).norm() / wanted.norm())
            if not error <= limit:
                return f"{what} off by {error:.1e} of its norm, tolerance {limit:.0e}"
        return ""

    return compare


def missing(*packages: str) -> str:
    """Which package is not installed, or an empty string."""
    return next((f"{name} is not installed" for name in packages if find_spec(name) is None), "")


def row(
    case: str,
    subject: str,
    workload: str,
    x: Tensor,
    standing: Standing,
    options: Options,
    *,
    layout: str,
    cells: int,
    direction: str = STEP,
    note: str = "",
) -> Row:
    """The row of a contest."""
    mine, *others = standing.entries
    if options.targets:
        others = [targets.judged(entry, subject, direction) for entry in others]
    return Row(
        table=TABLE,
        case=case,
        workload=workload,
        operator=subject,
        layout=layout,
        shape=tuple(x.shape),
        dtype=str(x.dtype).removeprefix("torch."),
        cells=cells,
        direction=direction,
        allocator=options.allocator,
        checked=1.0,
        read_ms=standing.read_ms,
        read_spread=standing.read_spread,
        others=standing.others,
        entries=(replace(mine, reads=None), *(replace(entry, reads=None) for entry in others)),
        note=note,
    )


def absent(case: str, subject: str, workload: str, options: Options, why: str) -> Row:
    """The row of a model that needs a package."""
    standing = Standing([Entry("polypool", "missing", why)], [{}], None, None, None)
    return row(case, subject, workload, torch.zeros(0), standing, options, layout="", cells=0)
