"""Trimmed mean."""

from torch import Tensor

from polypool.cells import Cells
from polypool.pooling import Pooling
from polypool.poolings._settings import between
from polypool.registry import register


@register(
    "trimmed",
    homogeneity=1,
    constant_preserving=True,
    takes_weights=False,
    source="Tukey 1948; Huber 1972, Robust Statistics: A Review, section 3",
)
class TrimmedPool(Pooling):
    """The mean of each channel without its `floor(t n)` smallest and `floor(t n)` largest elements.

    Args:
        t: The share to drop at each end, in [0, 0.5).

    Shapes:
        `(num_cells, C)` from values with C channels; weights have C channels.

    Raises:
        ValueError: t is outside [0, 0.5).

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("trimmed", t=0.25)(pp.Nodes(torch.tensor([[1.0], [2.0], [4.0], [100.0]])))
        tensor([[3.]])
    """

    def __init__(self, t: float = 0.1) -> None:
        super().__init__()
        self.t = between(t, "t", 0.0, 0.5, open_end=True)

    def reduce(self, cells: Cells) -> Tensor:
        return cells.trimmed(self.t)

    def weigh(self, cells: Cells) -> Tensor:
        return cells.trimmed_density(self.t)

    def extra_repr(self) -> str:
        return f"t={self.t}"
