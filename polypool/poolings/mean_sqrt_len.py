"""Sum over the square root of the length."""

from collections.abc import Mapping

import torch
from torch import Tensor

from polypool.cells import Cells, Mass, Statistic, Sum, root, safe
from polypool.pooling import Pooling
from polypool.registry import register


@register(
    "mean_sqrt_len",
    homogeneity=1,
    source="Reimers, Gurevych 2019, Sentence-BERT: the mode mean_sqrt_len_tokens of sentence-transformers",
    aliases=("mean_sqrt_len_tokens",),
)
class MeanSqrtLenPool(Pooling):
    """The sum divided by the square root of the mass: `sum w x / sqrt(sum w)`.

    It keeps the variance of independent elements whatever their number (PyG calls it variance preserving).

    Shapes:
        `(num_cells, C)` from values with C channels.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("mean_sqrt_len")(pp.Nodes(torch.ones(4, 1)))
        tensor([[2.]])
    """

    stats = (Sum(), Mass())

    def finish(self, s: Mapping[Statistic, Tensor]) -> Tensor:
        return s[Sum()] / safe(root(s[Mass()]))

    def weigh(self, cells: Cells) -> Tensor:
        ones = torch.ones_like(cells.rows[..., :1])
        return ones / cells.expand(safe(root(cells.mass)))
