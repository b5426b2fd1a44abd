"""Gated attention of multiple-instance learning."""

from torch import Tensor, nn

from polypool.cells import Cells, run
from polypool.pooling import Pooling
from polypool.poolings._settings import count, heads_for
from polypool.registry import register


class GatedScore(nn.Module):
    """`w^T (tanh(V x) * sigmoid(U x))`."""

    def __init__(self, channels: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.content = nn.Linear(channels, hidden)
        self.gate = nn.Linear(channels, hidden)
        self.score = nn.Linear(hidden, heads, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # The sigmoid as a tanh: torch's own rounds the end of each thread's share differently.
        open_by = 0.5 + 0.5 * (0.5 * self.gate(x)).tanh()
        return self.score(self.content(x).tanh() * open_by)


@register(
    "gated_attention",
    learnable=True,
    constant_preserving=True,
    source="Ilse, Tomczak, Welling 2018, Attention-based Deep Multiple Instance Learning, eq. 9",
)
class GatedAttentionPool(Pooling):
    """Attention whose score is gated: `s(x) = w^T (tanh(V x) * sigmoid(U x))`, weights `e^s` over each cell.

    Args:
        channels: The channels C of the values.
        hidden: The width of V and U; half of `channels` when None.
        heads: How many scores; head h weighs channels `[h C / heads, (h + 1) C / heads)`.

    Shapes:
        `(num_cells, C)` from values with C channels; weights have 1 or C channels.

    Raises:
        ValueError: `heads` does not divide `channels`.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("gated_attention", channels=4)(torch.randn(2, 4, 5, 5)).shape
        torch.Size([2, 4])
    """

    def __init__(self, channels: int, hidden: int | None = None, heads: int = 1) -> None:
        super().__init__()
        self.channels = count(channels, "channels")
        heads_for(self.channels, count(heads, "heads"))
        width = max(channels // 2, 1) if hidden is None else count(hidden, "hidden")
        self.score = GatedScore(channels, width, heads)

    def reduce(self, cells: Cells) -> Tensor:
        return cells.attend(run(self.score, cells.rows))

    def weigh(self, cells: Cells) -> Tensor:
        return cells.softmax(run(self.score, cells.rows))
