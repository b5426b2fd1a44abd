"""What holds a pooling in the place of a module."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from polypool.pooling import Pooling
from polypool.vision.bin_pool import BinPool
from polypool.vision.global_pool import GlobalPool
from polypool.vision.local_pool import LocalPool
from polypool.vision.surgery.find import Found
from polypool.vision.surgery.report import Swapped


def holder_of(one: Found, pool: Pooling) -> nn.Module:
    """What takes the place of the module, with the pooling in it."""
    module: Any = one.module
    form = one.form
    if form is None or form.how == "pooling":
        return pool
    if form.how == "holder":
        new = copy.copy(module)
        new._modules = {**module._modules, "pool": pool}
        return new
    if one.site.kind in ("global", "squeeze"):
        return GlobalPool(pool, dims=form.dims)
    if form.windows is None:
        return BinPool(pool, form.bins, shared="whole")
    at = form.windows
    return LocalPool(
        pool,
        at.kernel,
        at.stride,
        at.padding,
        ceil_mode=form.ceil_mode,
        count_include_pad=at.count_include_pad,
        dilation=at.dilation,
    )


def placed(model: nn.Module, new: nn.Module) -> nn.Module:
    """On the device and in the dtype of the model's parameters."""
    some = next((p for p in model.parameters() if p.is_floating_point()), None)
    return new if some is None else new.to(device=some.device, dtype=some.dtype)


def record(one: Found, new: str, keeps: bool, widened: tuple[str, ...] = (), note: str = "") -> Swapped:
    """What was done to a site."""
    return Swapped(one.site.name, one.site.kind, one.site.operator, new, keeps, widened, note)
