"""Boxes of an image, cut into bins, as cells: a layout that any pooling which takes weights can pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import torch
from torch import Tensor

from polypool import _checks
from polypool._lazy import kept
from polypool.cells import Members
from polypool.layouts import Grid
from polypool.layouts.dense import as_stored
from polypool.layouts.ragged import RaggedLayout, discard

Interpolation = Literal["area", "bilinear"]


class Boxes(RaggedLayout):
    """The bins of boxes of a grid: K boxes of `prod(output_size)` cells each, whose pixels have weights.

    Pooling them gives `(K, C_out, *output_size)`. Made by `Boxes.of`; most users want `RoIPool`.

    Example:
        >>> import torch, polypool as pp
        >>> from polypool.vision import Boxes
        >>> x = torch.arange(4.0).view(1, 1, 1, 4)
        >>> boxes = Boxes.of(pp.Grid(x), torch.tensor([[0.0, 0.0, 0.0, 3.0, 1.0]]), (1, 2))
        >>> pp.build("mean")(boxes)
        tensor([[[[0.3333, 1.6667]]]])
    """

    kind = "grid"
    structure = ("mask", "element", "cell", "share")
    settings = ("channels_last", "num_boxes", "output_size", "exact")

    mask: Tensor | None
    element: Tensor
    cell: Tensor
    share: Tensor
    channels_last: bool
    num_boxes: int
    output_size: tuple[int, ...]
    exact: bool

    @classmethod
    def of(
        cls,
        grid: Grid,
        boxes: Tensor | Sequence[Tensor],
        output_size: int | Sequence[int] = 1,
        spatial_scale: float = 1.0,
        interpolation: Interpolation = "area",
    ) -> Self:
        """Cuts boxes of the grid into bins; arguments as in `RoIPool`."""
        if not isinstance(grid, Grid):
            raise TypeError(f"grid must be a polypool.Grid; found {type(grid).__name__}. Use Grid(x).")
        dims = len(grid.spatial)
        sizes = _checks.sizes(output_size, "output_size", dims, 1)
        image, low, high = _corners(boxes, grid, spatial_scale)
        first, number, edges = [], [], []
        for d, bins in enumerate(sizes):
            # Neighbouring bins share their edge to the last bit, and the last ends where the box does.
            part = torch.arange(bins + 1, device=low.device, dtype=low.dtype) / bins
            edge = torch.lerp(low[:, d, None], high[:, d, None], part)
            begin, end = edge[:, :-1], edge[:, 1:]
            start, count = _pixels(begin.detach(), end.detach(), grid.spatial[d], interpolation)
            first.append(start.flatten())
            number.append(count)
            edges.append((begin.flatten(), end.flatten()))
        element, cell, share = _listed_pixels(image, first, number, edges, grid.spatial, interpolation)
        made = object.__new__(cls)
        made.values, made.weight, made.mask = grid.values, grid.weight, grid.mask
        made.channels_last, made.num_boxes, made.output_size = grid.channels_last, low.shape[0], sizes
        # Where there are no masks and no hats, every pixel that is listed has a weight above 0.
        made.exact = interpolation == "area"
        made.element, made.cell = element, cell
        made.share = share.to(torch.promote_types(grid.values.dtype, torch.float32))
        return made

    @kept
    def members(self) -> Members:
        cell, number = self.cell, self.num_cells
        partial = self.mask is not None
        if self.mask is not None:
            cell = torch.where(self.mask.flatten()[self.element], cell, torch.full_like(cell, number))
        if not self.exact or self.weight is not None:
            cell, partial = discard(cell, number, self._member_weight, partial)
        return Members(cell, number, element=self.element, partial=partial, sorted=not partial)

    @property
    def num_cells(self) -> int:
        cells = self.num_boxes
        for bins in self.output_size:
            cells = cells * bins
        return cells

    @property
    def weighted(self) -> bool:
        return True

    @property
    def channels(self) -> int:
        return self.values.shape[self._channel_dim]

    @property
    def _channel_dim(self) -> int:
        return -1 if self.channels_last else 1

    @property
    def _flat(self) -> Tensor:
        return (self.values if self.channels_last else self.values.movedim(1, -1)).flatten(0, -2)

    @property
    def _member_weight(self) -> Tensor:
        return self.share if self.weight is None else self.share * self.weight.flatten()[self.element]

    @property
    def disjoint(self) -> bool:
        return False

    def arrange(self, y: Tensor) -> Tensor:
        y = y.unflatten(0, (self.num_boxes, *self.output_size))
        return y if self.channels_last else as_stored(y.movedim(-1, 1), self.values)

    def rows_of(self, pooled: Tensor) -> Tensor:
        if pooled.dim() != self.values.dim():
            return pooled
        return (pooled if self.channels_last else pooled.movedim(1, -1)).flatten(0, -2)

    def _shaped(self, v: Tensor) -> Tensor:
        places = (
            self.values.shape[:-1] if self.channels_last else (self.values.shape[0], *self.values.shape[2:])
        )
        v = v.unflatten(0, places)
        return v if self.channels_last else as_stored(v.movedim(-1, 1), self.values)


def _listed_pixels(
    image: Tensor,
    first: list[Tensor],
    number: list[Tensor],
    edges: list[tuple[Tensor, Tensor]],
    spatial: tuple[int, ...],
    interpolation: Interpolation,
) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels of every bin, bin by bin in the order of the image: the pixel, the bin, and what it counts there.

    Args:
        image: `(K,)`, the image of each box.
        first: For each dimension `(K bins,)`, the first pixel of each interval.
        number: For each dimension `(K, bins)`, how many pixels it has.
        edges: For each dimension two of `(K bins,)`, where it begins and ends.
        spatial: The sizes of the grid.
        interpolation: How much of an interval belongs to a pixel.
    """
    members, cells = number[0], number[0].shape[1]
    for d, count in enumerate(number[1:], start=1):
        members = members.unsqueeze(-1) * count.reshape(-1, *(1,) * d, count.shape[1])
        cells = cells * count.shape[1]
    members = members.flatten()
    total: int = members.sum().item()  # type: ignore[assignment] # int() would ask a program for its value
    torch._check(total >= 0)
    cell = torch.repeat_interleave(members, output_size=total)
    place = torch.arange(total, device=members.device) - (members.cumsum(0) - members)[cell]
    box, within = cell // cells, cell
    element, stride = torch.zeros_like(place), 1
    share = edges[0][0].new_ones(())
    for d in reversed(range(len(number))):
        bins = number[d].shape[1]
        at = box * bins + within % bins
        within = within // bins
        count = number[d].flatten()[at]
        pixel = first[d][at] + place % count
        place = place // count
        share = share * _overlap(edges[d][0][at], edges[d][1][at], pixel, interpolation)
        element = element + pixel * stride
        stride = stride * spatial[d]
    return element + image[box] * stride, cell, share


def _corners(boxes: object, grid: Grid, spatial_scale: object) -> tuple[Tensor, Tensor, Tensor]:
    """The image of each box, `(K,)` int64, and its corners `(K, D)` in pixels of the grid, dimensions in its order."""
    dims, images = len(grid.spatial), grid.values.shape[0]
    if isinstance(spatial_scale, bool) or not isinstance(spatial_scale, int | float):
        raise TypeError(f"spatial_scale must be a number; found {type(spatial_scale).__name__}.")
    if not 0 < spatial_scale < float("inf"):
        raise ValueError(f"spatial_scale must be > 0 and finite; found {spatial_scale}.")
    if isinstance(boxes, list | tuple):
        given, image = _listed(boxes, grid)
    else:
        given = _checked(boxes, "boxes", 1 + 2 * dims, "(K, 1 + 2 D)", grid)
        number, given = given[:, 0], given[:, 1:]
        if _checks.may_read(number) and bool((number != number.floor()).any()):
            raise ValueError(
                "boxes[:, 0] must hold the number of the image; found a fraction. "
                "The columns are image, x1, y1, x2, y2."
            )
        image = number.detach().long()
        _checks.in_range(image, "boxes[:, 0]", 0, images, "the images", "Count images from 0.")
    corners = given.double() * spatial_scale  # a few numbers, which all areas come from
    low, high = corners[:, :dims].flip(1), corners[:, dims:].flip(1)
    if _checks.may_read(corners):
        if not bool(corners.isfinite().all()):
            raise ValueError("boxes must be finite; found inf or NaN. Leave such boxes out.")
        if bool((low > high).any()):
            at = int((low > high).any(1).nonzero()[0])
            raise ValueError(
                f"boxes must end where they begin or later; found {given[at].tolist()} in box {at}. "
                "The order is x1, y1, x2, y2."
            )
    return image, low, high


def _listed(boxes: Sequence[object], grid: Grid) -> tuple[Tensor, Tensor]:
    """Boxes image by image."""
    images, width = grid.values.shape[0], 2 * len(grid.spatial)
    if len(boxes) != images:
        raise ValueError(
            f"boxes must be a tensor, or a list with one for each of the {images} images; found {len(boxes)}."
        )
    checked = [_checked(b, f"boxes[{i}]", width, "(K, 2 D)", grid) for i, b in enumerate(boxes)]
    numbers = [torch.full(b.shape[:1], i, device=b.device) for i, b in enumerate(checked)]
    if not checked:
        return grid.values.new_zeros((0, width)), torch.zeros(0, dtype=torch.int64)
    return torch.cat(checked), torch.cat(numbers)


def _checked(x: object, what: str, width: int, form: str, grid: Grid) -> Tensor:
    x = _checks.tensor(x, what)
    if x.dim() != 2 or x.shape[1] != width:
        raise ValueError(
            f"{what} must have shape {form} = (K, {width}) for {len(grid.spatial)} spatial dimensions; found "
            f"{_checks.shape(x)}."
        )
    if x.dtype is torch.bool or x.is_complex():
        raise TypeError(f"{what} must hold numbers; found {x.dtype}.")
    _checks.same_device(x, what, grid.values)
    return x if x.is_floating_point() else x.to(torch.float32)


def _pixels(begin: Tensor, end: Tensor, length: int, interpolation: Interpolation) -> tuple[Tensor, Tensor]:
    """The first pixel that counts in each interval, and how many do."""
    if interpolation == "area":
        first, last = begin.floor(), end.ceil()
    else:  # a pixel counts up to the centres of its neighbours
        first, last = (begin - 0.5).floor(), (end + 0.5).ceil()
    first, last = first.clamp(0, length), last.clamp(0, length)
    number = torch.where(end > begin, last - first, torch.zeros_like(first)).clamp(min=0)
    return first.long(), number.long()


def _overlap(begin: Tensor, end: Tensor, pixel: Tensor, interpolation: Interpolation) -> Tensor:
    """How much of the interval belongs to the pixel: the integral of its square, or of its hat."""
    place = pixel.to(begin.dtype)
    if interpolation == "area":
        return torch.minimum(end, place + 1) - torch.maximum(begin, place)

    def integral(u: Tensor) -> Tensor:
        u = (u - (place + 0.5)).clamp(-1, 1)
        return u - u * u.abs() / 2

    return (integral(end) - integral(begin)).clamp(min=0)


def bounding_boxes(mask: Tensor) -> Tensor:
    """The smallest box around the real pixels of each image: `(B, 1 + 2 D)`, for `RoIPool`.

    With it an image inside the padding of a batch is cut into the bins that it has alone. An image without a real
    pixel gets a box of size 0.

    Args:
        mask: `(B, *S)`, bool or 0/1 integers, True at real pixels.

    Returns:
        One row for each image: its number, where the box begins from the last dimension to the first (x1, y1), and
        where it ends (x2, y2); float32.

    Raises:
        TypeError: The mask is of a floating dtype.
        ValueError: It has not one to three spatial dimensions.

    Example:
        >>> import torch
        >>> from polypool.vision import bounding_boxes
        >>> bounding_boxes(torch.tensor([[[0, 0, 0], [0, 1, 1]]]))
        tensor([[0., 1., 1., 3., 2.]])
    """
    mask = _checks.tensor(mask, "mask")
    if mask.dim() not in (2, 3, 4):
        raise ValueError(
            f"mask must have shape (B, *S) with 1 to 3 spatial dimensions; found {_checks.shape(mask)}."
        )
    mask = _checks.mask(mask, mask.shape, "(B, *S)", mask)
    starts, ends = [], []
    for d in reversed(range(1, mask.dim())):
        others = [axis for axis in range(1, mask.dim()) if axis != d]
        there = mask.any(dim=others) if others else mask
        place = torch.arange(mask.shape[d], device=mask.device)
        starts.append(torch.where(there, place, mask.shape[d]).amin(1))
        ends.append(torch.where(there, place + 1, 0).amax(1))
    number = torch.arange(mask.shape[0], device=mask.device)
    ends = [torch.maximum(e, torch.zeros_like(e)) for e in ends]
    starts = [torch.minimum(s, e) for s, e in zip(starts, ends, strict=True)]
    return torch.stack([number, *starts, *ends], dim=1).float()
