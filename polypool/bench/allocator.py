"""What malloc does with freed memory, which decides what a fresh gradient costs.

A tensor above 32 MB is by default a mapping of its own: its pages are fetched one by one when it is first written and
given back when it is freed, which costs ten to twenty reads of it. Told to keep freed memory, malloc hands out pages
that are there already. Only the environment of a new process can tell it, before it allocates anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

KINDS = ("warm", "default")

#: glibc's settings; other allocators ignore them, and `kind_in_force` finds out.
WARM = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


def environment(kind: str, base: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process with that kind of allocator."""
    rest = {key: value for key, value in base.items() if key not in WARM}
    return rest | WARM if kind == "warm" else rest


def page_faults() -> int:
    """How many pages this process has had to fetch, 0 where nobody counts."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def pages(size: int) -> int:
    """How many pages so many bytes are."""
    return max(1, size // (os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096))


def warm(size: int) -> None:
    """Fetches `size` bytes and frees them, so that a warm allocator has them to give."""
    torch.ones(max(size, 1), dtype=torch.uint8)


def kind_in_force(size: int = 48 << 20) -> str:
    """`"warm"` if freed memory comes back with its pages, by counting the pages that a tensor costs."""
    warm(2 * size)
    before = page_faults()
    warm(size)
    return "warm" if page_faults() - before < pages(size) // 4 else "default"


def huge_pages() -> str:
    """Whether memory comes in huge pages: `"always"`, `"madvise"` (where asked for), `"never"` or `"unknown"`."""
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled", encoding="utf-8") as file:
            return file.read().split("[")[1].split("]")[0]
    except (OSError, IndexError):
        return "unknown"
