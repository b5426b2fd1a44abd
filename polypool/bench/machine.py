"""Where a run took place: the machine, and the versions of what ran."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import torch

import polypool as pp
from polypool.bench import allocator

PACKAGES = {
    "torch": "torch",
    "numba": "numba",
    "numpy": "numpy",
    "torch-geometric": "torch_geometric",
    "sentence-transformers": "sentence_transformers",
    "timm": "timm",
    "torchvision": "torchvision",
}


def machine() -> dict[str, str | int | None]:
    """The processor, its caches, memory and the system."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "usable_cores": _usable(),
        "vector": torch.backends.cpu.get_cpu_capability(),
        "cache": _caches(),
        "memory_gb": _memory(),
        "huge_pages": allocator.huge_pages(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def versions() -> dict[str, str | None]:
    """polypool's version and those of its rivals; None where one is not installed."""
    found: dict[str, str | None] = {"polypool": pp.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _usable() -> int | None:
    affinity = getattr(os, "sched_getaffinity", None)
    return os.cpu_count() if affinity is None else len(affinity(0))


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    for line in text.splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _caches() -> str | None:
    """Such as `L1d 48K, L2 1024K, L3 32768K`, of one core."""
    found = []
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = (
                (folder / name).read_text(encoding="ascii").strip() for name in ("level", "type", "size")
            )
        except OSError:
            continue
        if kind != "Instruction":
            found.append(f"L{level}{'d' if kind == 'Data' else ''} {size}")
    return ", ".join(found) or None


def _memory() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)
    except (AttributeError, ValueError, OSError):
        return None
