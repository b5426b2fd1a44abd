"""Softmax of rows of few channels, several of which are read together."""

from __future__ import annotations

import pytest
import torch

from polypool.ops.cpu import team
from polypool.ops.exponential import op
from polypool.ops.source import Source
from tests.ops.exponential.loops import agree, measured
from tests.ops.moments.sources import SIZES, dense, listed
from tests.support import close, identical, normal

KERNEL = "softmax_of_narrow_rows"
NAN, INF = float("nan"), float("inf")


def together(source: Source) -> bool:
    """Whether the kernel for narrow rows ran."""
    before = team.launches().get(KERNEL, 0)
    op.softmax(source, 1.0)
    return team.launches().get(KERNEL, 0) > before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [2, 4, 8, 16])
def test_against_loops(channels: int, dtype: torch.dtype) -> None:
    each = torch.linspace(0.3, 1.5, channels, dtype=dtype)
    for heads in (0, 1):
        for source in (
            listed((*SIZES, 6000), channels, dtype, heads=heads),
            dense(3, 70, channels, dtype, heads),
        ):
            assert together(source)
            for parameter in (0.7, each, -each):
                agree("softmax", source, parameter)


def test_only_rows_that_follow_each_other() -> None:
    x = normal(100, 8, dtype=torch.float32)
    ends = torch.tensor([0, 30, 100])
    assert together(Source(x, ends))
    for source in (
        Source(x, ends, torch.arange(100).flip(0)),
        Source(x[:, :4], ends),
        Source(x[::2], ends // 2),
        Source(normal(100, 3, dtype=torch.float32), ends),
    ):
        assert not together(source)
        agree("softmax", source, 0.7)
    assert together(Source(normal(4, 70, 8, dtype=torch.float32)[::2]))
    agree("softmax", Source(normal(4, 70, 8, dtype=torch.float32)[::2]), 0.7)


def test_half_precision_and_rows_of_no_cell() -> None:
    agree("softmax", listed((70, 0, 3), 4, torch.bfloat16), 0.7)
    x = normal(100, 4, dtype=torch.float32)
    x[60:] = NAN
    result, gradient = measured("softmax", Source(x, torch.tensor([0, 30, 60])), 0.7)
    assert not result[60:].any()
    assert not gradient[60:].any()


def test_special_numbers() -> None:
    """The same as through the rows kernel, which a list forces."""
    for members in (
        (INF, INF, 1.0),
        (-INF, -INF, -INF),
        (NAN, 1.0, INF),
        (-INF, 1.0, 2.0),
        (1e30, -1e30, 3e38),
    ):
        for n in (3, 40, 1000):
            x = normal(n, 4, dtype=torch.float32)
            x[torch.arange(3) * (n // 3), 1] = torch.tensor(members)
            if members[0] == -INF == members[2]:
                x[:, 1] = -INF
            for w in (None, 0.5 + torch.arange(n)[:, None].float() % 3):
                plain = Source(x, torch.tensor([0, n]), None, w)
                forced = plain._replace(rows=torch.arange(n))
                for one, other in zip(
                    measured("softmax", plain, 1.0), measured("softmax", forced, 1.0), strict=True
                ):
                    close(one, other, f"{members} among {n}")


def test_what_has_no_weight() -> None:
    x, w = normal(300, 4, dtype=torch.float32), (torch.arange(300) % 3 > 0).float()[:, None]
    w[100:160] = 0
    worse = x.masked_fill(w == 0, NAN)
    ends = torch.tensor([0, 100, 160, 300])
    for one, other in zip(
        measured("softmax", Source(worse, ends, None, w), 1.0),
        measured("softmax", Source(x, ends, None, w), 1.0),
        strict=True,
    ):
        identical(one, other, "whatever is there")
        assert not one[w[:, 0] == 0].any()


def test_the_error_does_not_grow_with_the_cell() -> None:
    x = normal(130_000, 2, dtype=torch.float32).sort(0).values
    source = Source(x, torch.tensor([0, 130_000]))
    assert together(source)
    for k in (0.1, 3.0):
        wanted = (x.double() * k).softmax(0)
        close(op.softmax(source, k) * 130_000, wanted * 130_000, f"at {k}")


def test_any_number_of_threads() -> None:
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(measured("softmax", listed([50] * 400, 4, heads=1), 0.7))
        for result in results[1:]:
            for found, wanted in zip(result, results[0], strict=True):
                identical(found, wanted, "threads")
    finally:
        torch.set_num_threads(before)
