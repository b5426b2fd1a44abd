"""The most memory that a call holds beyond what it was given and what it returns.

Counted by the kernel of the system: the peak of the resident set, set back before the call. So scratch of compiled
kernels counts, which no profiler of torch sees. Freed memory that malloc keeps is given back first; else a call could
use it unseen. What an implementation keeps between two calls was there before the second one, and does not count.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def measured(call: Callable[[], Sequence[Tensor]]) -> tuple[Sequence[Tensor], int | None]:
    """The results of a call, and its peak in bytes beyond them; None where the system cannot tell."""
    give_back()
    before = resident()
    if before is None:
        return call(), None
    if _reset_peak():
        results = call()
        peak = _status("VmHWM")
    else:
        with _Watch() as watch:
            results = call()
        peak = watch.peak
    return results, max(0, (peak or 0) - before - held(results))


def held(results: Iterable[Tensor]) -> int:
    """The bytes behind some tensors; a broadcast one holds what it repeats, once."""
    sizes = {
        t.untyped_storage().data_ptr(): min(t.untyped_storage().nbytes(), t.numel() * t.element_size())
        for t in results
    }
    return sum(sizes.values())


def give_back() -> None:
    """Returns what malloc keeps to the system, where it is glibc's."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return


def resident() -> int | None:
    """The resident set of this process in bytes; None where there is no /proc."""
    return _status("VmRSS")


def _status(key: str) -> int | None:
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            for line in file:
                if line.startswith(key):
                    return int(line.split()[1]) << 10
    except OSError:
        return None
    return None


def _reset_peak() -> bool:
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return False
    return True


class _Watch:
    """The peak as seen by a thread that looks every half millisecond: where the system keeps none."""

    def __init__(self) -> None:
        self.peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        with open("/proc/self/statm", encoding="ascii") as file:
            while True:
                file.seek(0)
                self.peak = max(self.peak, int(file.read().split()[1]) * PAGE)
                if self._done.wait(0.0005):
                    return

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
