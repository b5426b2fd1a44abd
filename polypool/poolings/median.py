"""Median."""

from torch import Tensor

from polypool.cells import Cells
from polypool.pooling import Pooling
from polypool.registry import register


@register(
    "median",
    homogeneity=1,
    constant_preserving=True,
    takes_weights=False,
    source="Huber 1964, Robust Estimation of a Location Parameter",
)
class MedianPool(Pooling):
    """The median of each channel; of an even number of elements the average of the two in the middle.

    A channel with a NaN has a NaN median.

    Shapes:
        `(num_cells, C)` from values with C channels; weights have C channels.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("median")(pp.Nodes(torch.tensor([[1.0], [2.0], [100.0]])))
        tensor([[2.]])
    """

    def reduce(self, cells: Cells) -> Tensor:
        return cells.quantile(0.5)

    def weigh(self, cells: Cells) -> Tensor:
        return cells.quantile_density(0.5)
