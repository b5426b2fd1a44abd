"""Runs a compiled kernel on the threads that torch itself uses.

torch computes with a team of OpenMP threads that goes on spinning for a moment after each operation. Threads of our own
would fight it for the cores, so the team is borrowed: `GOMP_parallel`, the entry point of the OpenMP runtime that torch
carries, starts a function once on every thread. A kernel takes its work items by an atomic counter in its job, so it
does not matter how many threads come.
"""

import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

Job = npt.NDArray[np.int64]

_forked = False
_launches: dict[str, int] = {}
_pool_lock = threading.Lock()


def _after_fork() -> None:
    # The parent's team does not exist in the child, and waiting for it would hang, as torch's own operations do.
    global _forked, _pool_lock
    _forked = True
    _pool_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def threads() -> int:
    """How many threads a kernel may use: torch's number; one in a forked child, which has no team."""
    return 1 if _forked else torch.get_num_threads()


def launch(name: str, address: int, job: Job, threads: int) -> None:
    """Runs a kernel to its end on a number of threads, without the interpreter's lock."""
    _launches[name] = _launches.get(name, 0) + 1
    pointer = job.ctypes.data
    if threads == 1:
        _alone()(address)(pointer)
    else:
        _team()(address, pointer, threads)


def launches() -> dict[str, int]:
    """How often each kernel has run in this process, for tests that ask whether it did."""
    return dict(_launches)


@cache
def _alone() -> Callable[[int], Callable[[int], None]]:
    return cache(ctypes.CFUNCTYPE(None, ctypes.c_void_p))


@cache
def _team() -> Callable[[int, int, int], None]:
    start = _gomp()
    return _pooled if start is None else lambda address, job, threads: start(address, job, threads, 0)


def _gomp() -> Callable[[int, int, int, int], None] | None:
    """The entry point of torch's OpenMP runtime; None where torch was built with another one."""
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        start = ctypes.CDLL(str(library)).GOMP_parallel
    except (OSError, AttributeError):
        return None
    start.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    start.restype = None
    return start


_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def _pooled(address: int, job: int, threads: int) -> None:
    """The same with Python threads, for platforms whose OpenMP runtime has no such entry point."""
    with _pool_lock:
        key = (os.getpid(), threads)
        if key not in _pools:
            _pools[key] = ThreadPoolExecutor(threads - 1, thread_name_prefix="polypool")
        pool = _pools[key]
    kernel = _alone()(address)
    others = [pool.submit(kernel, job) for _ in range(threads - 1)]
    kernel(job)
    for other in others:
        other.result()
