"""What every block is: tensor in, tensor out; layout in, layout out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self, overload

import torch
from torch import Tensor, nn

from polypool.blocks.card import BlockCard
from polypool.layouts import KINDS, Grid, Layout, Packed, as_layout
from polypool.layouts.dense import as_stored
from polypool.poolings._settings import count


class Block(nn.Module):
    """Changes the values of a layout and nothing else: their shape, dtype and memory format are kept, padding is 0.

    A subclass defines `values_of`. Register it with `polypool.blocks.register`, and the tests build and run it.

    Args:
        channels: The channels C of the values.
        dims: The spatial dimensions of the grids it was built for; None when any number will do.

    Raises:
        TypeError: `channels` is not an int.
        ValueError: `channels` is below 1, or `dims` is not 1, 2 or 3.
    """

    card: BlockCard = BlockCard("block")
    #: The kinds of layout that it runs on. With `"grid"` alone it needs the geometry: whole grids, no windows.
    layouts: tuple[str, ...] = KINDS
    #: The names of its own parts, each the beginning of names in its state dictionary.
    parts: ClassVar[tuple[str, ...]] = ("pool",)
    #: Other people's names of these parts, by where they come from; None for what is not needed here.
    flavours: ClassVar[Mapping[str, Mapping[str, str | None]]] = {}

    def __init__(self, channels: int, dims: int | None = None) -> None:
        super().__init__()
        self.channels = count(channels, "channels")
        if dims is not None and count(dims, "dims") > 3:
            raise ValueError(f"dims must be 1, 2 or 3; found {dims}.")
        self.dims = dims

    def values_of(self, layout: Layout) -> Tensor:
        """The new values, in the shape of the old ones; 0 at padding."""
        raise NotImplementedError(f"{type(self).__name__} has to define values_of.")

    @overload
    def forward(self, x: Layout) -> Layout: ...
    @overload
    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        offsets: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> Tensor: ...
    def forward(
        self,
        x: Layout | Tensor,
        *,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        offsets: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> Layout | Tensor:
        """Changes the values of a layout, or a tensor with what `as_layout` takes."""
        layout = as_layout(x, mask=mask, lengths=lengths, offsets=offsets, batch=batch, num_graphs=num_graphs)
        self._require(layout)
        values = self.values_of(layout)
        if isinstance(x, Layout):
            return layout.with_values(values)
        if isinstance(layout, Packed) and x.is_nested:
            return torch.nested.nested_tensor_from_jagged(values, layout.offsets)
        return values

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], *, prefix: str = "", **settings: Any) -> Self:
        """A block of the sizes of somebody's tensors, with these tensors; see `polypool.blocks.load_state`.

        Args:
            state: Names and tensors, ours or those of a known library.
            prefix: What the names begin with, for one layer in the state of a whole model.
            **settings: What tensors do not tell, such as `pool`, `act_layer` or `gate_layer`.
        """
        from polypool.blocks.states import from_state_dict

        return from_state_dict(cls, state, prefix=prefix, **settings)

    @classmethod
    def sizes_of(cls, state: Mapping[str, Tensor], source: str) -> dict[str, Any]:
        """The settings that tensors with our names tell, and those that their source had by default."""
        raise NotImplementedError(
            f"{cls.__name__} cannot tell its settings from tensors. Build it and use load_state."
        )

    def _require(self, layout: Layout) -> None:
        name = type(self).__name__
        if layout.kind not in self.layouts:
            raise NotImplementedError(
                f"{name} does not run on the layout {layout.kind}; it runs on: {', '.join(self.layouts)}."
            )
        if self.layouts == ("grid",) and not isinstance(layout, Grid):
            raise NotImplementedError(f"{name} needs a whole Grid; found its windows or bins. Pass the grid.")
        if self.dims is not None and isinstance(layout, Grid) and len(layout.spatial) != self.dims:
            raise ValueError(
                f"values must have the {self.dims} spatial dimensions that the block was built for; found "
                f"{len(layout.spatial)}. Build it with dims={len(layout.spatial)}."
            )
        if layout.channels != self.channels:
            raise ValueError(
                f"values must have the {self.channels} channels that the block was built for; found "
                f"{layout.channels}. Build it for {layout.channels}."
            )


def cleaned(layout: Layout) -> Tensor:
    """The values with 0 at padding."""
    real, values = layout._real_elements, layout.values
    if real is None:
        return values
    return torch.where(real, values, torch.zeros((), dtype=values.dtype, device=values.device))


def added(layout: Layout, values: Tensor, y: Tensor) -> Tensor:
    """`values + lift(y)`, without writing out the lifted tensor where broadcasting will do."""
    y = y.to(values.dtype)
    if isinstance(layout, Grid) and layout._real_elements is None:
        return values + layout._aligned(y)
    return values + layout.lift(y)


def times_map(grid: Grid, values: Tensor, gates: Tensor) -> Tensor:
    """Values of a grid times one number or C numbers for every pixel.

    Args:
        grid: Where the values are from.
        values: In the shape of the grid's, 0 at padding.
        gates: `(B, *S, c)`, finite at padding; sizes of 1 are broadcast.
    """
    aligned = (gates if grid.channels_last else gates.movedim(-1, 1)).to(values.dtype)
    # In the order of the values: a product that has to jump through memory is several times slower.
    return as_stored(values * as_stored(aligned, grid.values), grid.values)
