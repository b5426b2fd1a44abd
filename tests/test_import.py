"""`import polypool` is light: torch and numpy, and nothing that a user did not ask for."""

import json
import subprocess
import sys
from typing import Any

import pytest

HEAVY = (
    "transformers",
    "torch_geometric",
    "sentence_transformers",
    "numba",
    "triton",
    "matplotlib",
    "sklearn",
    "scipy",
    "pandas",
    "networkx",
    "PIL",
    "typer",
    "rich",
    "click",
    "torch._dynamo",
    "torch._inductor",
    "torch.onnx",
    "polypool.testing",
    "polypool.cli",
    "polypool.demo",
    "polypool.explain",
)

PROGRAM = """
import importlib, json, sys, warnings
import torch
warnings.simplefilter("error")

def settings():
    return [
        torch.get_num_threads(), str(torch.get_default_dtype()), torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(), torch.random.get_rng_state().tolist()[:64],
    ]

before, kept = set(sys.modules), settings()
import polypool as pp
found = {"new": sorted(set(sys.modules) - before), "kept": settings() == kept, "gpu": torch.cuda.is_initialized()}

warnings.simplefilter("ignore")  # of torch itself
from torch.func import grad, jacrev, jvp, vmap
x = torch.arange(3.0)
found["transforms"] = [
    torch.equal(grad(lambda x: (x * x).sum())(x), 2 * x),
    torch.equal(vmap(torch.sin)(x), x.sin()),
    torch.equal(jvp(torch.sin, (x,), (torch.ones(3),))[1], x.cos()),
    jacrev(torch.sin)(x).shape == (3, 3),
]

names = pp.names()
mean = importlib.reload(importlib.import_module("polypool.poolings.mean"))
found["reloaded"] = [pp.names() == names, type(pp.build("mean")) is mean.MeanPool]

found["missing"] = [name for name in pp.__all__ if not hasattr(pp, name)]
found["suite"] = callable(pp.testing.check_pooling)
try:
    pp.pool
except AttributeError as error:
    found["unknown"] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What one fresh process saw."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def test_what_it_pulls_in(found: dict[str, Any]) -> None:
    """Beyond what torch itself has imported: our own modules and the standard library."""
    new = found["new"]
    assert "polypool" in new
    assert not [name for name in new if any(name == heavy or name.startswith(heavy + ".") for heavy in HEAVY)]
    roots = {name.partition(".")[0] for name in new}
    assert roots - {"polypool", "torch", "numpy"} <= set(sys.stdlib_module_names)


def test_what_it_leaves_as_it_was(found: dict[str, Any]) -> None:
    """Threads, dtype, gradient mode and random numbers; no GPU is touched."""
    assert found["kept"]
    assert not found["gpu"]


def test_transforms_of_torch_work_beside_it(found: dict[str, Any]) -> None:
    assert all(found["transforms"])


def test_a_module_that_is_loaded_again_registers_nothing_twice(found: dict[str, Any]) -> None:
    assert all(found["reloaded"])


def test_what_a_user_sees(found: dict[str, Any]) -> None:
    """Everything in `__all__`, `testing` when it is asked for, and an error for the rest."""
    assert not found["missing"]
    assert found["suite"]
    assert found["unknown"] == "module 'polypool' has no attribute 'pool'"
