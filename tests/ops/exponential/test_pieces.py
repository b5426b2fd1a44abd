"""Long cells, which are cut into pieces and joined, and large cells, whose size must not cost precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polypool.ops.cpu.job import Job
from polypool.ops.exponential import op
from polypool.ops.source import Source
from polypool.testing.tolerances import LARGE_CELL, LARGE_OFFSET, Tolerance
from tests.ops.exponential.loops import LOOPS, agree, measured
from tests.ops.moments.sources import dense, listed
from tests.support import close, identical, normal

NAN, INF = float("nan"), float("inf")
LONG = (1 << 18) + 5000
EACH = torch.tensor([0.4, -1.0, 2.0])

SOURCES: dict[str, Source] = {
    "rows": listed((3, 0, 5000, 20, 1985, 1984, 0), 130),
    "rows, weights": listed((3, 0, 5000, 20, 1985, 1984, 0), 130, heads=1),
    "shuffled": listed((3000, 5, 5000), 130, shuffled=True),
    "dense rows": dense(2, 3000, 130),
    "contiguous": dense(2, LONG, 3, first=True),
    "contiguous, weights": dense(1, LONG, 3, first=True, heads=1),
    "one channel": listed((4, LONG, 5, 2 * LONG, 0, 7), 1),
    "one channel, weights": listed((4, LONG, 5, 2 * LONG), 1, heads=1),
    "one channel, shuffled": listed((4, LONG, 5), 1, shuffled=True),
    "float64": listed((5000, 7), 130, torch.float64),
    "bfloat16": dense(1, LONG, 3, torch.bfloat16, first=True),
}


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("source", SOURCES)
def test_pieces_are_joined(source: str, name: str) -> None:
    found = SOURCES[source]
    if "shuffled" not in source:
        assert Job(found._replace(weight=None)).joined
    channels, dtype = found.values.shape[-1], torch.promote_types(found.values.dtype, torch.float32)
    each = EACH if channels == 3 else torch.linspace(-1, 2, channels) + 0.05
    agree(name, found, 1.0)
    agree(name, found, each.abs().to(dtype) if name == "log_mean_exp" else each.to(dtype))


@pytest.mark.parametrize("channels", [1, 130])
def test_pieces_without_weight(channels: int) -> None:
    """What they hold is not read, and pieces that hold nothing else are no part of the cell."""
    x = normal(3 * LONG if channels == 1 else 9000, channels, dtype=torch.float32)
    third = len(x) // 3
    w = torch.ones(len(x), 1)
    w[:third] = w[2 * third :] = 0
    x[:third], x[2 * third :] = NAN, INF
    source = Source(x, torch.tensor([0, len(x)]), None, w)
    inside = Source(x[third : 2 * third], torch.tensor([0, third]))
    for name in LOOPS:
        found, gradient, *_ = measured(name, source, torch.tensor([1.0]))
        close(found[third : 2 * third] if name == "softmax" else found, getattr(op, name)(inside, 1.0), name)
        assert not gradient[:third].any()
        assert not gradient[2 * third :].any()


def shape(name: str, x: Tensor) -> Source:
    """One cell of the numbers x, in one channel or in three that are the same."""
    if name == "one channel":
        return Source(x[:, None], torch.tensor([0, len(x)]))
    if name == "rows":
        return Source(x[:, None].expand(-1, 3).contiguous(), torch.tensor([0, len(x)]))
    return Source(x.expand(3, -1).contiguous().T[None])


MEMBERS = {
    "normal": normal(1_000_000),
    "ascending": normal(1_000_000).sort().values,
    "a trend": torch.linspace(-10, 10, 1_000_000, dtype=torch.float64),
    "one far above": normal(1_000_000).index_fill(0, torch.tensor([777_777]), 14.0),
    "equal": torch.full((1_000_000,), 0.1, dtype=torch.float64),
}


@pytest.mark.parametrize("members", MEMBERS)
@pytest.mark.parametrize("way", ["one channel", "rows", "contiguous"])
def test_the_error_does_not_grow_with_the_cell(way: str, members: str) -> None:
    x = MEMBERS[members].float()
    for k in (0.1, 1.0, 5.0):
        y = x.double() * k
        share = (y - y.amax()).softmax(0)
        average, log_mean = (
            (share * x.double()).sum(),
            (y.logsumexp(0) - torch.tensor(1e6).double().log()) / k,
        )
        source = shape(way, x)
        for found, wanted in ((op.average(source, k), average), (op.log_mean_exp(source, 1 / k), log_mean)):
            close(found, wanted.expand(found.shape), f"{members} at {k}", LARGE_CELL)
        densities = op.softmax(source, k)
        close(densities[..., 0].flatten() * 1e6, share * 1e6, "softmax", Tolerance(1e-5, 1e-5))


@pytest.mark.parametrize("way", ["one channel", "rows", "contiguous"])
def test_a_large_offset_costs_no_precision(way: str) -> None:
    x = (1e4 + normal(3000)).float()
    source = shape(way, x)
    for k in (0.1, 1.0, 5.0):
        for name in LOOPS:
            agree(name, source, k, Tolerance(1e-6, 1e-6), LARGE_OFFSET)


def test_the_same_bits_wherever_a_cell_stands() -> None:
    """Beside others or alone, in a list or dense."""
    x = normal(100, 49, dtype=torch.float32)
    together = op.average(Source(x.reshape(-1, 1), torch.arange(101) * 49), 1.0)
    alone = torch.cat([op.average(Source(row[:, None], torch.tensor([0, 49])), 1.0) for row in x])
    identical(together, alone, "one cell at a time")
    identical(op.average(Source(x[:, :, None]), 1.0), together, "dense")
    identical(op.average(Source(x.T[None]), 1.0).T, together, "channels")
