"""Minimum."""

from collections.abc import Mapping

from torch import Tensor

from polypool.cells import Min, Statistic
from polypool.pooling import Pooling
from polypool.registry import register


@register(
    "min",
    homogeneity=1,
    constant_preserving=True,
    source="Corso et al. 2020, Principal Neighbourhood Aggregation, section 2",
)
class MinPool(Pooling):
    """The smallest element per channel, over elements of weight > 0.

    Of equal elements the first takes the whole gradient, on every device. NaN wins, and infinities are values.

    Shapes:
        `(num_cells, C)` from values with C channels.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("min")(pp.Nodes(torch.tensor([[1.0, 5.0], [2.0, -5.0]])))
        tensor([[ 1., -5.]])
    """

    stats = (Min(),)

    def finish(self, s: Mapping[Statistic, Tensor]) -> Tensor:
        return s[Min()]
