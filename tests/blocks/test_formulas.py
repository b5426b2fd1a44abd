"""Every registered block against its equation, written out in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import polypool as pp
from polypool.blocks import Block
from tests.blocks.every import SPACES, VARIANTS, C, Variant, dimensions, layouts, made, named
from tests.support import close, normal

# What a cell's rows (n, C) become, by the name of the pooling.
SUMMARIES: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x.mean(0),
    "max": lambda x: x.amax(0),
    "std": lambda x: x.std(0, correction=0),
}


def pooled(block: Any, x: Tensor) -> Tensor:
    """The pooling of a block by hand."""
    name = block.pool.card.name
    if name == "attention":
        share = (x @ block.pool.score.weight.t()).softmax(0)
        return (share * x).sum(0)
    return torch.cat([SUMMARIES[part](x) for part in name.split("+")])


def affine(linear: Any, x: Tensor) -> Tensor:
    out = x @ linear.weight.t()
    return out if linear.bias is None else out + linear.bias


def normed(norm: Any, x: Tensor) -> Tensor:
    """Batch normalisation with the running statistics, channels last."""
    return (x - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias


def layer_normed(norm: Any, x: Tensor) -> Tensor:
    gap = x - x.mean()
    return gap / (gap.square().mean() + norm.eps).sqrt() * norm.weight + norm.bias


def bottleneck(path: Any, x: Tensor) -> Tensor:
    hidden = affine(path.squeeze, x)
    if path.norm is not None:
        hidden = layer_normed(path.norm, hidden)
    return affine(path.excite, hidden.relu())


def squeeze_excite(block: Any, x: Tensor) -> Tensor:
    gate = affine(block.excite, affine(block.squeeze, pooled(block, x)).relu())
    return x * gate.sigmoid() * (2 if type(block.gate).__name__ == "DoubleSigmoid" else 1)


def effective_se(block: Any, x: Tensor) -> Tensor:
    return x * ((affine(block.fc, pooled(block, x)) + 3) / 6).clamp(0, 1)


def eca(block: Any, x: Tensor) -> Tensor:
    taps = block.conv.weight[0]  # (m, k)
    m, k = taps.shape
    padded = F.pad(pooled(block, x).view(m, C), (k // 2, k // 2))
    return x * torch.stack([(taps * padded[:, c : c + k]).sum() for c in range(C)]).sigmoid()


def global_context(block: Any, x: Tensor) -> Tensor:
    context = pooled(block, x)
    scaled = x if block.scale is None else x * bottleneck(block.scale, context).sigmoid()
    return scaled if block.add is None else scaled + bottleneck(block.add, context)


def style_recalibration(block: Any, x: Tensor) -> Tensor:
    z = (block.weight.t() * pooled(block, x).view(-1, C)).sum(0)
    z = z + block.bias if block.norm is None else normed(block.norm, z)
    return x * z.sigmoid()


def gather_excite(block: Any, x: Tensor) -> Tensor:
    return x * pooled(block, x).sigmoid()


OF_CELLS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "squeeze_excite": squeeze_excite,
    "effective_se": effective_se,
    "eca": eca,
    "global_context": global_context,
    "style_recalibration": style_recalibration,
    "gather_excite": gather_excite,
}

CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def last(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function of channels-last rows on (B, C, *S)."""
    return f(x.movedim(1, -1)).movedim(-1, 1)


def whole(name: str, x: Tensor, dims: list[int]) -> Tensor:
    """Poolings of a grid over some dimensions, which are kept, one block of channels after the other."""
    parts = {
        "mean": lambda: x.mean(dims, keepdim=True),
        "max": lambda: x.amax(dims, keepdim=True),
        "std": lambda: x.std(dims, correction=0, keepdim=True),
    }
    return torch.cat([parts[part]() for part in name.split("+")], dim=1)


def cbam(block: Any, x: Tensor) -> Tensor:
    space = [*range(2, x.dim())]
    inner: Tensor = torch.zeros(())
    for part in block.pool.card.name.split("+"):
        inner = inner + last(
            lambda v: affine(block.excite, affine(block.squeeze, v).relu()), whole(part, x, space)
        )
    y = x * inner.sigmoid()
    over_channels = whole(block.spatial_pool.card.name, y, [1])
    size = block.conv.kernel_size[0] // 2
    spatial = CONVOLUTIONS[len(space)](over_channels, block.conv.weight, block.conv.bias, padding=size)
    if block.norm is not None:
        spatial = last(lambda v: normed(block.norm, v), spatial)
    return y * spatial.sigmoid()


def coordinate_attention(block: Any, x: Tensor) -> Tensor:
    space = [*range(2, x.dim())]
    y = x
    for dim, excite in zip(space, block.excite, strict=True):
        strip = whole(block.pool.card.name, x, [d for d in space if d != dim]) if len(space) > 1 else x
        hidden = last(lambda v: affine(block.squeeze, v), strip)
        if block.norm is not None:
            hidden = last(lambda v: normed(block.norm, v), hidden)
        y = y * last(lambda v, excite=excite: affine(excite, v), F.hardswish(hidden)).sigmoid()  # type: ignore[misc]
    return y


def gather_excite_windows(block: Any, x: Tensor) -> Tensor:
    """With nearest-neighbour interpolation, on a size that the extent divides."""
    extent, dims = block.extent, x.dim() - 2
    if block.gather is None:
        kernel, padding = 2 * extent - 1, extent - 1
        if block.pool.card.name == "mean":
            gathered = F.avg_pool2d(x, kernel, extent, padding, count_include_pad=False)
        else:
            gathered = F.max_pool2d(x, kernel, extent, padding)
    else:
        gathered = x
        steps = list(block.gather.convolutions)
        for number, step in enumerate(steps):
            gathered = CONVOLUTIONS[dims](gathered, step.weight, step.bias, stride=2, padding=1, groups=C)
            if block.gather.norms:
                gathered = last(lambda v, n=number: normed(block.gather.norms[n], v), gathered)  # type: ignore[misc]
            if number + 1 < len(steps):
                gathered = gathered.relu()
    if block.mlp is not None:
        gathered = last(lambda v: affine(block.mlp.excite, affine(block.mlp.squeeze, v).relu()), gathered)
    return x * F.interpolate(gathered, size=x.shape[2:]).sigmoid()


OF_GRIDS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "cbam": cbam,
    "coordinate_attention": coordinate_attention,
    "gather_excite": gather_excite_windows,
}


def test_every_block_has_an_equation() -> None:
    assert {*OF_CELLS, *OF_GRIDS} == set(pp.blocks.names())


def on_cells(block: Block, name: str) -> None:
    """Each cell by itself, from its real elements; weights are those of the pooling's own tests."""
    ran = 0
    for what, layout in layouts(block).items():
        if layout.weighted:
            continue
        rows = layout.with_values(torch.arange(layout.values.numel()).double().view(layout.values.shape))
        out = block(layout).values.flatten()
        for cell in members(rows):
            x = layout.values.flatten()[cell]
            close(out[cell], OF_CELLS[name](block, x), what)
            ran += 1
    assert ran > 5


def members(numbered: pp.Layout) -> list[Tensor]:
    """The places of each cell's real numbers, `(n, C)` each, from a layout whose values number themselves."""
    cells = []
    for k in range(numbered.num_cells):
        one = torch.zeros(numbered.num_cells, 1, dtype=torch.float64)
        one[k] = 1
        inside = numbered.lift(one).expand_as(numbered.values) > 0
        channel = numbered._channel_dim
        places = numbered.values.movedim(channel, -1)[inside.movedim(channel, -1).any(-1)]
        if places.shape[0]:
            cells.append(places.long())
    return cells


@pytest.mark.parametrize("variant", VARIANTS, ids=named)
def test_against_the_equation(variant: Variant) -> None:
    block: Any = made(variant)
    name = variant[0]
    if "tokens" in block.layouts:
        on_cells(block, name)
        return
    for dims in dimensions(block):
        if name == "gather_excite":
            if block.gather is None and dims != 2:
                continue
            space = tuple(2 * block.extent * (d + 1) for d in range(dims))
        else:
            space = SPACES[dims]
        x = normal(2, C, *space)
        close(block(pp.Grid(x)).values, OF_GRIDS[name](block, x), f"{dims}d")


@pytest.mark.parametrize(("channels", "kernel"), [(8, 3), (64, 3), (128, 5), (256, 5), (512, 5), (2048, 7)])
def test_the_taps_of_eca(channels: int, kernel: int) -> None:
    """|log2(C) / 2 + 1 / 2|, to the next odd number: 2, 3.5, 4, 4.5, 5, 6 become 3, 3, 5, 5, 5, 7."""
    assert pp.blocks.ECA(channels).conv.kernel_size == (kernel,)


@pytest.mark.parametrize(
    ("settings", "hidden"),
    [
        ({"rd_ratio": 1 / 16, "rd_divisor": 1}, 6),
        ({"rd_ratio": 1 / 16}, 8),
        ({"rd_ratio": 1 / 8}, 16),
        ({"rd_ratio": 1 / 8, "rd_divisor": 5}, 10),
        ({"rd_ratio": 1 / 1000}, 8),
        ({"rd_channels": 3}, 3),
        ({"reduction": 5}, 19),
    ],
    ids=str,
)
def test_how_many_channels_are_left(settings: dict[str, Any], hidden: int) -> None:
    """Of 96. The ratio goes to the nearest multiple of the divisor, halves up, and never below the divisor."""
    assert pp.blocks.SqueezeExcite(96, **settings).squeeze.out_features == hidden


def test_a_learned_gather_of_the_whole() -> None:
    """One depthwise convolution as large as the grids."""
    block: Any = pp.blocks.GatherExcite(
        C, extra_params=True, feat_size=(5, 4), norm=False, dtype=torch.float64
    )
    x = normal(2, C, 5, 4)
    (step,) = block.gather.convolutions
    gate = (step.weight[:, 0] * x).sum((2, 3)) + step.bias
    close(block(x), x * gate[:, :, None, None].sigmoid(), "whole")
    mask = torch.ones(2, 5, 4, dtype=torch.bool)
    mask[0, 3:] = False
    x[0, :, 3:] = 0
    close(block(x.masked_fill(~mask[:, None], torch.nan), mask=mask), block(x), "padding reads as 0")
    with pytest.raises(ValueError, match=r"spatial size feat_size = \(5, 4\); found \(5, 5\)"):
        block(normal(2, C, 5, 5))


def test_a_grid_that_the_extent_does_not_divide() -> None:
    """Pixel i takes the gate of window i // extent, whatever the size of the padded batch."""
    block = pp.blocks.GatherExcite(1, extent=2, pool="max", gate_layer=torch.nn.Identity())
    x = torch.tensor([[[1.0, 2.0, 5.0, 4.0, 3.0]]])
    close(
        block(pp.Grid(x)).values,
        x * torch.tensor([2.0, 2.0, 5.0, 5.0, 4.0]),
        "windows of 3 around 0, 2 and 4",
    )
