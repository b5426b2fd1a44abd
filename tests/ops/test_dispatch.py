"""Which implementation runs."""

import pytest
import torch

import polypool as pp
from polypool.ops.dispatch import choice
from tests.support import close, normal


def test_a_block_chooses_and_is_over() -> None:
    assert choice() == "auto"
    with pp.kernels("reference"):
        assert choice() == "reference"
        with pp.kernels():
            assert choice() == "auto"
        assert choice() == "reference"
    assert choice() == "auto"


def test_an_error_inside_ends_the_block() -> None:
    with pytest.raises(ZeroDivisionError), pp.kernels("reference"):
        1 / 0  # noqa: B018
    assert choice() == "auto"


def test_unknown_kinds_list_what_there_is() -> None:
    with (
        pytest.raises(
            ValueError, match="kernels must be one of auto, reference, numba, triton; found 'cuda'"
        ),
        pp.kernels("cuda"),
    ):
        pass


def test_kernels_agree_with_the_definition() -> None:
    x = pp.Nodes(normal(20, 3), torch.arange(20) % 3)
    for name in pp.names():
        pool = pp.build(name, channels=3).double()
        with pp.kernels("reference"):
            wanted = pool(x)
        close(pool(x), wanted, name)
