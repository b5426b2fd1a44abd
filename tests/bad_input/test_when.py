"""When values are looked at, and the nearest thing to each error that is right."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import polypool as pp
from tests.bad_input.cases import (
    ends,
    graphs,
    ids,
    long,
    mask2,
    mask4,
    pairs,
    pixels,
    rows,
    states,
    two,
)
from tests.support import identical


def compiled_by(make: Callable[..., pp.Layout]) -> Callable[..., Tensor]:
    """fullgraph: a look at a value would be a graph break, and an error."""
    torch.compiler.reset()
    pool = pp.build("mean")
    return torch.compile(lambda x, *rest: pool(make(x, *rest)), fullgraph=True, backend="eager")


@pytest.mark.parametrize(
    ("make", "x", "rest"),
    [
        (lambda x, m, w: pp.Grid(x, m, weight=w), pixels, (mask4.long(), torch.ones(2, 4, 5))),
        (lambda x, m, w: pp.Tokens(x, m, weight=w), states, (mask2.long(), torch.ones(2, 4))),
        (pp.Tokens.from_lengths, states, (long(1, 4),)),
        (lambda x, o, w: pp.Packed(x, o, weight=w), rows, (ends, torch.ones(5))),
        (pp.Packed.from_lengths, rows, (long(2, 3),)),
        (lambda x, b, w: pp.Nodes(x, b, 2, weight=w), rows, (graphs, torch.ones(5))),
        (lambda x, a, b: pp.Clusters(x, a, 2, batch=b, num_graphs=2), rows, (ids, graphs)),
        (lambda x, a, w: pp.Clusters(x, a, 2, w), rows, (pairs, torch.ones(3))),
        (pp.Clusters, rows, (torch.ones(5, 2),)),
        (lambda x: pp.Grid(x).windows(3, 2, 1), pixels, ()),
        (lambda x: pp.Grid(x).bins(3), pixels, ()),
    ],
    ids=[
        "grid",
        "tokens",
        "lengths",
        "packed",
        "packed-lengths",
        "nodes",
        "clusters",
        "pairs",
        "soft",
        "windows",
        "bins",
    ],
)
def test_no_value_is_read_while_compiling(
    make: Callable[..., pp.Layout], x: Tensor, rest: tuple[Tensor, ...]
) -> None:
    # The definition, for both: what is dense is never compiled into a call of a kernel.
    with pp.kernels("reference"):
        identical(compiled_by(make)(x, *rest), pp.build("mean")(make(x, *rest)), "compiled")


def test_wrong_values_are_not_looked_at_while_compiling_but_wrong_forms_are() -> None:
    def make(x: Tensor, mask: Tensor) -> pp.Layout:
        return pp.Tokens(x, mask)

    program = compiled_by(make)
    identical(program(states, two(mask2)), pp.build("mean")(states, mask=mask2), "a 2 in the mask is not 0")
    with pytest.raises(Exception, match="mask must have shape"):  # torch wraps it in an exception of its own
        compiled_by(make)(states, mask2[:, :3])


def test_values_on_a_cpu_are_read_always() -> None:
    """`check_values` is for other devices: it adds nothing here, and is over when its block is."""
    for block in (torch.no_grad, torch.inference_mode, pp.check_values):
        with block(), pytest.raises(ValueError, match="offsets must end at N = 5"):
            pp.Packed(rows, long(0, 4))
    with pytest.raises(ValueError, match="offsets must start at 0"), pp.check_values():
        pp.Packed(rows, long(1, 5))
    from polypool import _checks

    assert not _checks._on_every_device.get()


def test_the_largest_index_that_is_right() -> None:
    """One below what is wrong in the cases above."""
    assert pp.Nodes(rows, long(0, 1, 1, 1, 0), 2).counts.tolist() == [2, 3]
    assert pp.Clusters(rows, long(-1, 1, 1, 1, -1), 2).counts.tolist() == [0, 3]
    assert pp.Tokens.from_lengths(states, long(0, 4)).counts.tolist() == [0, 4]
    assert pp.Packed(rows, ends.int()).counts.tolist() == [2, 0, 3]
    assert pp.Grid(pixels).windows((4, 5)).num_cells == 2
    assert pp.Tokens(states).spans(torch.tensor([[1, 0, 4], [0, 4, 4]])).counts.tolist() == [4, 0]


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
)
def test_every_kind_of_mask_that_is_right(dtype: torch.dtype) -> None:
    mask = torch.tensor([[1, 0, 1, 0], [0, 0, 1, 1]])
    identical(
        pp.build("sum")(states, mask=mask.to(dtype)), pp.build("sum")(states, mask=mask.bool()), str(dtype)
    )


def test_settings_of_the_constructors() -> None:
    with pytest.raises(TypeError, match="channels_last must be a bool; found str"):
        pp.Grid(pixels, channels_last="no")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        pp.Tokens(states, attention_mask=mask2)  # type: ignore[call-arg]
