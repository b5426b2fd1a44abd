"""Differences of neighbouring pixels, and what they add up to."""

from typing import Any

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.testing.tolerances import agree, identical
from polypool.vision import GradientEnergy, differences


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(x: Tensor, mask: Tensor, step: tuple[int, int], power: int) -> Tensor:
    """The mean over pairs of real pixels, pixel by pixel, `(B, C)`."""
    batch, channels, height, width = x.shape
    out = torch.zeros(batch, channels, dtype=x.dtype)
    for b in range(batch):
        parts = []
        for i in range(height):
            for j in range(width):
                k, m = i + step[0], j + step[1]
                if 0 <= k < height and 0 <= m < width and mask[b, i, j] and mask[b, k, m]:
                    parts.append((x[b, :, k, m] - x[b, :, i, j]).abs() ** power)
        if parts:
            out[b] = torch.stack(parts).mean(0)
    return out


@pytest.mark.parametrize("step", [(0, 1), (1, 0), (1, -1), (1, 1), (0, -2), (3, 2)])
@pytest.mark.parametrize(("measure", "power"), [("square", 2), ("absolute", 1)])
def test_the_definition(step: tuple[int, int], measure: Any, power: int) -> None:
    x = normal(3, 2, 4, 5)
    mask = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1)) > 0.3
    mask[2] = False
    energy = GradientEnergy([step], measure)
    agree(energy(x), by_hand(x, torch.ones_like(mask), step, power), "without a mask")
    hidden = x.masked_fill(~mask[:, None], torch.nan).requires_grad_()
    out = energy(hidden, mask=mask)
    agree(out, by_hand(x, mask, step, power), "a pair counts when both of its pixels are real")
    out.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.isfinite().all()
    assert (hidden.grad.masked_select(~mask[:, None]) == 0).all()


def test_stripes_and_checkerboard() -> None:
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)
    checkerboard = stripes * stripes.mT
    assert GradientEnergy()(stripes).tolist() == [[0.0, 4.0]]
    assert GradientEnergy()(stripes.mT).tolist() == [[4.0, 0.0]]
    assert GradientEnergy()(checkerboard).tolist() == [[4.0, 4.0]]
    assert GradientEnergy("neighbours", "absolute")(checkerboard).tolist() == [[2.0, 0.0, 2.0, 0.0]]


def test_steps_of_every_dimension() -> None:
    assert GradientEnergy().out_channels(3) == 6
    assert GradientEnergy("neighbours").out_channels(3) == 12
    for dims, pairs in ((1, 1), (2, 4), (3, 13)):
        x = normal(2, 3, *(4,) * dims)
        assert GradientEnergy()(x).shape == (2, 3 * dims)
        every = GradientEnergy("neighbours")
        assert every(x).shape == (2, 3 * pairs) == (2, every.out_channels(3, dims))
    volume = torch.zeros(1, 1, 2, 3, 4)
    volume[:, :, 1] = 5
    assert GradientEnergy()(volume).tolist() == [[25.0, 0.0, 0.0]]


def test_channels_last_is_the_same() -> None:
    x, mask = normal(2, 3, 5, 4), torch.rand(2, 5, 4) > 0.2
    last = pp.Grid(x.movedim(1, -1), mask, channels_last=True)
    agree(GradientEnergy()(last), GradientEnergy()(x, mask=mask), "channels last")


def test_weights_are_those_of_both_pixels() -> None:
    x, weight = normal(1, 1, 1, 3), torch.tensor([[[1.0, 2.0, 3.0]]])
    a, b, c = x.flatten().tolist()
    expected = (2 * (b - a) ** 2 + 6 * (c - b) ** 2) / 8
    out = GradientEnergy([(0, 1)])(pp.Grid(x, weight=weight))
    agree(out, torch.tensor([[expected]], dtype=torch.float64), "by hand")


def test_a_map_of_one_pixel_has_no_pairs() -> None:
    for pool in ("mean", "max", "std", "median"):
        identical(GradientEnergy(pool=pool)(torch.ones(2, 3, 1, 1)), torch.zeros(2, 6), pool)


def test_a_constant_added_changes_nothing_and_half_precision_does_not_overflow() -> None:
    x = normal(2, 3, 6, 6)
    agree(GradientEnergy()(x + 5), GradientEnergy()(x), "a brighter image")
    half = (torch.arange(4.0) * 200).expand(1, 1, 4, 4).to(torch.float16)
    assert GradientEnergy([(0, 1)])(half).item() == 40000
    assert GradientEnergy(measure="absolute")(half).dtype == torch.float16


def test_differences_are_a_grid_for_any_pooling() -> None:
    x = normal(2, 3, 6, 7)
    change = differences(pp.Grid(x), (0, 1))
    agree(change.values, x.diff(dim=3), "to the right")
    agree(pp.build("max")(change), x.diff(dim=3).amax((2, 3)), "the steepest")
    assert pp.build("std")(change.windows(2)).shape == (2, 3, 3, 3)
    agree(GradientEnergy(pool="max")(x)[:, :3], x.diff(dim=2).square().amax((2, 3)), "another pooling")


def test_derivatives_and_programs() -> None:
    x = normal(1, 2, 4, 3).requires_grad_()
    mask = torch.tensor([[[1, 1, 0], [1, 1, 1], [0, 1, 1], [1, 1, 1]]], dtype=torch.bool)
    energy = GradientEnergy("neighbours")
    assert torch.autograd.gradcheck(lambda x: energy(x, mask=mask), x)
    assert torch.autograd.gradgradcheck(energy, x)
    torch.compiler.reset()
    compiled = torch.compile(energy, fullgraph=True, backend="aot_eager", dynamic=True)
    agree(compiled(x, mask=mask), energy(x, mask=mask), "compiled")
    dims = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.export.export(energy, (normal(2, 2, 6, 5),), dynamic_shapes={"x": dims}).module()
    agree(program(normal(3, 2, 9, 7)), energy(normal(3, 2, 9, 7)), "exported")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"steps": "diagonals"}, ValueError, "steps must be"),
        ({"steps": []}, ValueError, "steps must hold at least one step"),
        ({"steps": [(0, 0)]}, ValueError, "a step must lead to another pixel"),
        ({"steps": [(0.0, 1.0)]}, TypeError, "a step must hold ints"),
        ({"steps": [1]}, TypeError, "a step must hold one int per spatial dimension"),
        ({"measure": "cube"}, ValueError, "measure must be"),
        ({"pool": "meen"}, ValueError, "meen"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        GradientEnergy(**settings)


def test_inputs_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="a step must hold 1 ints"):
        GradientEnergy([(0, 1)])(normal(1, 2, 5))
    with pytest.raises(TypeError, match=r"grid must be a polypool\.Grid; found Tensor"):
        differences(normal(1, 2, 5), [1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="found mask too"):
        GradientEnergy()(pp.Grid(normal(1, 1, 2, 2)), mask=torch.ones(1, 2, 2, dtype=torch.bool))
