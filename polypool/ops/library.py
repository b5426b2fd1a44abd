"""Our operations in torch: opaque to a compiler and to modes, a plain function to everybody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

library = torch.library.Library("polypool", "FRAGMENT")

#: How a schema begins: the fields of `Source`.
SOURCE = "Tensor values, Tensor? offsets, Tensor? rows, Tensor? weight"
#: Of `torch.autograd.grad(is_grads_batched=True)`, which is no transform of `torch.func`.
_BATCHED: Any = "VmapMode"


class Operation:
    """An operation of torch on the CPU, `torch.ops.polypool.NAME`.

    The way from Python to Python by torch's dispatcher takes longer than a small pooling, forward and backward. It is
    taken only where somebody listens: a compiler, a mode, a transform, the profiler.

    Args:
        name: Its name in torch.
        schema: `"(Tensor x) -> Tensor"`.
        run: Computes it.
        fake: Gives results of the same shapes, dtypes and strides.
    """

    def __init__(self, name: str, schema: str, run: Callable[..., Any], fake: Callable[..., Any]) -> None:
        library.define(f"{name}{schema}")
        library.impl(name, run, "CPU")
        torch.library.register_fake(f"polypool::{name}", fake, lib=library)
        self.name, self.run = name, run
        self.dispatched = getattr(torch.ops.polypool, name).default
        self.tracked: Callable[..., Any] | None = None

    def differentiable(
        self, remember: Callable[[Any, Any, Any], None], differentiate: Callable[..., Any]
    ) -> None:
        """Gives it a gradient.

        Args:
            remember: `remember(ctx, inputs, output)` keeps what the gradient needs.
            differentiate: `differentiate(ctx, *grads)`, one gradient or None for each input.
        """
        torch.library.register_autograd(
            f"polypool::{self.name}", differentiate, setup_context=remember, lib=library
        )
        run = self.run

        def forward(ctx: Any, *inputs: Any) -> Any:
            output = run(*inputs)
            remember(ctx, inputs, output)
            return output

        methods = {"forward": staticmethod(forward), "backward": staticmethod(differentiate)}
        function: Any = type(self.name, (torch.autograd.Function,), methods)
        self.tracked = function.apply

    def __call__(self, *args: Any) -> Any:
        if not _unheard():
            return self.dispatched(*args)
        if self.tracked is not None and torch.is_grad_enabled() and any(map(_requires_grad, args)):
            return self.tracked(*args)
        return self.run(*args)


def _unheard() -> bool:
    if torch.compiler.is_compiling():
        return False
    return not (
        torch._C._len_torch_dispatch_stack()
        or torch._C._len_torch_function_stack()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._dispatch_tls_is_dispatch_key_included(_BATCHED)
        or torch.autograd.profiler._is_profiler_enabled
    )


def _requires_grad(arg: object) -> bool:
    return isinstance(arg, Tensor) and arg.requires_grad
