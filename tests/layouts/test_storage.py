"""`rows` are a view of the values wherever nothing has to change."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import polypool as pp
from tests.support import normal

batch = torch.tensor([0, 0, 1, 2, 2])
mixed = torch.tensor([2, 0, 1, 2, 0])

SHARED: dict[str, tuple[Callable[[Tensor], pp.Layout], Tensor]] = {
    "nchw": (pp.Grid, normal(2, 3, 4, 5)),
    "ncl": (pp.Grid, normal(2, 3, 6)),
    "ncdhw": (pp.Grid, normal(2, 3, 2, 4, 5)),
    "nhwc": (lambda x: pp.Grid(x, channels_last=True), normal(2, 4, 5, 3)),
    "channels_last-memory": (pp.Grid, normal(2, 4, 5, 3).permute(0, 3, 1, 2)),
    "channels_last_3d-memory": (pp.Grid, normal(2, 2, 4, 5, 3).permute(0, 4, 1, 2, 3)),
    "bins-of-one": (lambda x: pp.Grid(x).bins(1), normal(2, 3, 4, 5)),
    "tokens": (pp.Tokens, normal(2, 4, 3)),
    "tokens-time-first": (lambda x: pp.Tokens(x.transpose(0, 1)), normal(4, 2, 3)),
    "packed": (lambda x: pp.Packed(x, torch.tensor([0, 2, 5])), normal(5, 3)),
    "packed-int32": (lambda x: pp.Packed(x, torch.tensor([0, 2, 5], dtype=torch.int32)), normal(5, 3)),
    "nodes-sorted": (lambda x: pp.Nodes(x, batch, 3), normal(5, 3)),
    "nodes-any-order": (lambda x: pp.Nodes(x, mixed, 3), normal(5, 3)),
    "nodes-one-graph": (pp.Nodes, normal(5, 3)),
    "clusters-hard": (lambda x: pp.Clusters(x, mixed, 3), normal(5, 3)),
}


def shares(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SHARED)
def test_rows_share_storage_with_the_values(name: str, dtype: torch.dtype) -> None:
    make, x = SHARED[name]
    stored = torch.empty_strided(x.size(), x.stride(), dtype=dtype).copy_(
        x
    )  # `.to` would keep strides, not storage
    layout = make(stored)
    assert shares(layout.cells.rows, stored)
    assert layout.cells.rows.dtype == dtype
    assert layout.cells.rows.shape[-1] == 3


@pytest.mark.parametrize("name", SHARED)
def test_pooling_half_precision_widens(name: str) -> None:
    """The one copy that is meant: statistics are in float32."""
    make, x = SHARED[name]
    assert make(x.half()).cells.rows.dtype == torch.float32


@pytest.mark.parametrize("name", SHARED)
def test_the_mean_of_a_view_writes_nothing(name: str) -> None:
    """Shared rows are never changed in place."""
    make, x = SHARED[name]
    before = x.clone()
    layout = make(x)
    for operator in pp.names(layout):
        pp.build(operator, channels=layout.channels).double()(layout)
    assert torch.equal(x, before)
