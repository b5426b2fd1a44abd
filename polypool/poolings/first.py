"""The first element."""

from torch import Tensor

from polypool.cells import Cells
from polypool.pooling import Pooling
from polypool.registry import register


@register(
    "first",
    homogeneity=1,
    permutation_invariant=False,
    constant_preserving=True,
    source="Devlin et al. 2019, BERT: the state of the first token, [CLS]",
    aliases=("cls",),
)
class FirstPool(Pooling):
    """The first real element of each cell, in the order of the layout: padding on any side is passed over.

    Shapes:
        `(num_cells, C)` from values with C channels; weights have one channel.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("first")(torch.tensor([[[9.0], [1.0], [3.0]]]), mask=torch.tensor([[0, 1, 1]]))
        tensor([[1.]])
    """

    def reduce(self, cells: Cells) -> Tensor:
        return cells.first()

    def weigh(self, cells: Cells) -> Tensor:
        chosen = cells.positions == 0
        return cells.normalise(cells.clean(chosen.to(cells.rows.dtype)))
