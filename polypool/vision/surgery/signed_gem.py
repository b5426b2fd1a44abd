"""The generalised mean of numbers of either sign."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polypool.cells import Cells
from polypool.pooling import Pooling, restated
from polypool.poolings._settings import count, positive


class SignedGeMPool(Pooling):
    """A power mean with a learned exponent that keeps the sign: `s(m) |m|^(1 / p)`, `m = sum w s(x) |x|^p / sum w`.

    At p = 1 it is the mean of any numbers, to rounding; for numbers above 0 it is `gem`, which counts the others as
    its `eps`.

    Args:
        p: The exponent to start from; > 0 and finite.
        channels: One exponent for each of so many channels; None for one in all.

    Shapes:
        `(num_cells, C)` from values with C channels.

    Gradient:
        An element that is 0 gets none, as behind a ReLU, and neither does the exponent from it.

    Raises:
        ValueError: p is not positive and finite.

    Source:
        Radenovic, Tolias, Chum 2019, Fine-tuning CNN Image Retrieval with No Human Annotation, eq. 3, with the sign
        of Gulcehre, Cho, Pascanu, Bengio 2014, Learned-Norm Pooling.

    Example:
        >>> import torch
        >>> from polypool.vision.surgery.signed_gem import SignedGeMPool
        >>> x = torch.tensor([-1.0, 0.0, 4.0]).view(1, 1, 3, 1)
        >>> SignedGeMPool()(x).detach(), SignedGeMPool(p=2.0)(x).detach()
        (tensor([[1.]]), tensor([[2.2361]]))
    """

    def __init__(self, p: float = 1.0, channels: int | None = None) -> None:
        super().__init__()
        self.channels = None if channels is None else count(channels, "channels")
        self.p = nn.Parameter(torch.full((self.channels or 1,), positive(p, "p")))

    def reduce(self, cells: Cells) -> Tensor:
        return cells.power_mean(None, self.p.to(cells.dtype), signed=True)

    def extra_repr(self) -> str:
        return f"p={[round(x, 3) for x in self.p.tolist()]}"


SignedGeMPool.card = restated(
    SignedGeMPool.card,
    name="signed_gem",
    homogeneity=1,
    learnable=True,
    constant_preserving=True,
    source="Radenovic, Tolias, Chum 2019, eq. 3; the sign: Gulcehre et al. 2014",
)
