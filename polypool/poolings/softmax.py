"""Content-weighted average."""

import torch
from torch import Tensor, nn

from polypool.cells import Cells
from polypool.pooling import Pooling, restated
from polypool.poolings._settings import flag, positive
from polypool.registry import register


@register(
    "softmax",
    constant_preserving=True,
    source="Li et al. 2020, DeeperGCN, eq. 5, with t the inverse of their beta; Stergiou et al. 2021, SoftPool",
)
class SoftmaxPool(Pooling):
    """Each channel's average weighted by its own values: `sum w e^(x / t) x / sum w e^(x / t)`.

    Between the mean (t to infinity) and the maximum (t to 0).

    Args:
        t: The temperature, in the units of the values; > 0 and finite.
        learn: Whether t is a parameter.

    Shapes:
        `(num_cells, C)` from values with C channels; weights have C channels.

    Raises:
        ValueError: t is not positive and finite.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("softmax")(pp.Nodes(torch.tensor([[0.0], [100.0]])))
        tensor([[100.]])
    """

    t: float | Tensor

    def __init__(self, t: float = 1.0, learn: bool = False) -> None:
        super().__init__()
        t = positive(t, "t")
        flag(learn, "learn")
        self.t = nn.Parameter(torch.tensor([t])) if learn else t
        self.card = restated(self.card, learnable=learn)

    def reduce(self, cells: Cells) -> Tensor:
        return cells.attend(t=self._temperature(cells))

    def weigh(self, cells: Cells) -> Tensor:
        return cells.softmax(cells.rows, self._temperature(cells))

    def _temperature(self, cells: Cells) -> float | Tensor:
        return self.t.to(cells.dtype) if isinstance(self.t, Tensor) else self.t

    def extra_repr(self) -> str:
        return "learned t" if isinstance(self.t, Tensor) else f"t={self.t}"
