"""Compiled programs: eager's values and gradients, at other sizes too, through the same kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.ops.cpu import team
from tests.support import close, integers, normal, of_gradients, uniform

Structure = tuple[Tensor, ...]


def packed(n: int) -> tuple[Tensor, Structure]:
    return normal(n, 5, seed=n), (torch.tensor([0, n // 3, n // 3, n]),)


def nodes(n: int) -> tuple[Tensor, Structure]:
    return normal(n, 5, seed=n), (integers(4, n, seed=n), uniform(n, seed=n + 1))


def tokens(n: int) -> tuple[Tensor, Structure]:
    return normal(3, n, 5, seed=n), (integers(3, 3, n, seed=n) > 0,)


def grid(n: int) -> tuple[Tensor, Structure]:
    return normal(2, 5, n, 3, seed=n), ()


MAKE: dict[str, tuple[Callable[[int], tuple[Tensor, Structure]], Callable[..., pp.Layout]]] = {
    "packed": (packed, lambda x, offsets: pp.Packed(x, offsets)),
    "nodes": (nodes, lambda x, batch, weight: pp.Nodes(x, batch, 5)),
    "nodes, weights": (nodes, lambda x, batch, weight: pp.Nodes(x, batch, 5, weight=weight)),
    "tokens": (tokens, lambda x, mask: pp.Tokens(x, mask=mask)),
    "grid": (grid, lambda x: pp.Grid(x)),
}
RAGGED = ("packed", "nodes", "nodes, weights")


@pytest.fixture(autouse=True)
def _compiler_reset() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def ran(call: Callable[[], object]) -> set[str]:
    """The kernels that ran in a call."""
    before = team.launches()
    call()
    return {name for name, times in team.launches().items() if times != before.get(name, 0)}


def check(program: Any, eager: Any, given: tuple[Tensor, Structure], dtype: torch.dtype, where: str) -> None:
    """Values and gradients, of weights too."""
    learned = [t.to(dtype).requires_grad_() for t in (given[0], *given[1]) if t.is_floating_point()]
    others = [t for t in given[1] if not t.is_floating_point()]
    inputs = (learned[0], *others, *learned[1:])
    found, wanted = program(*inputs), eager(*inputs)
    close(found, wanted, where)
    ours, theirs = (
        torch.autograd.grad(y.sin().sum(), learned, allow_unused=True, materialize_grads=True)
        for y in (found, wanted)
    )
    for a, b in zip(ours, theirs, strict=True):
        close(a, b, f"{where}, gradient", of_gradients(dtype))


def compiled(name: str, form: str, backend: str, dtype: torch.dtype, sizes: tuple[int, ...]) -> None:
    pool, (numbers, make) = pp.build(name), MAKE[form]

    def eager(x: Tensor, *structure: Tensor) -> Tensor:
        y: Tensor = pool(make(x, *structure))
        return y

    program = torch.compile(eager, fullgraph=True, backend=backend)
    for n in sizes:
        check(program, eager, numbers(n), dtype, f"{name} of {form} with {n}")


@pytest.mark.parametrize("form", MAKE)
@pytest.mark.parametrize("name", ["std", "mean+max+std"])
def test_as_eager(name: str, form: str) -> None:
    compiled(name, form, "aot_eager", torch.float32, (12,))


def test_at_other_sizes() -> None:
    """No members at all among them, which a program does not ask about."""
    compiled("mean+max+std", "packed", "aot_eager", torch.float64, (12, 300, 1, 0))


@pytest.mark.parametrize("form", RAGGED)
def test_kernels_run_in_compiled_programs(form: str) -> None:
    pool, (numbers, make) = pp.build("std"), MAKE[form]
    program = torch.compile(
        lambda x, *structure: pool(make(x, *structure)), fullgraph=True, backend="aot_eager"
    )
    x, structure = numbers(12)
    x.requires_grad_()
    results: list[Tensor] = []
    assert ran(lambda: results.append(program(x, *structure))) == {"moments_of_rows"}
    assert ran(lambda: results[0].sum().backward()) == {"gradients_of_rows"}


@pytest.mark.parametrize("form", ["tokens", "grid"])
def test_dense_layouts_are_left_to_the_compiler(form: str) -> None:
    """It fuses them with their neighbours."""
    pool, (numbers, make) = pp.build("std"), MAKE[form]
    x, structure = numbers(12)
    program = torch.compile(lambda x, *rest: pool(make(x, *rest)), fullgraph=True, backend="aot_eager")
    assert not ran(lambda: program(x, *structure))
    assert ran(lambda: pool(make(x, *structure)))


def test_the_definition_is_compiled_when_asked_for() -> None:
    pool, (numbers, make) = pp.build("std"), MAKE["packed"]
    x, structure = numbers(12)
    program = torch.compile(lambda x, *rest: pool(make(x, *rest)), fullgraph=True, backend="aot_eager")
    with pp.kernels("reference"):
        assert not ran(lambda: program(x, *structure))


def test_an_exported_program_is_plain_torch() -> None:
    class Program(torch.nn.Module):
        def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
            y: Tensor = pp.build("mean+max+std")(pp.Packed(x, offsets))
            return y

    x, (offsets,) = packed(12)
    exported = torch.export.export(Program(), (x, offsets))
    targets = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert not [target for target in targets if "moments" in target]
    close(exported.module()(x, offsets), Program()(x, offsets), "exported")


@pytest.mark.slow
@pytest.mark.parametrize("form", MAKE)
@pytest.mark.parametrize("name", ["std", "max", "mean+max+std"])
def test_with_inductor(name: str, form: str) -> None:
    compiled(name, form, "inductor", torch.float32, (12, 30))


@pytest.mark.slow
def test_with_inductor_whatever_the_strides() -> None:
    """A compiled gradient reads what a kernel wrote by the strides that it was told."""
    pool = pp.build("std")

    def eager(x: Tensor, offsets: Tensor) -> Tensor:
        y: Tensor = pool(pp.Packed(x.T, offsets))
        return y

    program = torch.compile(eager, fullgraph=True)
    check(program, eager, (normal(5, 12), (torch.tensor([0, 4, 12]),)), torch.float32, "transposed")
