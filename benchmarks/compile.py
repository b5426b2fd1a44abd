"""How long the kernels take to compile, one by one, and to be read from disk afterwards.

    python benchmarks/compile.py

CPU seconds of one process with a new, empty cache, in which every kernel is compiled for float32 and for float64; then
of a second process that finds them there. Importing numba is counted by itself.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import polypool.ops

#: CPU seconds: one kernel compiled, one read from disk, all compiled; and how many there may be.
EACH, CACHED, ALL, MANY = 3.0, 0.3, 60.0, 40


def kernels() -> Iterator[Callable[[Any], None]]:
    """Every plain function of a job among the sources of kernels."""
    for info in pkgutil.walk_packages(polypool.ops.__path__, "polypool.ops."):
        module = importlib.import_module(info.name)
        for each in vars(module).values():
            own = inspect.isfunction(each) and each.__module__ == info.name
            if own and list(inspect.signature(each).parameters) == ["pointer"]:
                yield each


def measure() -> dict[str, float]:
    """CPU seconds of each kernel in this process."""
    begin = time.process_time()
    from polypool.ops.cpu import compiler

    found = {"import": time.process_time() - begin}
    for kernel in kernels():
        for dtype in (torch.float32, torch.float64):
            begin = time.process_time()
            compiler.address(kernel, dtype)
            family = kernel.__module__.split(".")[2]
            found[f"{family} · {kernel.__name__} · {str(dtype).removeprefix('torch.')}"] = (
                time.process_time() - begin
            )
    return found


def in_a_process(folder: str) -> dict[str, float]:
    """The same in a process of its own, whose cache is in a folder."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure"],
        env=os.environ | {"NUMBA_CACHE_DIR": folder},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def main() -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        cold, cached = in_a_process(folder), in_a_process(folder)
    table = Table("kernel", "compiled, CPU s", "from disk, CPU s")
    for name, seconds in cold.items():
        marks = ("✓" if seconds <= EACH else "✗", "✓" if cached[name] <= CACHED else "✗")
        table.add_row(name, f"{seconds:.2f} {marks[0]}", f"{cached[name]:.3f} {marks[1]}")
    total = sum(cold.values()) - cold["import"]
    console = Console()
    console.print(table)
    count = len(cold) - 1
    console.print(f"{count} specialisations (target {MANY}), {total:.1f} CPU s in all (target {ALL:.0f}).")


if __name__ == "__main__":
    if sys.argv[1:] == ["--measure"]:
        print(json.dumps(measure()))
    else:
        main()
