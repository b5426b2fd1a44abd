"""Average that grows with the position."""

from torch import Tensor

from polypool.cells import Cells, Mean
from polypool.pooling import Pooling
from polypool.registry import register


@register(
    "position_weighted",
    homogeneity=1,
    permutation_invariant=False,
    constant_preserving=True,
    source="Muennighoff 2022, SGPT: GPT Sentence Embeddings for Semantic Search, eq. 2",
    aliases=("weightedmean", "weighted_mean"),
)
class PositionWeightedPool(Pooling):
    """The average with weights that grow with the position: 1, 2, 3 and so on.

    Later states of a causal model have seen more.

    `sum w (i + 1) x / sum w (i + 1)`. Positions count real elements alone, so that the side and amount of padding
    do not matter (the authors count places of the padded row).

    Shapes:
        `(num_cells, C)` from values with C channels; weights have one channel.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("position_weighted")(pp.Nodes(torch.tensor([[3.0], [0.0]])))
        tensor([[1.]])
    """

    def reduce(self, cells: Cells) -> Tensor:
        return cells.reweighted(self._places(cells)).statistics((Mean(),))[Mean()]

    def weigh(self, cells: Cells) -> Tensor:
        return cells.normalise(self._places(cells))

    def _places(self, cells: Cells) -> Tensor:
        return cells.clean((cells.positions + 1).to(cells.dtype))
