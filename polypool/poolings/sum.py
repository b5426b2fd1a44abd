"""Sum."""

from collections.abc import Mapping

import torch
from torch import Tensor

from polypool.cells import Cells, Statistic, Sum
from polypool.pooling import Pooling
from polypool.registry import register


@register("sum", homogeneity=1, source="Xu et al. 2019, How Powerful are Graph Neural Networks?, eq. 4.1")
class SumPool(Pooling):
    """The sum of the elements: `sum w x`. It keeps multiplicity, which mean and max forget.

    Shapes:
        `(num_cells, C)` from values with C channels.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("sum")(pp.Nodes(torch.tensor([[1.0], [2.0]])))
        tensor([[3.]])
    """

    stats = (Sum(),)

    def finish(self, s: Mapping[Statistic, Tensor]) -> Tensor:
        return s[Sum()]

    def weigh(self, cells: Cells) -> Tensor:
        return torch.ones_like(cells.rows[..., :1])
