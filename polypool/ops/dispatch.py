"""Which implementation runs: kernels where they can, the definition in plain torch everywhere else."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.autograd import forward_ad

KINDS = ("auto", "reference", "numba", "triton")
VARIABLE = "POLYPOOL_KERNELS"
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

_choice: ContextVar[str | None] = ContextVar("polypool_kernels", default=None)


def choice() -> str:
    """The implementation asked for: by a `kernels` block, by the environment, or `"auto"`."""
    return _choice.get() or _from_environment()


@contextmanager
def kernels(kind: str = "auto") -> Iterator[None]:
    """Chooses what computes a pooling inside a `with` block.

    `"reference"` is plain torch, the definition of every operator. `"numba"` is the kernels for the CPU, which the
    extra `fast` installs. `"auto"` takes the fastest that can do what is asked: kernels read a tensor on the CPU once,
    where torch would read and write it many times; the reference serves forward-mode derivatives, `torch.func`,
    exported programs, other devices, and dense layouts under `torch.compile`. The environment variable
    `POLYPOOL_KERNELS` sets the choice outside any block.

    Args:
        kind: `"auto"`, `"reference"`, `"numba"` or `"triton"`. What is named, other than by `"auto"`, is an error where
            it cannot run, with the reason.

    Raises:
        ValueError: The kind is unknown.
        RuntimeError: The kind is known, but its kernels are not there.

    Example:
        >>> import torch, polypool as pp
        >>> with pp.kernels("reference"):
        ...     pp.build("mean")(torch.ones(2, 3, 4, 4)).shape
        torch.Size([2, 3])
    """
    token = _choice.set(_known(kind, "kernels"))
    try:
        yield
    finally:
        _choice.reset(token)


def accelerated(*tensors: Tensor | None, dense: bool = False) -> bool:
    """Whether CPU kernels compute on these tensors.

    Args:
        tensors: All that take part; missing ones are None.
        dense: Whether the cells are dense, which a compiler fuses with what is around them.

    Raises:
        RuntimeError: They were asked for by name and cannot.
    """
    if dense and torch.compiler.is_compiling():
        return False
    kind, reason = _settled()
    if kind == "reference":
        return False
    reason = reason or _unfit(tensors)
    if reason is not None and kind == "numba":
        raise RuntimeError(f'kernels("numba") cannot run here: {reason}. Use kernels("auto").')
    return reason is None


def _settled() -> tuple[str, str | None]:
    """The implementation asked for, and why kernels cannot run now, whatever the tensors."""
    kind = choice()
    if kind == "reference":
        return kind, None
    if not _installed():
        return kind, "numba is not installed; pip install polypool[fast]"
    if torch.compiler.is_exporting():
        return kind, "exported programs are plain torch"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return kind, "torch.func transforms need plain torch"
    if forward_ad._current_level >= 0:
        return kind, "forward-mode derivatives need plain torch"
    return kind, None


# A compiler cannot look into these questions: it asks them when it compiles. (`torch.compiler.assume_constant_result`
# does just this, but imports the compiler.)
for _question in (choice, _settled):
    _question._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _unfit(tensors: tuple[Tensor | None, ...]) -> str | None:
    """Why kernels cannot compute on these tensors; None when they can."""
    compiling = torch.compiler.is_compiling()
    for tensor in tensors:
        if tensor is None:
            continue
        if tensor.device.type != "cpu":
            return f"they compute on the CPU; found {tensor.device}"
        if tensor.is_floating_point() and tensor.dtype not in DTYPES:
            return f"they compute on {', '.join(map(str, DTYPES))}; found {tensor.dtype}"
        if not compiling:
            if type(tensor) not in _PLAIN:
                return f"they compute on plain tensors; found {type(tensor).__name__}"
            if tensor.numel() == 0:
                return "there is nothing to compute on"
    return None


_PLAIN = (Tensor, torch.nn.Parameter)


@cache
def _installed() -> bool:
    """Whether numba is there; says once that pooling is slower without it."""
    if find_spec("numba") is not None:
        return True
    warnings.warn(
        "polypool runs without its CPU kernels, which are many times faster: numba is not installed. "
        "pip install polypool[fast].",
        stacklevel=2,
    )
    return False


@cache
def _from_environment() -> str:
    return _known(os.environ.get(VARIABLE) or "auto", VARIABLE)


def _known(kind: str, name: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"{name} must be one of {', '.join(KINDS)}; found {kind!r}.")
    if kind == "triton":
        raise RuntimeError("this version of polypool has no triton kernels; choose auto, reference or numba.")
    if kind == "numba" and not _installed():
        raise RuntimeError('kernels("numba") cannot run: numba is not installed. pip install polypool[fast].')
    return kind
