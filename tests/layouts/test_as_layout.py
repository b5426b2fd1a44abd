"""The whole table of `as_layout`, and that poolings and blocks take the same arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import polypool as pp
from tests.support import close, identical, integers, nested, normal

picture, volume, signal = normal(2, 3, 4, 5), normal(2, 3, 2, 4, 5), normal(2, 3, 6)
states, rows = normal(2, 4, 3), normal(5, 3)
mask4, mask5, mask2 = normal(2, 4, 5) > 0, normal(2, 2, 4, 5) > 0, normal(2, 4) > 0
lengths, ends, batch = torch.tensor([3, 1]), torch.tensor([0, 2, 2, 5]), torch.tensor([1, 0, 1, 3, 0])

TABLE: dict[str, tuple[Tensor, dict[str, Any], Callable[[], pp.Layout]]] = {
    "4-D": (picture, {}, lambda: pp.Grid(picture)),
    "5-D": (volume, {}, lambda: pp.Grid(volume)),
    "4-D-mask": (picture, {"mask": mask4}, lambda: pp.Grid(picture, mask4)),
    "5-D-mask": (volume, {"mask": mask5}, lambda: pp.Grid(volume, mask5)),
    "3-D-mask": (states, {"mask": mask2}, lambda: pp.Tokens(states, mask2)),
    "3-D-int-mask": (states, {"mask": mask2.int()}, lambda: pp.Tokens(states, mask2)),
    "3-D-lengths": (states, {"lengths": lengths}, lambda: pp.Tokens.from_lengths(states, lengths)),
    "2-D-offsets": (rows, {"offsets": ends}, lambda: pp.Packed(rows, ends)),
    "2-D-int32-offsets": (rows, {"offsets": ends.int()}, lambda: pp.Packed(rows, ends)),
    "2-D-batch": (rows, {"batch": batch}, lambda: pp.Nodes(rows, batch)),
    "2-D-batch-graphs": (rows, {"batch": batch, "num_graphs": 6}, lambda: pp.Nodes(rows, batch, 6)),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_table(name: str) -> None:
    x, arguments, make = TABLE[name]
    found, wanted = pp.as_layout(x, **arguments), make()
    assert type(found) is type(wanted)
    assert found.values is x
    assert found.num_cells == wanted.num_cells
    identical(found.counts, wanted.counts, "counts")
    for operator in ("mean", "max", "last"):
        pool = pp.build(operator)
        identical(pool(x, **arguments), pool(wanted), operator)
    block = pp.blocks.SqueezeExcite(3, 1).double()
    identical(block(x, **arguments), block(wanted).values, "block")


@pytest.mark.parametrize(
    "layout",
    [pp.Grid(picture).bins(2), pp.Tokens(states), pp.Packed(rows, ends), pp.Clusters(rows, batch)],
    ids=repr,
)
def test_a_layout_passes_through(layout: pp.Layout) -> None:
    assert pp.as_layout(layout) is layout


def test_a_jagged_nested_tensor_is_packed() -> None:
    parts = [normal(n, 3, seed=n) for n in (2, 0, 4, 1)]
    layout = pp.as_layout(nested(*parts))
    assert isinstance(layout, pp.Packed)
    assert layout.counts.tolist() == [2, 0, 4, 1]
    wanted = torch.stack([part.sum(0) for part in parts])
    close(pp.build("sum")(layout), wanted, "sum")
    close(pp.build("sum")(nested(*parts)), wanted, "sum of the nested tensor")


def test_a_nested_tensor_is_read_in_place_and_has_a_gradient() -> None:
    values = normal(5, 3).requires_grad_()
    x = torch.nested.nested_tensor_from_jagged(values, offsets=ends)
    layout = pp.as_layout(x)
    assert layout.cells.rows.untyped_storage().data_ptr() == values.untyped_storage().data_ptr()
    (found,) = torch.autograd.grad(pp.build("std")(x).sum(), values)
    (wanted,) = torch.autograd.grad(pp.build("std")(pp.Packed(values, ends)).sum(), values)
    identical(found, wanted, "gradient")


def test_a_nested_tensor_that_a_network_made() -> None:
    parts = [normal(n, 3, seed=n, dtype=torch.float32) for n in (3, 1)]
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    wanted = torch.stack([net(part).mean(0) for part in parts])
    close(pp.build("mean")(net(nested(*parts))), wanted, "mean")


def test_a_block_gives_back_a_nested_tensor() -> None:
    """Tensor in, tensor of the same form out."""
    block, x = pp.blocks.SqueezeExcite(3, 1).double(), nested(normal(2, 3), normal(4, 3, seed=1))
    out: Any = block(x)
    assert out.is_nested
    wanted = block(pp.as_layout(x)).values
    close(out.values(), wanted, "values")


def test_a_nested_tensor_of_nothing_but_empty_rows() -> None:
    x = torch.nested.nested_tensor_from_jagged(normal(0, 3), offsets=torch.tensor([0, 0, 0]))
    close(pp.build("max")(x), torch.zeros(2, 3, dtype=torch.float64), "max")


def test_signals_and_channels_last_say_what_they_are() -> None:
    """Three dimensions are never guessed at."""
    close(pp.build("mean")(pp.Grid(signal)), signal.mean(2), "signal")
    close(pp.build("mean")(pp.Tokens(signal)), signal.mean(1), "tokens")
    last = picture.permute(0, 2, 3, 1)
    close(pp.build("mean")(pp.Grid(last, channels_last=True)), picture.mean((2, 3)), "channels last")


def test_integers_of_every_kind() -> None:
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32):
        identical(
            pp.build("sum")(rows, batch=batch.to(dtype)), pp.build("sum")(rows, batch=batch), str(dtype)
        )
        identical(
            pp.build("sum")(rows, offsets=ends.to(dtype)), pp.build("sum")(rows, offsets=ends), str(dtype)
        )
        found = pp.build("sum")(states, lengths=lengths.to(dtype))
        identical(found, pp.build("sum")(states, lengths=lengths), str(dtype))


def test_many_segments_in_small_integers() -> None:
    """Offsets and ids are widened before anything is counted: 200 rows of 300 do not overflow uint8."""
    x = normal(300, 2)
    ids = integers(200, 300).to(torch.uint8)
    pooled = pp.build("sum")(x, batch=ids, num_graphs=200)
    close(pooled, torch.zeros(200, 2, dtype=torch.float64).index_add(0, ids.long(), x), "sum")
