"""What tests do in processes of their own: `python children.py TASK ARGUMENTS` prints what was found as JSON.

Results are compared as lists of numbers, which JSON writes with all their digits.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

import polypool as pp
from polypool.testing import check_pooling

#: Seconds after which a child that has not answered hangs.
PATIENCE = 60


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def answer() -> list[list[float]]:
    """Pooled rows and a gradient, of cells large enough for more threads than one.

    No deviation among them: torch's own square root of a hundred numbers hangs in a forked child.
    """
    x = numbers(8000, 24).requires_grad_()
    pooled = pp.build("mean+max+var")(pp.Nodes(x, torch.arange(8000) % 5))
    pooled.square().sum().backward()
    pictures = pp.build("var")(pp.Grid(numbers(2, 3, 150, 150)))
    assert x.grad is not None
    return [pooled.detach().flatten().tolist(), x.grad[:50].flatten().tolist(), pictures.flatten().tolist()]


class Pooled(Dataset[torch.Tensor]):
    """Whose items a worker pools."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> torch.Tensor:
        x = numbers(8000, 24) + index
        pooled: torch.Tensor = pp.build("mean+max+std")(pp.Nodes(x, torch.arange(8000) % 5))
        return pooled


def in_fork(call: Callable[[], Any]) -> Any:
    """What a call gives in a forked child; "hangs" where it gives nothing."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(read)
            with os.fdopen(write, "w") as out:
                json.dump(call(), out)
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    found: list[str] = []

    def listen() -> None:
        with os.fdopen(read) as answered:
            found.append(answered.read())

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    listener.join(PATIENCE)
    if listener.is_alive():
        os.kill(child, 9)
        os.waitpid(child, 0)
        return "hangs"
    _, status = os.waitpid(child, 0)
    return json.loads(found[0]) if status == 0 else f"ended with status {status}"


def items(**how: Any) -> list[list[float]]:
    loaded = DataLoader(Pooled(), batch_size=None, num_workers=2, timeout=PATIENCE, **how)
    return [item.flatten().tolist() for item in loaded]


def fork() -> Any:
    """Children of a process whose team of two threads has run."""
    from polypool.ops.cpu import team

    torch.set_num_threads(2)
    wanted = answer()
    grandchild = in_fork(lambda: in_fork(answer))
    found = {
        "wanted": wanted,
        "os.fork": in_fork(answer),
        "twice": grandchild,
        "threads": in_fork(team.threads),
        "after": answer(),
        "wanted items": [item.flatten().tolist() for item in (Pooled()[i] for i in range(6))],
        "loader": items(multiprocessing_context="fork"),
    }
    # The same where torch has no OpenMP team that could be borrowed.
    team._gomp = lambda: None
    team._team.cache_clear()
    found["pool"], found["pool, os.fork"] = answer(), in_fork(answer)
    found["pool, loader"] = items(multiprocessing_context="fork")
    return found


def two_threads(worker: int) -> None:
    """A worker has one thread unless it is told otherwise."""
    torch.set_num_threads(2)


def spawn() -> Any:
    """New processes, which have a team of their own."""
    torch.set_num_threads(2)
    return {
        "wanted items": [item.flatten().tolist() for item in (Pooled()[i] for i in range(6))],
        "loader": items(multiprocessing_context="spawn", worker_init_fn=two_threads),
    }


def reference() -> Any:
    """With POLYPOOL_KERNELS=reference."""
    found = {"answer": answer(), "numba": "numba" in sys.modules}
    with pp.kernels("auto"):
        found["kernels"] = answer()
    from polypool.ops.cpu import team

    found["launches"] = team.launches()
    return found


def unknown() -> Any:
    """With POLYPOOL_KERNELS=fast."""
    try:
        answer()
    except ValueError as error:
        return str(error)
    return None


def without_numba() -> Any:
    """Where numba cannot be found."""
    sys.modules["numba"] = None  # type: ignore[assignment]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found: dict[str, Any] = {"answer": answer(), "again": answer()}
        program = torch.compile(pp.build("std"), backend="aot_eager")
        found["compiled"] = program(numbers(50, 2), offsets=torch.tensor([0, 20, 50])).flatten().tolist()
    found["warnings"] = [str(each.message) for each in caught if "polypool" in str(each.message)]
    try:
        with pp.kernels("numba"):
            pass
    except RuntimeError as error:
        found["numba"] = str(error)
    report = check_pooling("std", only=("matches_oracle", "gradients", "empty_cell"))
    found["suite"] = [result.status for result in report]
    return found


def compiled(folder: str) -> Any:
    """A kernel whose source is in a folder: whether it came from disk, and what was said about it."""
    from polypool.ops.cpu import compiler

    sys.path.insert(0, folder)
    kernel = importlib.import_module("tiny").describe_vectors
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for dtype in (torch.float32, torch.float64):
            compiler.address(kernel, dtype)
    return {
        "hits": [each.cache_hits for each in compiler._compiled.values()],
        "warnings": [str(each.message) for each in caught if "polypool" in str(each.message)],
    }


def old_processor() -> Any:
    """Half precision where the processor has no instruction for it."""
    from polypool.ops.cpu import compiler, team
    from polypool.ops.cpu.job import KIND, KINDS, OWN, SIZE

    sys.path.insert(0, os.path.dirname(__file__))
    kernel = importlib.import_module("tiny").widen_halves
    found = {}
    for dtype in (torch.bfloat16, torch.float16):
        given, job = torch.arange(-8, 8).to(dtype), np.zeros(SIZE, np.int64)
        wide = torch.zeros(16)
        job[OWN], job[OWN + 1], job[KIND] = given.data_ptr(), wide.data_ptr(), KINDS[dtype]
        team.launch("widen_halves", compiler.address(kernel, torch.float32), job, 1)
        found[str(dtype)] = wide.tolist()
    return found


def broken_numba() -> Any:
    """Where numba is there and cannot be imported."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found: dict[str, Any] = {"answer": answer(), "again": answer()}
    found["warnings"] = [str(each.message) for each in caught if "polypool" in str(each.message)]
    return found


TASKS: dict[str, Callable[..., Any]] = {
    task.__name__: task
    for task in (fork, spawn, reference, unknown, without_numba, broken_numba, compiled, old_processor)
}

if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](*sys.argv[2:])))
