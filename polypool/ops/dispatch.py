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
    kind, reason = _settled()
    if kind == "reference":
        return False
    if reason is None:
        reason = _COMPILED if dense and torch.compiler.is_compiling() else _unfit(tensors)
    if reason is not None:
        decline(reason, kind)
    return reason is None and not any(_is_empty(tensor) for tensor in tensors)


def decline(reason: str, kind: str | None = None) -> None:
    """Leaves a computation to the definition.

    Raises:
        RuntimeError: Kernels were asked for by name.
    """
    if (kind or _settled()[0]) == "numba":
        raise RuntimeError(f'kernels("numba") cannot run here: {reason}. Use kernels("auto").')


_COMPILED = "a compiler fuses dense layouts with what is around them in plain torch"


def _is_empty(tensor: Tensor | None) -> bool:
    return tensor is not None and not torch.compiler.is_compiling() and tensor.numel() == 0


def _settled() -> tuple[str, str | None]:
    """The implementation asked for, and why kernels cannot run now, whatever the tensors."""
    kind = choice()
    if kind == "reference":
        return kind, None
    if not _installed():
        return kind, "numba is not installed; pip install polypool[fast]"
    if torch.compiler.is_exporting():
        return kind, "exported programs are plain torch"
    if torch._C._get_tracing_state() is not None:
        return kind, "traced programs are plain torch"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return kind, "torch.func transforms need plain torch"
    if forward_ad._current_level >= 0:
        return kind, "forward-mode derivatives need plain torch"
    return kind, None


# A compiler cannot look into these questions: it asks them when it compiles. (`torch.compiler.assume_constant_result`
# does just this, but imports the compiler.)
for _question in (choice, _settled):
    setattr(_question, "_dynamo_marked_constant", True)  # noqa: B010 - functions have no such attribute in typing


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
        if tensor.dtype is torch.float16 and not _widens_float16():
            return "this processor does not widen float16"
        if not compiling:
            if type(tensor) not in _PLAIN:
                return f"they compute on plain tensors; found {type(tensor).__name__}"
            if max(tensor.shape[-1], tensor.numel() // max(tensor.shape[-1], 1)) > _MOST:
                return "they count the members of a cell in 32 bits"
    return None


_PLAIN = (Tensor, torch.nn.Parameter)
_MOST = torch.iinfo(torch.int32).max


@cache
def _installed() -> bool:
    """Whether numba works; says once that pooling is slower without it."""
    try:
        import numba  # noqa: F401
    except ImportError as error:
        found = "numba is not installed" if find_spec("numba") is None else f"numba does not work ({error})"
        warnings.warn(
            f"polypool runs without its CPU kernels, which are many times faster: {found}. "
            "pip install polypool[fast].",
            stacklevel=2,
        )
        return False
    return True


@cache
def _widens_float16() -> bool:
    from polypool.ops.cpu.vec import HAS_F16

    return HAS_F16


for _answer in (_installed, _widens_float16):
    setattr(_answer, "_dynamo_marked_constant", True)  # noqa: B010


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
