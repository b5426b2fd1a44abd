"""Power means by kernels, and by their definition in float64."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

import polypool as pp
from polypool.cells.listed import cells_of
from polypool.ops.power import op, reference
from polypool.ops.source import Source
from tests.ops.moments.sources import poisoned_memory
from tests.support import TOLERANCES, Tolerance, close, of_gradients

INF, NAN = float("inf"), float("nan")
Power = float | Tensor


class Setting(NamedTuple):
    """What a power mean is asked for."""

    p: Power
    signed: bool = False
    floor: float | None = None

    def __str__(self) -> str:
        p = self.p if isinstance(self.p, float) else [round(x, 2) for x in self.p.tolist()[:4]]
        return (
            f"p={p}{', signed' if self.signed else ''}{'' if self.floor is None else f', from {self.floor}'}"
        )


#: Every way through the kernels: products, ratios, and either with signs or with a floor.
SETTINGS = (
    Setting(1.0),
    Setting(2.0),
    Setting(3.0),
    Setting(2.5),
    Setting(0.3),
    Setting(60.0),
    Setting(1.0, floor=0.5),
    Setting(2.0, floor=-0.5),
    Setting(3.0, floor=1e-6),
    Setting(4.2, floor=0.3),
    Setting(2.0, signed=True),
    Setting(3.0, signed=True),
    Setting(1.7, signed=True),
    Setting(3.0, signed=True, floor=-0.5),
    Setting(torch.tensor([3.0])),
    Setting(torch.tensor([3.0]), floor=1e-6),
    Setting(torch.tensor([1.0])),
    Setting(torch.tensor([1.7]), signed=True),
)


class Found(NamedTuple):
    """Power means `(K, C)`, and the gradients of their sum with different factors."""

    out: Tensor
    values: Tensor
    power: Tensor | None


def per_channel(channels: int) -> Setting:
    """A p for each channel, some of which have products."""
    return Setting(torch.linspace(0.5, 5.0, channels), floor=1e-3)


def measured(source: Source, setting: Setting) -> Found:
    """By the operation, in memory that holds NaN where nothing is written."""
    with poisoned_memory():
        return _differentiated(source, setting, definition=False)


def defined(source: Source, setting: Setting) -> Found:
    """By definition, in float64."""
    weight = None if source.weight is None else source.weight.double()
    wide = Source(source.values.double(), source.offsets, source.rows, weight)
    p = setting.p.double() if isinstance(setting.p, Tensor) else setting.p
    return _differentiated(wide, setting._replace(p=p), definition=True)


def _differentiated(source: Source, setting: Setting, definition: bool) -> Found:
    values = source.values.detach().requires_grad_()
    p, signed, floor = setting
    inputs = [values]
    if isinstance(p, Tensor):
        p = p.detach().requires_grad_()
        inputs.append(p)
    source = source._replace(values=values)
    if definition:
        with pp.kernels("reference"):
            cells = cells_of(source)
            out = reference.power_mean(cells, cells.rows, p, signed, floor)
    else:
        out = op.power_mean(source, p, signed, floor)
    factors = torch.linspace(-1.0, 2.0, out.numel(), dtype=torch.float64).view_as(out).to(out.dtype)
    grads = torch.autograd.grad(out, inputs, factors)
    return Found(out.detach(), grads[0], grads[1] if len(grads) > 1 else None)


def agree(source: Source, setting: Setting, tolerance: Tolerance | None = None) -> Found:
    """Compares the operation with the definition, and all gradients."""
    found, wanted = measured(source, setting), defined(source, setting)
    where, dtype = f"{setting}, {source.values.dtype}", source.values.dtype
    assert found.out.dtype == torch.promote_types(dtype, torch.float32)
    assert found.values.dtype == dtype
    close(found.out, wanted.out, f"power means, {where}", tolerance)
    close(found.values, wanted.values, f"gradient of the values, {where}", of_gradients(dtype))
    if wanted.power is not None:
        assert found.power is not None
        close(found.power, wanted.power, f"gradient of p, {where}", of_gradients(found.power.dtype))
    return found


__all__ = [
    "INF",
    "NAN",
    "SETTINGS",
    "TOLERANCES",
    "Found",
    "Setting",
    "agree",
    "defined",
    "measured",
    "per_channel",
]
