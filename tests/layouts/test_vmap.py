"""`torch.func.vmap` over what is not a whole grid, and over the way back."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import polypool as pp

BLOCK = pp.blocks.SqueezeExcite(4, 2).double()
CASES: dict[str, Callable[[Tensor], Tensor]] = {
    "windows": lambda x: pp.build("mean")(pp.Grid(x).windows(2)),
    "overlapping": lambda x: pp.build("max")(pp.Grid(x).windows(3, 1, 1)),
    "bins": lambda x: pp.build("mean")(pp.Grid(x).bins(4)),
    "lift": lambda x: pp.Grid(x).lift(pp.build("mean")(pp.Grid(x))),
    "lift-windows": lambda x: pp.Grid(x).windows(2).lift(pp.build("mean")(pp.Grid(x).windows(2))),
    "scale": lambda x: pp.Grid(x).scale(pp.build("mean")(pp.Grid(x))),
    "block": lambda x: BLOCK(x),
    "channels-last": lambda x: pp.build("std")(pp.Grid(x.movedim(1, -1), channels_last=True).windows(2)),
}


@pytest.mark.parametrize("case", CASES)
def test_vmap_is_a_loop(case: str) -> None:
    x = torch.randn(3, 2, 4, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    at_once = torch.func.vmap(CASES[case])(x)
    assert torch.allclose(at_once, torch.stack([CASES[case](each) for each in x]))


@pytest.mark.parametrize("case", CASES)
def test_gradients_inside_vmap(case: str) -> None:
    x = torch.randn(3, 2, 4, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradient = torch.func.grad(lambda each: CASES[case](each).sin().sum())
    assert torch.allclose(torch.func.vmap(gradient)(x), torch.stack([gradient(each) for each in x]))


def test_vmap_over_masks_and_indices() -> None:
    """Nothing is checked by value on what is batched, and the masks of each are its own."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 4, 3, generator=generator)
    masks = torch.rand(6, 5, 4, generator=generator) > 0.4
    pool = pp.build("mean+max+std")
    at_once = torch.func.vmap(lambda mask: pool(pp.Tokens(x, mask)))(masks)
    assert torch.allclose(at_once, torch.stack([pool(pp.Tokens(x, mask)) for mask in masks]), atol=1e-6)
    rows, batches = x.flatten(0, 1), torch.randint(0, 3, (6, 20), generator=generator)
    at_once = torch.func.vmap(lambda batch: pool(pp.Nodes(rows, batch, 3)))(batches)
    assert torch.allclose(at_once, torch.stack([pool(pp.Nodes(rows, b, 3)) for b in batches]), atol=1e-6)
