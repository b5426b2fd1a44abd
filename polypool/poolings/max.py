"""Maximum."""

from collections.abc import Mapping

from torch import Tensor

from polypool.cells import Max, Statistic
from polypool.pooling import Pooling
from polypool.registry import register


@register(
    "max",
    homogeneity=1,
    constant_preserving=True,
    source="Boureau, Ponce, LeCun 2010, A Theoretical Analysis of Feature Pooling in Visual Recognition",
)
class MaxPool(Pooling):
    """The largest element per channel, over elements of weight > 0.

    Of equal elements the first takes the whole gradient, on every device. NaN wins, and infinities are values.

    Shapes:
        `(num_cells, C)` from values with C channels.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("max")(pp.Nodes(torch.tensor([[1.0, 5.0], [2.0, -5.0]])))
        tensor([[2.,  5.]])
    """

    stats = (Max(),)

    def finish(self, s: Mapping[Statistic, Tensor]) -> Tensor:
        return s[Max()]
