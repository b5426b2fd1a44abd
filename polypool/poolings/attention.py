"""Learned attention."""

from torch import Tensor, nn

from polypool.cells import Cells, run
from polypool.pooling import Pooling
from polypool.poolings._settings import count, heads_for
from polypool.registry import register


@register(
    "attention",
    learnable=True,
    constant_preserving=True,
    source="Bahdanau et al. 2015 eq. 6; with hidden: Ilse, Tomczak, Welling 2018, Attention-based Deep MIL, eq. 8",
)
class AttentionPool(Pooling):
    """The average weighed by a learned score of each element: `sum w e^s(x) x / sum w e^s(x)`.

    The score has no constant: a softmax does not see one.

    Args:
        channels: The channels C of the values.
        heads: How many scores; head h weighs channels `[h C / heads, (h + 1) C / heads)`.
        hidden: None for a linear score; otherwise the width of `v^T tanh(U x)`.

    Shapes:
        `(num_cells, C)` from values with C channels; weights have 1 or C channels.

    Raises:
        ValueError: `heads` does not divide `channels`.

    Example:
        >>> import torch, polypool as pp
        >>> pool = pp.build("attention", channels=4)
        >>> x = pp.Tokens(torch.randn(2, 3, 4))
        >>> torch.allclose(pool(x), (pool.weights(x) * x.values).sum(1), atol=1e-6)
        True
    """

    def __init__(self, channels: int, heads: int = 1, hidden: int | None = None) -> None:
        super().__init__()
        self.channels = count(channels, "channels")
        heads_for(self.channels, count(heads, "heads"))
        if hidden is None:
            self.score: nn.Module = nn.Linear(channels, heads, bias=False)
        else:
            width = count(hidden, "hidden")
            self.score = nn.Sequential(
                nn.Linear(channels, width), nn.Tanh(), nn.Linear(width, heads, bias=False)
            )

    def reduce(self, cells: Cells) -> Tensor:
        return cells.attend(run(self.score, cells.rows))

    def weigh(self, cells: Cells) -> Tensor:
        return cells.softmax(run(self.score, cells.rows))
