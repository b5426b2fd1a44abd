"""Ways to a packed layout."""

import pytest
import torch

import polypool as pp
from tests.support import close, identical, normal


def test_from_lengths_are_offsets() -> None:
    x = normal(7, 2)
    layout = pp.Packed.from_lengths(x, torch.tensor([3, 0, 4, 0]))
    assert layout.offsets.tolist() == [0, 3, 3, 7, 7]
    assert layout.counts.tolist() == [3, 0, 4, 0]
    assert pp.Packed.from_lengths(x[:0], torch.zeros(0, dtype=torch.long)).num_cells == 0


def test_from_list() -> None:
    parts = [normal(n, 2, seed=n).requires_grad_() for n in (3, 0, 1)]
    layout = pp.Packed.from_list(parts)
    assert layout.counts.tolist() == [3, 0, 1]
    pooled = pp.build("rms")(layout)
    close(pooled[0], parts[0].square().mean(0).sqrt(), "first")
    assert not pooled[1].any()
    pooled.sum().backward()
    assert parts[0].grad is not None
    assert bool((parts[0].grad != 0).all())
    wanted = pp.build("rms")(pp.Packed.from_list(tuple(parts)))
    identical(wanted, pooled, "a tuple")
    identical(pp.build("rms")(pp.Packed.from_list(part for part in parts)), pooled, "a generator")  # type: ignore[arg-type]


def test_from_list_with_weights() -> None:
    parts, weight = [normal(2, 2), normal(3, 2, seed=1)], torch.tensor([1.0, 3.0, 0.0, 2.0, 2.0])
    pooled = pp.build("mean")(pp.Packed.from_list(parts, weight=weight))
    close(pooled[0], (parts[0][0] + 3 * parts[0][1]) / 4, "first")
    close(pooled[1], parts[1][1:].mean(0), "second")


def test_offsets_are_those_of_flash_attention_and_of_pyg() -> None:
    """`cu_seqlens` are int32, `ptr` int64; what is kept is int64 whatever came."""
    x = normal(5, 2)
    for dtype in (torch.int32, torch.int64):
        layout = pp.Packed(x, torch.tensor([0, 2, 5], dtype=dtype))
        assert layout.offsets.dtype == torch.int64
        close(pp.build("sum")(layout), torch.stack([x[:2].sum(0), x[2:].sum(0)]), str(dtype))


@pytest.mark.parametrize("name", pp.names())
def test_packed_is_each_sequence_alone(name: str) -> None:
    pool = pp.build(name, channels=4).double()
    parts = [normal(n, 4, seed=n) for n in (5, 1, 8)]
    wanted = torch.cat([pool(pp.Nodes(part)) for part in parts])
    close(pool(pp.Packed.from_list(parts)), wanted, name)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "std", "softmax", "median", "gem", "logsumexp"])
def test_no_list_of_members(name: str) -> None:
    """What kernels read is where each sequence begins: naming the sequence of every element costs more than a sum."""
    packed = pp.Packed(normal(9, 4, dtype=torch.float32).requires_grad_(), torch.tensor([0, 4, 4, 9]))
    with pp.kernels("numba"):
        pp.build(name, channels=4)(packed).sum().backward()
    assert "cell" not in vars(packed.members)
    identical(packed.members.cell, torch.tensor([0] * 4 + [2] * 5), "and yet it is known when asked")
