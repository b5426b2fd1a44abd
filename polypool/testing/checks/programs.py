"""Compiled, exported, and under autocast: the same numbers."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

import polypool as pp
from polypool.testing.bags import Bags, draw
from polypool.testing.check import check
from polypool.testing.forms import Form, one_of_each
from polypool.testing.measure import cotangent, describe, measured, pooled
from polypool.testing.samples import Sample
from polypool.testing.subject import Subject
from polypool.testing.tolerances import HALF_NETWORK, TOLERANCES, Tolerance, agree, identical, require
from polypool.testing.written import grid, nodes, packed, tokens

COMPILED: dict[str, Form] = {
    "grid": partial(grid, extra=0),
    "tokens": partial(tokens, side="holes", extra=2),
    "packed": packed,
    "nodes": nodes,
}


class Program(nn.Module):
    """What a user compiles: tensors in, tensor out, the layout made inside."""

    def __init__(self, pool: pp.Pooling, make: Any) -> None:
        super().__init__()
        self.pool = pool
        self.make = make

    def forward(self, values: Tensor, structure: dict[str, Tensor]) -> Tensor:
        out: Tensor = self.pool(self.make(values, **structure))
        return out


def program_samples(subject: Subject, sizes: tuple[int, ...], dtype: torch.dtype) -> list[Sample]:
    """One sample per layout that is promised to compile; pictures are whole ones."""
    full = Bags(draw((sizes[0],) * len(sizes), subject.channels, dtype, seed=31).elements)
    ragged = draw(sizes, subject.channels, dtype, seed=32)
    kinds = [kind for kind in COMPILED if kind in subject.kinds]
    samples = [COMPILED[kind](full if kind == "grid" else ragged) for kind in kinds]
    if subject.level == "full" and subject.takes_weights:
        weighted = draw(sizes, subject.channels, dtype, weighted=True, seed=33)
        samples += [COMPILED[kind](weighted) for kind in kinds]
    return samples


@check()
def compile_aot_eager(subject: Subject) -> None:
    """torch.compile(fullgraph=True, backend="aot_eager") gives eager's values and gradients (full: at other sizes)."""
    compiled_agrees(subject, "aot_eager")


@check("full")
def compile_inductor(subject: Subject) -> None:
    """torch.compile(fullgraph=True) with Inductor gives eager's values and gradients at any size."""
    compiled_agrees(subject, "inductor")


def compiled_agrees(subject: Subject, backend: str) -> None:
    # A second size makes torch compile again, with dynamic shapes, which takes several times as long.
    again = subject.level == "full"
    pool = subject.pool(torch.float32)
    first = program_samples(subject, (12, 5, 3), torch.float32)
    second = program_samples(subject, (30, 2, 7), torch.float32)
    for one, other in zip(first, second, strict=True):
        torch.compiler.reset()  # checks share code, and a cache full of other operators' graphs ends fullgraph
        program = torch.compile(Program(pool, one.make), fullgraph=True, backend=backend)
        for sample in (one, other)[: 1 + again]:
            where = describe(sample, f"compiled with {backend}")
            values = sample.values.clone().requires_grad_()
            out = program(values, sample.structure)
            wanted = measured(pool, sample)
            agree(sample.matrix(out), wanted.out, where)
            inputs = [values, *(p for p in pool.parameters() if p.requires_grad)]
            found = torch.autograd.grad(
                out, inputs, cotangent(out), allow_unused=True, materialize_grads=True
            )
            loose = Tolerance(
                *(10 * t for t in (TOLERANCES[out.dtype].relative, TOLERANCES[out.dtype].absolute))
            )
            agree(sample.rows(found[0]), wanted.rows, f"{where}, gradient of the values", loose)
            for grad, (name, expected) in zip(found[1:], wanted.parameters.items(), strict=True):
                agree(grad, expected, f"{where}, gradient of {name}", loose)
    torch.compiler.reset()


@check()
def export(subject: Subject) -> None:
    """torch.export with dynamic B, N, H, W gives a program that is right at other sizes."""
    pool = subject.pool(torch.float32).requires_grad_(False)
    first = program_samples(subject, (12, 5, 3), torch.float32)
    second = program_samples(subject, (30, 2, 7), torch.float32)
    for one, other in zip(first, second, strict=True):
        shapes = (
            {d: Dim.DYNAMIC for d in range(one.values.dim()) if d != one.channel_dim % one.values.dim()},
        )
        inner = {name: dict.fromkeys(range(t.dim()), Dim.DYNAMIC) for name, t in one.structure.items()}
        program = torch.export.export(
            Program(pool, one.make), (one.values, one.structure), dynamic_shapes=(*shapes, inner)
        ).module()
        for sample in (one, other):
            found = program(sample.values, sample.structure)
            agree(sample.matrix(found), pooled(pool, sample), describe(sample, "exported"))


@check()
def autocast(subject: Subject) -> None:
    """Under autocast parameters follow, pooling does not: the result has the input's dtype and its accuracy."""
    learned = any(True for _ in subject.source.parameters())
    for dtype in (torch.float32, torch.bfloat16):
        pool = subject.pool(torch.float32)
        for sample in one_of_each(subject.kinds, draw((9, 0, 31), subject.channels, dtype, seed=33)):
            where = describe(sample, "under autocast")
            wanted = measured(pool, sample)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = measured(pool, sample)
            require(found.out.dtype == dtype, f"{where}: the result is {found.out.dtype}")
            if learned:
                agree(found.out, wanted.out, where, HALF_NETWORK)
            else:
                identical(found.out, wanted.out, where)
                identical(found.rows, wanted.rows, f"{where}, gradient")
