"""Running somebody's model once and leaving it as it was."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def quiet(model: nn.Module) -> Iterator[ExitStack]:
    """Evaluation mode inside; afterwards every module has its own mode again and added hooks are gone.

    Yields:
        A stack: what is entered or called back on it is undone at the end, after an exception too.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        with ExitStack() as stack:
            for module, _ in modes:
                module.training = False  # not eval(), which a model may have made do more
            yield stack
    finally:
        for module, training in modes:
            module.training = training


def leaf(x: Tensor) -> Tensor:
    """The values as a tensor of its own that wants a gradient: frozen models are followed through it."""
    with torch.inference_mode(False):
        return (x.detach().clone() if x.is_inference() else x.detach()).requires_grad_()


def ordinary() -> ExitStack:
    """Gradients on and compilers off, whatever the caller has chosen."""
    stack = ExitStack()
    stack.enter_context(torch.inference_mode(False))
    stack.enter_context(torch.enable_grad())
    if "torch._dynamo" in sys.modules:
        # Compiled parts run as they were written, so that their steps can be followed.
        stack.enter_context(torch.compiler.set_stance("force_eager"))
    return stack
