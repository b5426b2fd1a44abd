"""The last element."""

from torch import Tensor

from polypool.cells import Cells
from polypool.pooling import Pooling
from polypool.registry import register


@register(
    "last",
    homogeneity=1,
    permutation_invariant=False,
    constant_preserving=True,
    source="Neelakantan et al. 2022, Text and Code Embeddings by Contrastive Pre-Training: the last token",
    aliases=("lasttoken", "last_token"),
)
class LastPool(Pooling):
    """The last real element of each cell, in the order of the layout: padding on any side is passed over.

    Shapes:
        `(num_cells, C)` from values with C channels; weights have one channel.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("last")(torch.tensor([[[9.0], [1.0], [3.0]]]), mask=torch.tensor([[0, 1, 1]]))
        tensor([[3.]])
    """

    def reduce(self, cells: Cells) -> Tensor:
        return cells.last()

    def weigh(self, cells: Cells) -> Tensor:
        chosen = cells.positions == cells.expand(cells.n) - 1
        return cells.normalise(cells.clean(chosen.to(cells.rows.dtype)))
