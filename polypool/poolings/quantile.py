"""Quantile."""

from torch import Tensor

from polypool.cells import Cells
from polypool.pooling import Pooling
from polypool.poolings._settings import between
from polypool.registry import register


@register(
    "quantile",
    homogeneity=1,
    constant_preserving=True,
    takes_weights=False,
    source="Hyndman, Fan 1996, Sample Quantiles in Statistical Packages, definition 7 (numpy's and torch's linear)",
)
class QuantilePool(Pooling):
    """The q-quantile of each channel, linear between the two ranks around `q (n - 1)`.

    Args:
        q: In [0, 1]: 0 is the minimum, 0.5 the median, 1 the maximum.

    Shapes:
        `(num_cells, C)` from values with C channels; weights have C channels.

    Raises:
        ValueError: q is outside [0, 1].

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("quantile", q=0.25)(pp.Nodes(torch.tensor([[0.0], [2.0], [4.0]])))
        tensor([[1.]])
    """

    def __init__(self, q: float = 0.5) -> None:
        super().__init__()
        self.q = between(q, "q", 0.0, 1.0)

    def reduce(self, cells: Cells) -> Tensor:
        return cells.quantile(self.q)

    def weigh(self, cells: Cells) -> Tensor:
        return cells.quantile_density(self.q)

    def extra_repr(self) -> str:
        return f"q={self.q}"
