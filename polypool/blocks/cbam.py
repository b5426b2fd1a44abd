"""Convolutional block attention: a gate for each channel, then one for each pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from polypool import _checks
from polypool.blocks._layers import ACTIVATIONS, GATES, Layer, layer, numbers_each, pooling, reduced
from polypool.blocks._norm import BatchNorm
from polypool.blocks.block import times_map
from polypool.blocks.gate import Gate
from polypool.blocks.gather_excite import CONVOLUTIONS
from polypool.blocks.registry import register
from polypool.layouts import Grid, Layout, Tokens
from polypool.pooling import Pooling
from polypool.poolings._settings import count


@register(
    "cbam",
    variants=(
        {"dims": 1, "pool": "mean", "spatial_pool": "mean+max+std", "spatial_kernel_size": 3},
        {"dims": 3, "norm": False, "mlp_bias": True, "spatial_kernel_size": 3},
    ),
    source="Woo, Park, Lee, Kweon 2018, CBAM, eq. 1 to 3",
)
class CBAM(Gate):
    """A gate for each channel from the pooled pixels, then one for each pixel from the pooled channels.

    `y = x * gate(mlp(mean(x)) + mlp(max(x)))`, `z = y * gate(BN(conv_k([mean_c(y), max_c(y)])))`, with one
    `mlp(c) = W2 act(W1 c)` for all poolings.

    Args:
        channels: The channels C of the values.
        pool: What is pooled over pixels, a name or a pooling: the sum is over the numbers it gives for each channel.
        rd_ratio: The part of the channels that is left between the two maps.
        rd_channels: Their number, in place of the ratio.
        rd_divisor: What the number is a multiple of, when it comes from the ratio.
        spatial_kernel_size: The size of the convolution in each dimension, odd.
        spatial_pool: What is pooled over the channels of each pixel; one that needs no channels.
        act_layer: The activation: a name, a class or a module.
        gate_layer: Both gates: a name, a class or a module.
        mlp_bias: Whether the linear maps have constants.
        norm: Whether the convolution is batch-normalised (over the real pixels); without it, it has a constant.
        dims: Spatial dimensions of the grids.
        device: Where the parameters are made.
        dtype: What the parameters are.

    Shapes:
        `(B, C, *S)` in and out: grids alone, as the convolution needs neighbours.

    Padding:
        Never counts in a pooling or in the normalisation, and the convolution reads 0 there, as it does beyond the
        border: an image in a padded batch gives what it gives alone. Weights count in the pooling over pixels alone.

    Raises:
        TypeError: `channels` or `spatial_kernel_size` is not an int.
        ValueError: `spatial_kernel_size` is even; no channel is left; a pooling or the gate is unknown, or does not
            fit.

    Source:
        Woo, Park, Lee, Kweon 2018, CBAM: Convolutional Block Attention Module, eq. 1 to 3; the normalisation is in
        the authors' code.

    Example:
        >>> import torch, polypool as pp
        >>> pp.blocks.CBAM(16)(torch.randn(2, 16, 9, 9)).shape
        torch.Size([2, 16, 9, 9])
        >>> pp.blocks.CBAM(16)(pp.Tokens(torch.randn(2, 5, 16)))
        Traceback (most recent call last):
        NotImplementedError: CBAM does not run on the layout tokens; it runs on: grid.
    """

    layouts = ("grid",)
    parts = ("pool", "squeeze", "excite", "spatial_pool", "conv", "norm")
    flavours: ClassVar[Mapping[str, Mapping[str, str | None]]] = {
        "timm CbamModule": {
            "channel.fc1": "squeeze",
            "channel.fc2": "excite",
            "spatial.conv.conv": "conv",
            "spatial.conv.bn": "norm",
        }
    }

    def __init__(
        self,
        channels: int,
        pool: str | Pooling = "mean+max",
        *,
        rd_ratio: float = 1 / 16,
        rd_channels: int | None = None,
        rd_divisor: int = 1,
        spatial_kernel_size: int = 7,
        spatial_pool: str | Pooling = "mean+max",
        act_layer: Layer = nn.ReLU,
        gate_layer: Layer = "sigmoid",
        mlp_bias: bool = False,
        norm: bool = True,
        dims: int = 2,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(channels, pool, gate_layer, device=device, dtype=dtype, dims=count(dims, "dims"))
        numbers_each(self.pool, channels)
        hidden = reduced(channels, rd_ratio, rd_channels, rd_divisor)
        self.squeeze = nn.Linear(channels, hidden, bias=mlp_bias, device=device, dtype=dtype)
        self.act = layer(act_layer, "act_layer", ACTIVATIONS)
        self.excite = nn.Linear(hidden, channels, bias=mlp_bias, device=device, dtype=dtype)
        self.spatial_pool = _over_channels(spatial_pool, device, dtype)
        if _checks.size(spatial_kernel_size, "spatial_kernel_size", 1) % 2 == 0:
            raise ValueError(
                f"spatial_kernel_size must be odd, to have a middle; found {spatial_kernel_size}. "
                f"Use {spatial_kernel_size + 1}."
            )
        self.conv = CONVOLUTIONS[dims](
            self.spatial_pool.out_channels(1),
            1,
            spatial_kernel_size,
            padding=spatial_kernel_size // 2,
            bias=not norm,
            device=device,
            dtype=dtype,
        )
        self.norm = BatchNorm(1, device=device, dtype=dtype) if norm else None
        self.spatial_gate = layer(gate_layer, "gate_layer", GATES)

    def transform(self, pooled: Tensor, layout: Layout) -> Tensor:
        each: Tensor = self.excite(self.act(self.squeeze(pooled.unflatten(-1, (-1, self.channels)))))
        return each.sum(-2)

    def values_of(self, layout: Layout) -> Tensor:
        if not isinstance(layout, Grid):
            raise TypeError(f"CBAM needs a Grid; found {type(layout).__name__}.")
        values = super().values_of(layout)
        return times_map(layout, values, self._pixels(values, layout))

    def _pixels(self, values: Tensor, grid: Grid) -> Tensor:
        """The gate of each pixel, `(B, *S, 1)`, from values that are 0 at padding."""
        # A sequence per image: the channels are its places, and each pixel is pooled by itself. Nothing is copied.
        sequences = values.flatten(1, -2).mT if grid.channels_last else values.flatten(2)
        pooled = self.spatial_pool(Tokens(sequences)).unflatten(-1, (-1, *grid.spatial))
        mapped = self.conv(pooled).movedim(1, -1)
        if self.norm is not None:
            real = grid._real_elements
            if real is not None and not grid.channels_last:
                real = real.movedim(1, -1)
            mapped = self.norm(mapped, real)
        gates: Tensor = self.spatial_gate(mapped)
        return gates

    @classmethod
    def sizes_of(cls, state: Mapping[str, Tensor], source: str) -> dict[str, Any]:
        channels, hidden = state["excite.weight"].shape[:2]
        kernel = state["conv.weight"]
        return {
            "channels": channels,
            "rd_channels": hidden,
            "mlp_bias": "excite.bias" in state,
            "spatial_kernel_size": kernel.shape[-1],
            "norm": "norm.weight" in state,
            "dims": kernel.dim() - 2,
        }


def _over_channels(
    pool: str | Pooling, device: torch.device | str | None, dtype: torch.dtype | None
) -> Pooling:
    """A pooling of the channels of a pixel: any that treats each of its own channels by itself."""
    made = pooling(pool, 1, device, dtype, "spatial_pool")
    if made.channels is not None or any(p.numel() > 1 for p in made.parameters()):
        raise ValueError(
            f"spatial_pool pools the channels of each pixel and must need no channels itself; found {made.card.name}."
        )
    return made
