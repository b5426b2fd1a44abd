"""Errors do not grow with the cell."""

from __future__ import annotations

import pytest
import torch

import polypool as pp
from polypool.testing.tolerances import LARGE_CELL, LARGE_OFFSET
from tests.support import close, normal

MANY = 21_000_000  # a running float32 sum of ones stops at 16,777,216


@pytest.mark.parametrize("kind", ["nodes", "tokens", "grid"])
def test_21_million_ones_have_mean_1(kind: str) -> None:
    ones = torch.ones(MANY, 1)
    layout: pp.Layout = {
        "nodes": lambda: pp.Nodes(ones),
        "tokens": lambda: pp.Tokens(ones[None]),
        "grid": lambda: pp.Grid(ones.view(1, 1, MANY)),
    }[kind]()
    assert pp.build("mean")(layout).tolist() == [[1.0]]
    assert pp.build("sum")(layout).tolist() == [[float(MANY)]]
    assert layout.counts.tolist() == [MANY]


@pytest.mark.parametrize("form", ["soft", "soft-batch", "pairs", "hard"])
def test_200_000_tenths_in_a_cluster(form: str) -> None:
    """A float32 matrix product of as many is 40 short of 20,000."""
    tenths, zeros = torch.full((200_000, 1), 0.1), torch.zeros(200_000, dtype=torch.long)
    layout = {
        "soft": lambda: pp.Clusters(tenths, torch.ones(200_000, 1)),
        "soft-batch": lambda: pp.Clusters(tenths, torch.ones(200_000, 1), batch=zeros),
        "pairs": lambda: pp.Clusters(tenths, torch.stack([torch.arange(200_000), zeros])),
        "hard": lambda: pp.Clusters(tenths, zeros),
    }[form]()
    close(pp.build("sum")(layout), tenths.double().sum(0, keepdim=True), "sum", LARGE_CELL)
    close(pp.build("mean")(layout), tenths[:1], "mean", LARGE_CELL)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "name", ["mean", "max", "median", "rms", "logsumexp", "softmax", "trimmed", "gem", "mean_sqrt_len"]
)
def test_70_000_ones_in_half_precision(name: str, dtype: torch.dtype) -> None:
    """More than the largest float16: neither the sum nor the count may be one."""
    ones = torch.ones(70_000, 2, dtype=dtype)
    wanted = torch.full((1, 2), 70_000**0.5 if name == "mean_sqrt_len" else 1.0, dtype=torch.float64)
    for layout in (pp.Nodes(ones), pp.Tokens(ones[None]), pp.Packed(ones, torch.tensor([0, 70_000]))):
        found = pp.build(name)(layout)
        assert found.dtype == dtype
        close(found, wanted, f"{name} of {layout}")


def test_large_means_keep_their_variance() -> None:
    """N(1e4, 1) in float32."""
    x = (1e4 + normal(100_000, 1)).float()
    wanted = x.double().var(0, correction=0, keepdim=True)
    for layout in (pp.Nodes(x), pp.Tokens(x[None]), pp.Grid(x.view(1, 1, 250, 400))):
        close(pp.build("var")(layout), wanted, f"variance of {layout}", LARGE_OFFSET)
        close(pp.build("std")(layout), wanted.sqrt(), f"std of {layout}", LARGE_OFFSET)


def test_moments_of_very_small_and_very_large_numbers() -> None:
    """m2^2 would be 0 or inf in float32 long before m4 is."""
    x = normal(1000, 1)
    wanted = pp.build("moments")(pp.Nodes(x))
    for scale in (1e-9, 1e-6, 1e6, 1e8):
        found = pp.build("moments")(pp.Nodes((scale * x).float()))
        close(found[:, :2] / scale, wanted[:, :2], f"mean and std at {scale}")
        close(found[:, 2:], wanted[:, 2:], f"skewness and kurtosis at {scale}")


def test_twice_the_same_bits() -> None:
    """On any number of threads."""
    x, batch = normal(50_000, 3, dtype=torch.float32), torch.arange(50_000) % 7
    before = torch.get_num_threads()
    runs = []
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            runs.append(pp.build("mean+std+max")(pp.Nodes(x, batch, 7)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[1], runs[2])


def test_counts_and_places_are_integers() -> None:
    """Beyond 2^24 a float32 count would be an even number."""
    n = 2**24 + 3
    cells = pp.Nodes(torch.zeros(1, 1, dtype=torch.float16).expand(n, 1)).cells
    assert cells.n.tolist() == [[n]]
    assert cells.positions[-3:].flatten().tolist() == [n - 3, n - 2, n - 1]
