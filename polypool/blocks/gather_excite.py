"""Gather-Excite: a gate for every neighbourhood, by pooling windows or by strided convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from polypool import _checks
from polypool.blocks._layers import ACTIVATIONS, Bottleneck, Layer, layer, reduced
from polypool.blocks._norm import BatchNorm
from polypool.blocks.block import cleaned, times_map
from polypool.blocks.gate import Gate
from polypool.blocks.registry import register
from polypool.layouts import KINDS, Grid, Layout
from polypool.layouts.dense import blank
from polypool.pooling import Pooling

CONVOLUTIONS: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@register(
    "gather_excite",
    aliases=("ge",),
    variants=(
        {"extent": 2},
        {"extent": 3, "pool": "max", "use_mlp": True, "rd_ratio": 0.5},
        {"extent": 4, "extra_params": True},
        {"extent": 2, "extra_params": True, "dims": 1, "norm": False},
        {"extent": 2, "extra_params": True, "dims": 3, "use_mlp": True, "rd_ratio": 0.5},
    ),
    source="Hu, Shen, Albanie, Sun, Vedaldi 2018, Gather-Excite, section 3: x * sigmoid(interpolate(gather(x)))",
)
class GatherExcite(Gate):
    """Scales every element by a gate that sees its neighbourhood: `x * gate(lift(mlp(gather(x))))`.

    The gather is a pooling of the windows of `2 extent - 1` pixels at every `extent`-th pixel (of the whole cell when
    `extent` is 0), or, with parameters, `log2(extent)` depthwise convolutions of 3 taps and stride 2, batch-normalised
    with activations between them. Pixel `i` takes the gate of window `i // extent`.

    Args:
        channels: The channels C of the values.
        extent: How far a gate reaches, in pixels; 0 for the whole. With parameters, a power of two or 0.
        pool: A name or a pooling, for the gather without parameters.
        extra_params: Whether the gather is learned.
        feat_size: The spatial size of the grids, for a learned gather of the whole: one convolution as large as them.
        use_mlp: Whether two linear maps follow the gather.
        rd_ratio: The part of the channels that is left between them.
        rd_channels: Their number, in place of the ratio.
        rd_divisor: What the number is a multiple of, when it comes from the ratio.
        act_layer: The activation: a name, a class or a module.
        gate_layer: The gate: a name, a class or a module.
        norm: Whether a learned gather is batch-normalised.
        dims: Spatial dimensions, for a learned gather.
        device: Where the parameters are made.
        dtype: What the parameters are.

    Shapes:
        The shape of the values, in and out. Any layout when `extent` is 0 and nothing is learned in the gather; grids
        otherwise.

    Padding:
        A convolution reads 0 there; pixel `o` of its result is real when pixel `2 o` was. Weights count in poolings
        alone.

    Raises:
        TypeError: `channels` or `extent` is not an int.
        ValueError: `extent` is negative, or no power of two with parameters; `feat_size` is missing; no channel is
            left; the pooling or the gate is unknown.

    Source:
        Hu, Shen, Albanie, Sun, Vedaldi 2018, Gather-Excite: Exploiting Feature Context in CNNs, section 3. Their
        nearest-neighbour interpolation is `i // extent` where the extent divides the size; here it is that always, so
        that the size of a padded batch does not move the windows.

    Example:
        >>> import torch, polypool as pp
        >>> x = torch.randn(2, 8, 6, 6)
        >>> whole = pp.blocks.GatherExcite(8)(x)
        >>> torch.allclose(whole, x * x.mean((2, 3), keepdim=True).sigmoid())
        True
        >>> pp.blocks.GatherExcite(8, extent=2, pool="max")(x).shape
        torch.Size([2, 8, 6, 6])
    """

    parts = ("pool", "gather", "mlp")

    def __init__(
        self,
        channels: int,
        extent: int = 0,
        pool: str | Pooling = "mean",
        *,
        extra_params: bool = False,
        feat_size: int | Sequence[int] | None = None,
        use_mlp: bool = False,
        rd_ratio: float = 1 / 16,
        rd_channels: int | None = None,
        rd_divisor: int = 1,
        act_layer: Layer = nn.ReLU,
        gate_layer: Layer = "sigmoid",
        norm: bool = True,
        dims: int = 2,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        fixed = dims if extra_params else None
        super().__init__(channels, pool, gate_layer, device=device, dtype=dtype, dims=fixed)
        self.extent = _checks.size(extent, "extent")
        self.gather: Gather | None = None
        inputs = self.pool.out_channels(channels)
        if extra_params:
            if pool != "mean":
                raise ValueError(
                    f'pool must be left at "mean" with extra_params, which gather; found {pool!r}.'
                )
            inputs = channels
            self.gather = Gather(channels, extent, feat_size, act_layer, norm, dims, device, dtype)
        elif feat_size is not None:
            raise ValueError("feat_size goes with extra_params=True; found it alone.")
        if extra_params or extent:
            self.layouts = ("grid",)
        self.mlp: Bottleneck | None = None
        if use_mlp:
            hidden = reduced(channels, rd_ratio, rd_channels, rd_divisor)
            act = layer(act_layer, "act_layer", ACTIVATIONS)
            self.mlp = Bottleneck(inputs, hidden, channels, act, device=device, dtype=dtype)
        elif inputs != channels:
            raise ValueError(
                f"pool must give {channels} channels without an mlp; {self.pool.card.name} gives {inputs}. "
                "Use use_mlp=True."
            )

    def transform(self, pooled: Tensor, layout: Layout) -> Tensor:
        return pooled if self.mlp is None else self.mlp(pooled)

    def values_of(self, layout: Layout) -> Tensor:
        if not isinstance(layout, Grid) or self.layouts == KINDS:
            return super().values_of(layout)
        if self.gather is None:
            windows = layout.windows(2 * self.extent - 1, self.extent, self.extent - 1)
            gathered = windows.rows_of(self.pool(windows))
            gathered = gathered.unflatten(0, (layout.num_cells, *windows.output_size))
        else:
            gathered = self.gather(layout)
        gates: Tensor = self.gate(self.transform(gathered, layout))
        return times_map(layout, cleaned(layout), _spread(gates, layout.spatial, self.extent))


class Gather(nn.Module):
    """Depthwise convolutions that see `extent` pixels around, `(B, *S_out, C)` from a grid.

    Args:
        channels: The channels.
        extent: A power of two, or 0 for one convolution of the whole.
        feat_size: The size of the whole.
        act_layer: What comes between the convolutions.
        norm: Whether each is batch-normalised.
        dims: Spatial dimensions.
        device: Where the parameters are made.
        dtype: What the parameters are.
    """

    def __init__(
        self,
        channels: int,
        extent: int,
        feat_size: int | Sequence[int] | None,
        act_layer: Layer,
        norm: bool,
        dims: int,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.size: tuple[int, ...] | None = None
        factory = {"groups": channels, "bias": not norm, "device": device, "dtype": dtype}
        convolution = CONVOLUTIONS[dims]
        if extent == 0:
            if feat_size is None:
                raise ValueError(
                    "feat_size must be given for extent=0 with extra_params: the size of the grids."
                )
            self.size = _checks.sizes(feat_size, "feat_size", dims, 1)
            convolutions = [convolution(channels, channels, self.size, **factory)]  # type: ignore[arg-type]
        else:
            steps = round(math.log2(extent))
            if steps < 1 or 2**steps != extent:
                raise ValueError(
                    f"extent must be 0 or a power of two above 1 with extra_params; found {extent}."
                )
            convolutions = [
                convolution(channels, channels, 3, stride=2, padding=1, **factory)  # type: ignore[arg-type]
                for _ in range(steps)
            ]
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(
            [BatchNorm(channels, device=device, dtype=dtype) for _ in convolutions] if norm else []
        )
        self.act = layer(act_layer, "act_layer", ACTIVATIONS)

    def forward(self, grid: Grid) -> Tensor:
        """Gathers the values of a grid; padding reads as 0."""
        if self.size is not None and grid.spatial != self.size:
            raise ValueError(
                f"values must have the spatial size feat_size = {self.size}; found {grid.spatial}."
            )
        x, real = cleaned(grid), grid._real_elements
        if grid.channels_last:
            x = x.movedim(-1, 1)
            real = None if real is None else real.movedim(-1, 1)
        for step, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if real is not None:
                real = (
                    real.flatten(2).any(2).view(-1, *[1] * (x.dim() - 1))
                    if self.size
                    else _every_second(real)
                )
                x = blank(real, x)
            if self.norms:
                rows = None if real is None else real.movedim(1, -1)
                x = self.norms[step](x.movedim(1, -1), rows).movedim(-1, 1)
                x = x if real is None else blank(real, x)
            if step + 1 < len(self.convolutions):
                # Not every activation keeps 0, and the next convolution reads its neighbours.
                x = self.act(x) if real is None else blank(real, self.act(x))
        return x.movedim(1, -1)


def _every_second(real: Tensor) -> Tensor:
    """Every second pixel of each dimension; written out, as an exporter would ask how its strides compare."""
    return real[(slice(None), slice(None), *[slice(None, None, 2)] * (real.dim() - 2))].contiguous()


def _spread(gates: Tensor, spatial: tuple[int, ...], extent: int) -> Tensor:
    """`(B, *S_out, C)` at the pixels: `(B, *S, C)`."""
    if extent == 0:
        return gates  # one for all, broadcast
    for dim, size in enumerate(spatial, start=1):
        gates = gates.index_select(dim, torch.arange(size, device=gates.device) // extent)
    return gates
