"""Our operations: a plain function where nobody listens, an operation of torch where somebody does."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

import polypool as pp
from tests.support import close, identical, normal

POOLS = {
    "moments": "mean+max",
    "average": "softmax",
    "log_mean_exp": "logsumexp",
    "power_mean": "gem",
    "quantiles": "median",
    "trimmed": "trimmed",
    "top": "top_k",
}
INDEX = torch.tensor([2, 0, 2, 1, 2, 2, 0])


@pytest.fixture(autouse=True)
def _whatever_the_environment_says() -> Iterator[None]:
    with pp.kernels("auto"):
        yield


def pooled(name: str, x: Tensor, index: Tensor = INDEX) -> Tensor:
    return pp.build(name, channels=x.shape[1])(pp.Nodes(x, index, 4))


class Heard(TorchDispatchMode):
    """Which operations of ours torch dispatches."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "polypool":
            self.names.add(func.__name__.split(".")[0])
        return func(*args, **(kwargs or {}))


def both_ways(name: str, listener: AbstractContextManager[Any]) -> None:
    """With and without somebody who listens the result and the gradient are the same numbers."""
    found, pool = [], pp.build(name, channels=3)
    for context in (torch.enable_grad(), listener):
        x = normal(7, 3, dtype=torch.float32).requires_grad_()
        with context:
            y = pool(pp.Nodes(x, INDEX, 4))
            y.square().sum().backward()
        assert x.grad is not None
        found.append((y.detach(), x.grad))
    for one, other in zip(*found, strict=True):
        identical(one, other, name)


@pytest.mark.parametrize(("operation", "name"), POOLS.items())
def test_a_mode_hears_the_operation(operation: str, name: str) -> None:
    heard = Heard()
    both_ways(name, heard)
    assert {operation, f"{operation}_backward"} <= heard.names


@pytest.mark.parametrize("name", POOLS.values())
def test_another_default_device(name: str) -> None:
    """What a kernel writes to is on the CPU, whatever device new tensors are on elsewhere."""
    both_ways(name, on_meta())


@contextmanager
def on_meta() -> Iterator[None]:
    with torch.device("meta"):
        yield


def test_the_profiler_hears_the_operation() -> None:
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        both_ways("mean", torch.enable_grad())
    names = {event.key for event in profiler.key_averages()}
    assert {"polypool::moments", "polypool::moments_backward"} <= names


@pytest.mark.parametrize("name", POOLS.values())
def test_gradients_of_many_at_once(name: str) -> None:
    """`is_grads_batched` runs a backward function under vmap, which our plain functions know nothing of."""
    x = normal(7, 3, dtype=torch.float32).requires_grad_()
    y = pooled(name, x)
    ways = normal(5, *y.shape, dtype=torch.float32)
    (together,) = torch.autograd.grad(y, x, ways, is_grads_batched=True, retain_graph=True)
    alone = [torch.autograd.grad(y, x, way, retain_graph=True)[0] for way in ways]
    close(together, torch.stack(alone))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # of the checks of shapes, which a trace keeps
@pytest.mark.parametrize("name", ["mean", "max", "median", "std", "first", "last"])
@pytest.mark.parametrize("trace", [torch.jit.trace, lambda f, inputs: make_fx(f)(*inputs)], ids=["jit", "fx"])
def test_what_is_traced_holds_for_other_values(
    name: str, trace: Callable[[Callable[..., Tensor], tuple[Tensor, Tensor]], Callable[..., Tensor]]
) -> None:
    """An index in order, and cells that all have members, must not become part of the program."""

    def program(x: Tensor, index: Tensor) -> Tensor:
        return pooled(name, x, index)

    ordered = torch.tensor([0, 0, 1, 1, 2, 3, 3])
    x = normal(7, 3, dtype=torch.float32)
    traced = trace(program, (x, ordered))
    close(traced(x, INDEX), program(x, INDEX))
    assert bool((traced(x, INDEX)[3] == 0).all())
