"""Any pooling over boxes of an image."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from polypool.layouts import Grid
from polypool.pooling import Pooling
from polypool.vision._borders import per_dimension
from polypool.vision._grids import as_grid, as_pooling
from polypool.vision.boxes import Boxes, Interpolation


class RoIPool(nn.Module):
    """Cuts each box into bins of equal area and pools each, with exactly the part of every pixel that lies in it.

    Nothing is rounded and nothing is sampled: a pixel is a square of size 1, pixel i covers `[i, i + 1)`, and its
    weight is the area that it shares with the bin. `y = sum_p a_p x_p / sum_p a_p` for the mean.

    Args:
        pool: A name or a pooling that takes weights.
        output_size: Bins of a box along each dimension, one number or one per spatial dimension.
        spatial_scale: What turns the boxes' coordinates into pixels of the map: 1 / 16 for boxes of an image whose
            map is 16 times smaller.
        interpolation: `"area"`: pixels are squares. `"bilinear"`: the map is interpolated between the centres of its
            pixels, and a pixel's weight is the integral of its hat over the bin; the mean then is PrRoI pooling.

    Shapes:
        The map is `(B, C, *S)` with 1 to 3 spatial dimensions, or a `Grid`. Boxes are `(K, 1 + 2 D)`: the image, where
        the box begins from the last dimension to the first, where it ends; for images `(image, x1, y1, x2, y2)`. Or a
        list of `(K_i, 2 D)`, one tensor for each image. The result is `(K, C_out, *output_size)`, in the same memory
        format.

    Borders, padding and weights of a grid:
        A bin is averaged over the part of it that lies in the map, and over real pixels with their weights times the
        area. A bin without any, as of a box outside of the map or without area, gives 0.

    Gradients:
        Go to the map, and through the weights to the boxes.

    Raises:
        TypeError: A size is not an int, boxes are no numbers, or `pool` is neither a name nor a pooling.
        ValueError: Boxes have another shape, end before they begin, are not finite, or name an image that there is
            not; a size or the scale is out of range; or `interpolation` is unknown.
        NotImplementedError: The pooling takes no weights.

    Cost:
        The pixels under the bins are listed, not written out: four numbers for each, and their number is read
        once. That is why `torch.compile` needs `torch._dynamo.config.capture_scalar_outputs`.

    Source:
        Jiang, Luo, Mao, Xiao, Jiang 2018, Acquisition of Localization Confidence for Accurate Object Detection,
        section 3.2 (PrRoI). Beyond the border their map is 0 and counts; here there is nothing that could count.

    Example:
        >>> import torch
        >>> from polypool.vision import RoIPool
        >>> x = torch.tensor([[[[0.0, 1.0, 2.0, 3.0]]]])
        >>> RoIPool("mean", (1, 2))(x, torch.tensor([[0.0, 0.5, 0.0, 3.5, 1.0]]))
        tensor([[[[0.6667, 2.3333]]]])
        >>> RoIPool("max")(x, [torch.tensor([[0.0, 0.0, 1.5, 1.0]])])
        tensor([[[[1.]]]])
    """

    def __init__(
        self,
        pool: str | Pooling = "mean",
        output_size: int | Sequence[int] = 1,
        spatial_scale: float = 1.0,
        *,
        interpolation: Interpolation = "area",
    ) -> None:
        super().__init__()
        self.pool = as_pooling(pool)
        self.output_size = per_dimension(output_size, "output_size")
        if isinstance(spatial_scale, bool) or not isinstance(spatial_scale, int | float):
            raise TypeError(f"spatial_scale must be a number; found {type(spatial_scale).__name__}.")
        if not 0 < spatial_scale < float("inf"):
            raise ValueError(f"spatial_scale must be > 0 and finite; found {spatial_scale}.")
        if interpolation not in ("area", "bilinear"):
            raise ValueError(f'interpolation must be "area" or "bilinear"; found {interpolation!r}.')
        self.spatial_scale = float(spatial_scale)
        self.interpolation = interpolation

    def forward(
        self, x: Grid | Tensor, boxes: Tensor | Sequence[Tensor], *, mask: Tensor | None = None
    ) -> Tensor:
        """Pools boxes of a tensor `(B, C, *S)` with an optional mask `(B, *S)`, or of a grid."""
        grid = as_grid(x, mask)
        return self.pool(Boxes.of(grid, boxes, self.output_size, self.spatial_scale, self.interpolation))

    def out_channels(self, in_channels: int) -> int:
        """How many channels the result has for values with `in_channels`."""
        return self.pool.out_channels(in_channels)

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale:g}, "
            f"interpolation={self.interpolation!r}"
        )
