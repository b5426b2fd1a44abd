"""The ragged primitives as functions, and `argbest` as an operation of its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polypool.ops import segments
from polypool.ops.segments import reference
from tests.support import close, identical, integers, normal

SIZES = [0, 1, 2, 31, 63, 100, 1023, 1025]


@pytest.mark.parametrize("members", SIZES)
def test_against_loops(members: int) -> None:
    v, bins = normal(members, 3), 7
    cell = integers(bins - 1, members, seed=members)  # the last is empty
    total, best = torch.zeros(bins, 3, dtype=torch.float64), torch.full((bins, 3), members)
    for i in range(members):
        k = int(cell[i])
        total[k] += v[i]
        for c in range(3):
            if best[k, c] == members or v[i, c] > v[int(best[k, c]), c]:
                best[k, c] = i
    close(segments.total(v, cell, bins), total, "total")
    identical(segments.argbest(v, cell, bins), best, "argbest")
    identical(segments.expand(total, cell), total[cell], "expand")


def test_the_operation_is_registered_whole() -> None:
    v, cell = normal(20, 3), integers(4, 20)
    for given in (v, v[:0].half()):
        torch.library.opcheck(torch.ops.polypool.segment_argbest.default, (given, cell[: len(given)], 5))


def test_the_operation_is_what_compiled_programs_call() -> None:
    """One opaque node, so that a compiler does not read it before it is written."""
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    torch.compiler.reset()
    v, cell = normal(20, 3), integers(4, 20)
    program = torch.compile(lambda v, cell: segments.argbest(v, cell, 4), fullgraph=True, backend=backend)
    identical(program(v, cell), reference.argbest(v, cell, 4), "compiled")
    targets = [str(node.target) for node in graphs[0].graph.nodes if node.op == "call_function"]
    assert targets == ["polypool.segment_argbest"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_sums_are_rounded_once(dtype: torch.dtype) -> None:
    """Added up in float64: the result is the exact sum in the nearest number of the dtype."""
    v = normal(5000, 2, dtype=dtype)
    exact = v.double().sum(0, keepdim=True)
    found = segments.total(v, torch.zeros(5000, dtype=torch.long), 1)
    assert found.dtype == dtype
    close(found.double(), exact.to(dtype).double(), "sum")


def test_no_order_of_members_changes_a_sum_by_more_than_a_rounding() -> None:
    v = normal(10_000, 1, dtype=torch.float32) * 1e3
    cell = torch.zeros(10_000, dtype=torch.long)
    order = torch.randperm(10_000, generator=torch.Generator().manual_seed(1))
    identical(segments.total(v, cell, 1), segments.total(v[order], cell, 1), "sum")
