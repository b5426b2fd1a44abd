"""Mean."""

from collections.abc import Mapping

import torch
from torch import Tensor

from polypool.cells import Cells, Mean, Statistic
from polypool.pooling import Pooling
from polypool.registry import register


@register(
    "mean",
    homogeneity=1,
    constant_preserving=True,
    source="Lin, Chen, Yan 2014, Network In Network, section 3.2",
    aliases=("avg",),
)
class MeanPool(Pooling):
    """The average of the elements: `sum w x / sum w`.

    On a grid it is global average pooling; on encoder states it is the usual sentence embedding.

    Shapes:
        `(num_cells, C)` from values with C channels.

    Cost:
        One read of the input; nothing saved but the masses.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("mean")(torch.tensor([[[1.0], [3.0], [9.0]]]), mask=torch.tensor([[1, 1, 0]]))
        tensor([[2.]])
    """

    stats = (Mean(),)

    def finish(self, s: Mapping[Statistic, Tensor]) -> Tensor:
        return s[Mean()]

    def weigh(self, cells: Cells) -> Tensor:
        return cells.normalise(torch.ones_like(cells.rows[..., :1]))
