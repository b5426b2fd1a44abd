"""Bitwise the same for any number of threads, where torch's own sums are not: a single cell with a single channel."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import polypool as pp


@pytest.fixture
def _threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(name: str, x: Tensor, threads: int) -> list[Tensor]:
    """The result and every gradient."""
    torch.set_num_threads(threads)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pool = pp.build(name, channels=x.shape[1])
    x = x.clone().requires_grad_()
    pooled = pool(x)
    pooled.sum().backward()
    gradients = [parameter.grad for parameter in pool.parameters()]
    return [pooled.detach(), *(g for g in (x.grad, *gradients) if g is not None)]


@pytest.mark.usefixtures("_threads_restored")
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", ["mean", "sum", "std", "max", "moments", "logsumexp", "gem", "attention"])
def test_one_large_cell(name: str, channels: int) -> None:
    x = torch.randn(1, channels, 250, 200, generator=torch.Generator().manual_seed(0))
    one, *others = (run(name, x, threads) for threads in (1, 2, 3))
    for other in others:
        assert all(map(torch.equal, one, other))
