"""Mean of the largest."""

from torch import Tensor

from polypool.cells import Cells
from polypool.pooling import Pooling
from polypool.poolings._settings import count
from polypool.registry import register


@register(
    "top_k",
    homogeneity=1,
    constant_preserving=True,
    takes_weights=False,
    source="Li, Vasconcelos 2015, Multiple Instance Learning for Soft Bags via Top Instances; k-max pooling",
)
class TopKPool(Pooling):
    """The mean of the `min(k, n)` largest elements of each channel. Of equal elements the first are taken.

    Args:
        k: How many; > 0.

    Shapes:
        `(num_cells, C)` from values with C channels; weights have C channels.

    Raises:
        ValueError: k is below 1.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("top_k", k=2)(pp.Nodes(torch.tensor([[1.0], [5.0], [3.0]])))
        tensor([[4.]])
    """

    def __init__(self, k: int = 5) -> None:
        super().__init__()
        self.k = count(k, "k")

    def reduce(self, cells: Cells) -> Tensor:
        return cells.top(self.k)

    def weigh(self, cells: Cells) -> Tensor:
        return cells.top_density(self.k)

    def extra_repr(self) -> str:
        return f"k={self.k}"
