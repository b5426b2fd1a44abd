"""Log-mean-exp with a temperature."""

from torch import Tensor

from polypool.cells import Cells
from polypool.pooling import Pooling
from polypool.poolings._settings import positive
from polypool.registry import register


@register(
    "logsumexp",
    constant_preserving=True,
    source="Pinheiro, Collobert 2015, From Image-level to Pixel-level Labeling, eq. 4, with t = 1 / r",
    aliases=("lse",),
)
class LogSumExpPool(Pooling):
    """A smooth maximum: `t log(sum w e^(x / t) / sum w)`, max for t to 0 and mean for t to infinity.

    Args:
        t: The temperature, in the units of the values; > 0 and finite.

    Shapes:
        `(num_cells, C)` from values with C channels.

    Raises:
        ValueError: t is not positive and finite.

    Example:
        >>> import torch, polypool as pp
        >>> x = pp.Nodes(torch.tensor([[0.0], [2.0]]))
        >>> pp.build("logsumexp", t=0.001)(x), pp.build("logsumexp", t=1e6)(x)
        (tensor([[1.9993]]), tensor([[1.0000]]))
    """

    def __init__(self, t: float = 1.0) -> None:
        super().__init__()
        self.t = positive(t, "t")

    def reduce(self, cells: Cells) -> Tensor:
        return cells.log_mean_exp(t=self.t)

    def extra_repr(self) -> str:
        return f"t={self.t}"
