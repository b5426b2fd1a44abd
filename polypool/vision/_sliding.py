"""Where sliding windows lie, with steps between their pixels, beyond borders and cut by them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from polypool.layouts.regions import Intervals, Windows


@dataclass(frozen=True)
class Sliding(Windows):
    """Windows whose number is given.

    Args:
        dilation: The step between the pixels of a window.
        count: How many windows there are along each dimension.
        whole: Whether none of them reaches beyond what padding adds.
    """

    dilation: tuple[int, ...]
    count: tuple[int, ...]
    whole: bool

    def __post_init__(self) -> None:
        """`LocalPool` has looked at the sizes, and `number_of_windows` at the grid."""

    def cut(self, length: int, dim: int, device: torch.device) -> Intervals:
        kernel, stride, padding = self.kernel[dim], self.stride[dim], self.padding[dim]
        dilation, count = self.dilation[dim], self.count[dim]
        within = self.whole and padding == 0
        if within and stride == kernel and dilation == 1:
            return Intervals(length, count, kernel, None, None, True, True)
        starts = torch.arange(count, device=device) * stride - padding
        places = starts[:, None] + torch.arange(kernel, device=device) * dilation
        share = None if within else ((places >= 0) & (places < length)).double()
        disjoint = stride > dilation * (kernel - 1)
        return Intervals(length, count, kernel, places.clamp(0, length - 1), share, True, disjoint)


def number_of_windows(
    length: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> int:
    """How many windows there are along one dimension: the sizes of `torch.nn.functional.max_pool2d`.

    Raises:
        ValueError: Not one window fits.
    """
    reach = dilation * (kernel - 1) + 1
    count = (length + 2 * padding - reach + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode:
        # A window has to start before the padding at the end.
        count = torch.sym_min(count, (length + padding - 1) // stride + 1)
    if count < 1 or length < 1:
        raise ValueError(
            f"kernel must fit the grid with its padding, {length + 2 * padding} places along one dimension; found "
            f"{kernel}{f' with dilation {dilation}' if dilation > 1 else ''}. Pad more, or use BinPool(pool, 1)."
        )
    return count
