"""Large fresh memory in large pages.

The first touch of each page of fresh memory costs more than all that a kernel does with it. On Linux the operating
system can be asked for pages of 2 MB in place of 4 kB, where it does not give them by itself.
"""

import ctypes
import sys
from collections.abc import Callable
from functools import cache

from torch import Tensor

#: Bytes from which the C library takes fresh memory from the operating system for each tensor.
_LARGE = 1 << 25
_PAGE = 1 << 12
_HUGE_PAGES = 14  # MADV_HUGEPAGE


def advise(fresh: Tensor) -> None:
    """Asks for large pages behind a tensor that nothing has been written to yet. It is a hint: nothing can go wrong."""
    size = fresh.numel() * fresh.element_size()
    if size < _LARGE:
        return
    begin = -(-fresh.data_ptr() // _PAGE) * _PAGE
    _madvise()(begin, fresh.data_ptr() + size - begin, _HUGE_PAGES)


@cache
def _madvise() -> Callable[[int, int, int], object]:
    if sys.platform != "linux":
        return lambda begin, size, advice: None
    call = ctypes.CDLL(None).madvise
    call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return call
