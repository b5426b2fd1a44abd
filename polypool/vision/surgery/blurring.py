"""A blur between windows and their samples."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from polypool.vision.blur import BlurPool
from polypool.vision.surgery.attach import attach
from polypool.vision.surgery.edits import Edits
from polypool.vision.surgery.find import Found
from polypool.vision.surgery.holders import placed, record
from polypool.vision.surgery.report import Swapped


def is_blur(pool: object) -> bool:
    """Whether a user means a blur."""
    return isinstance(pool, BlurPool) or pool == "blur"


def blurred(edits: Edits, one: Found, given: BlurPool | None) -> Swapped:
    """The windows, or the convolution, at every pixel; then a blur that samples."""
    module: Any = one.module
    if one.form is None or one.form.windows is None:
        raise ValueError(f"{one.site.name} has no windows for a blur to sample.")
    stride = one.form.windows.stride
    amount = 0.0 if given is None else torch.as_tensor(given.amount).detach().item()
    learn = given is None or isinstance(given.amount, Tensor)
    sizes = 3 if given is None else given.kernel
    listed = sizes if isinstance(sizes, tuple) else (sizes,) * len(stride)
    # Along a dimension that is not sampled there is nothing to blur for.
    kernel = tuple(1 if step == 1 else size for size, step in zip(listed, stride, strict=True))
    border = "renormalise" if given is None else given.border
    blur = placed(edits.model, BlurPool(kernel, stride, border=border, amount=amount, learn=learn))
    edits.stand_near(blur, [] if module is None else list(module.parameters()))
    ones = (1,) * len(stride)
    if one.form.how == "stride":
        edits.set(module, "stride", ones)
        attach(edits, module, "blur", blur)
    else:
        dense = copy.deepcopy(module)
        dense.stride = ones
        edits.replace(one.site.name, nn.Sequential(dense, blur))
    return record(one, f"{one.site.operator}, blur", amount == 0)
