"""Compiles kernels on first use, once for float32 and once for float64, and keeps them on disk.

A kernel is a plain function of a job, written over `WIDE` and `TAIL`; here it is given the vectors of one precision and
compiled. The name under which numba keeps the result holds a hash of all kernel sources: numba itself looks at the
file of the function alone, and the functions that it is made of live in others.
"""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from pickle import PickleError
from types import FunctionType
from typing import Any

import numba
import torch

from polypool.ops.cpu import vec

#: What makes vectors in a kernel's source: as many lanes as keep the processor's arithmetic busy, and one short
#: register for what is left of a row. Each precision has its own; these are those of float32.
WIDE, TAIL = vec.vector(numba.float32, 64), vec.vector(numba.float32, 16)

SIGNATURE = numba.types.void(numba.types.CPointer(numba.types.int64))

_lock = threading.Lock()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)

_compiled: dict[tuple[Callable[[Any], None], torch.dtype], Any] = {}


def precision(dtype: torch.dtype) -> dict[str, Any]:
    """What stands for `WIDE` and `TAIL` in one precision."""
    if dtype is torch.float32:
        return {"WIDE": WIDE, "TAIL": TAIL}
    return {"WIDE": vec.vector(numba.float64, 32), "TAIL": vec.vector(numba.float64, 8)}


def address(kernel: Callable[[Any], None], dtype: torch.dtype) -> int:
    """Where the machine code of a kernel for float32 or float64 begins; compiled or read from disk on first use."""
    found = _compiled.get((kernel, dtype))
    if found is None:
        with _lock:
            found = _compiled.get((kernel, dtype))
            if found is None:
                found = _compiled[kernel, dtype] = _compile(kernel, dtype)
    return found.address


def _compile(kernel: Callable[[Any], None], dtype: torch.dtype) -> Any:
    suffix = f"{str(dtype).removeprefix('torch.')}_{_fingerprint()}"
    source: Any = kernel
    one = FunctionType(source.__code__, source.__globals__ | precision(dtype), kernel.__name__)
    one.__qualname__ = f"{kernel.__name__}_{suffix}"
    one.__module__ = kernel.__module__
    try:
        return numba.cfunc(SIGNATURE, cache=True)(one)
    except (
        RuntimeError,
        OSError,
        EOFError,
        PickleError,
    ):  # there is no folder to write to, or the file is spoilt
        _say_uncached()
    return numba.cfunc(SIGNATURE)(one)


@cache
def _fingerprint() -> str:
    """A hash of everything that kernels are made of."""
    folder = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _say_uncached() -> None:
    """Says once that compiled kernels cannot be kept."""
    warnings.warn(
        "polypool cannot write its compiled kernels to disk, or read what is there, and compiles them anew in each "
        "process. Set NUMBA_CACHE_DIR to a folder that can be written.",
        stacklevel=2,
    )
