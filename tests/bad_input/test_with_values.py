"""Values that do not fit the structure, and channels that do not fit the parameters."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

import polypool as pp
from tests.bad_input.cases import (
    LAYOUTS,
    Case,
    check,
    named,
)


def wrong_with_values() -> list[Case]:
    cases = []
    for name, layout in LAYOUTS.items():
        good = layout.values
        longer = torch.cat([good, good[:1]])
        elsewhere = (
            torch.cat([good, good[:, :1]], 1) if name != "Grid" else torch.cat([good, good[..., :1]], -1)
        )
        wrong: dict[str, tuple[Any, type[Exception], tuple[str, ...]]] = {
            "list": (
                good.tolist(),
                TypeError,
                ("values must be a torch.Tensor", "found list", "torch.as_tensor"),
            ),
            "int": (
                good.long(),
                TypeError,
                ("values must be of a floating dtype", "found torch.int64", ".float()"),
            ),
            "dimensions": (
                good[0],
                ValueError,
                ("values must have shape", f"{good.dim()} dimensions", "found ("),
            ),
            "longer": (
                longer,
                ValueError,
                ("values must have the shape of the layout's", "found (", "Make a new layout"),
            ),
            "device": (good.to("meta"), ValueError, ("values must be on the device", "found meta", ".to(")),
        }
        if good.dim() > 2 and name not in ("Windows", "Bins"):
            wrong["places"] = (elsewhere, ValueError, wrong["longer"][2])
        for kind, (value, error, says) in wrong.items():
            cases.append(Case(f"{name}-{kind}", partial(layout.with_values, value), error, says))
    return cases


@named(wrong_with_values())
def test_with_values(case: Case) -> None:
    check(case)


LEARNED = [name for name in pp.names() if pp.build(name, channels=4).channels is not None]


def wrong_channels() -> list[Case]:
    pools: dict[str, Any] = {name: pp.build(name, channels=4).double() for name in LEARNED}
    pools["gem"] = pp.build("gem", per_channel=True, channels=4).double()
    pools["mean+attention"] = pp.build("mean+attention", channels=4).double()
    pools["block"] = pp.blocks.SqueezeExcite(4, 1).double()
    says = ("values must have the 4 channels that", "was built for", "found ")
    return [
        Case(f"{pool_name}-{name}", partial(pool, layout), ValueError, (*says, str(layout.channels)))
        for pool_name, pool in pools.items()
        for name, layout in LAYOUTS.items()
        if layout.channels != 4
    ]


@named(wrong_channels())
def test_channels(case: Case) -> None:
    check(case)
