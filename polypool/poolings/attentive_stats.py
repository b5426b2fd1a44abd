"""Attentive statistics."""

import torch
from torch import Tensor, nn

from polypool.cells import M2, Cells, Mean, root, run
from polypool.pooling import Pooling
from polypool.poolings._settings import count
from polypool.registry import register


@register(
    "attentive_stats",
    learnable=True,
    source="Okabe, Koshinaka, Shinoda 2018, Attentive Statistics Pooling for Deep Speaker Embedding, eq. 5 and 6",
)
class AttentiveStatsPool(Pooling):
    """The mean and the standard deviation under learned weights, side by side.

    `m = sum a x`, `s = sqrt(sum a (x - m)^2)` with `a = w e^s(x) / sum w e^s(x)` and `s(x) = v^T tanh(U x)`. The
    deviation is taken from the mean (the authors subtract squares, which cancels).

    Args:
        channels: The channels C of the values.
        hidden: The width of U; half of `channels` when None.

    Shapes:
        `(num_cells, 2 C)` from values with C channels.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("attentive_stats", channels=4)(pp.Tokens(torch.randn(2, 9, 4))).shape
        torch.Size([2, 8])
    """

    def __init__(self, channels: int, hidden: int | None = None) -> None:
        super().__init__()
        self.channels = count(channels, "channels")
        width = max(channels // 2, 1) if hidden is None else count(hidden, "hidden")
        self.score = nn.Sequential(nn.Linear(channels, width), nn.Tanh(), nn.Linear(width, 1, bias=False))

    def reduce(self, cells: Cells) -> Tensor:
        scores = run(self.score, cells.rows)
        found = cells.reweighted(cells.softmax(scores)).statistics((M2(),))
        return torch.cat([found[Mean()], root(found[M2()])], dim=-1)

    def out_channels(self, in_channels: int) -> int:
        return 2 * in_channels
