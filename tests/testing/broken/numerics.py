"""Operators that lose digits, dtypes, bits or derivatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import polypool as pp
from polypool.cells import Cells
from tests.testing.broken.catalogue import NODES, breaks, mean


@breaks("half_precision")
class ReturnsFloat32(pp.Pooling):
    def forward(self, x: Any, **others: Any) -> Tensor:
        return super().forward(x, **others).to(torch.promote_types(x.values.dtype, torch.float32))

    reduce = staticmethod(mean)


@breaks("half_precision", **NODES, constant_preserving=True)
class SumsInHalfPrecision(pp.Pooling):
    def forward(self, x: Any, **others: Any) -> Tensor:
        zeros = x.values.new_zeros(x.num_cells, x.values.shape[1])
        return zeros.index_add(0, x.batch, x.values) / x.counts[:, None].clamp(min=1)


@breaks("large_offset_accuracy")
class SubtractsSquares(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return cells.mean(cells.rows**2) - mean(cells) ** 2


@breaks("cell_size_accuracy", **NODES)
class KeepsARunningSum(pp.Pooling):
    def forward(self, x: Any, **others: Any) -> Tensor:
        zeros = x.values.new_zeros(x.num_cells, x.values.shape[1])
        return zeros.index_add(0, x.batch, x.values) / x.counts[:, None].clamp(min=1)


@breaks("extreme_values", constant_preserving=True)
class CubesWithoutCare(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return pp.root(cells.mean(cells.rows.clamp(min=1e-6) ** 3), 3.0)


@breaks("deterministic")
class AddsNoise(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return mean(cells) * (1 + 1e-6 * torch.rand(()))


@breaks("deterministic")
class RoundsByThread(pp.Pooling):
    """torch rounds a fractional power otherwise where a thread's share of the elements ends."""

    def reduce(self, cells: Cells) -> Tensor:
        return cells.mean(cells.rows.abs() ** 2.7)


@breaks("gradients")
class DetachesHalf(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return cells.mean(cells.rows * cells.rows.detach())


class OnceSquare(torch.autograd.Function):
    """A square whose backward forgets that it depends on x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 2 * grad * ctx.saved_tensors[0].detach()


@breaks("second_derivatives")
class DifferentiableOnce(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return cells.mean(OnceSquare.apply(cells.rows))


class StillSquare(torch.autograd.Function):
    """A square whose forward-mode derivative is silently zero, as that of a custom op is."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x**2

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 2 * grad * ctx.saved_tensors[0]

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return torch.zeros_like(tangent)


@breaks("torch_func", "forward_mode")
class LosesTheTangent(pp.Pooling):
    def reduce(self, cells: Cells) -> Tensor:
        return cells.mean(StillSquare.apply(cells.rows))
