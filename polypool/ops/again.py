"""Derivatives of derivatives: a kernel's gradient is a number, the definition's is a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polypool.ops.dispatch import kernels
from polypool.ops.source import Source

if TYPE_CHECKING:
    from polypool.cells import Cells


def through_definition(
    define: Callable[[Cells], Sequence[Tensor]],
    source: Source,
    grads: Sequence[Tensor | None],
    inputs: Sequence[Tensor],
) -> list[Tensor | None]:
    """Gradients of the operation in plain torch, which can be differentiated again.

    Args:
        define: From cells to the results.
        source: What the cells read.
        grads: The gradient of each result; None where there is none.
        inputs: The tensors whose gradients are wanted; those without a gradient get None.
    """
    from polypool.cells.listed import cells_of  # definitions are written on cells, which stand on operations

    with torch.enable_grad(), kernels("reference"):
        results = define(cells_of(source))
        pairs = [
            (result, grad)
            for result, grad in zip(results, grads, strict=True)
            if grad is not None and result.requires_grad
        ]
        wanted = [tensor for tensor in inputs if tensor.requires_grad]
        found = iter(
            torch.autograd.grad(
                [result for result, _ in pairs],
                wanted,
                [grad for _, grad in pairs],
                create_graph=True,
                allow_unused=True,
            )
            if pairs and wanted
            else [None] * len(wanted)
        )
    return [next(found) if tensor.requires_grad else None for tensor in inputs]
