"""Generalised mean."""

import torch
from torch import Tensor, nn

from polypool.cells import Cells
from polypool.pooling import Pooling, restated
from polypool.poolings._settings import count, flag, positive
from polypool.registry import register


@register(
    "gem",
    homogeneity=1,
    learnable=True,
    source="Radenovic, Tolias, Chum 2019, Fine-tuning CNN Image Retrieval with No Human Annotation, eq. 3",
)
class GeMPool(Pooling):
    """Generalised-mean pooling: `(sum w max(x, eps)^p / sum w)^(1 / p)`; the mean at p = 1, the max as p grows.

    Values are divided by the largest of their cell before the power: the authors' form overflows in half precision
    at 50^3 and in float32 at p = 60. Negative values count as `eps`; `power` has a signed form.

    Args:
        p: The exponent to start from; > 0 and finite.
        learn: Whether p is a parameter.
        per_channel: One p for each channel; needs `channels`.
        channels: The channels of the values; needed with `per_channel` alone.
        eps: The least value that an element counts as; > 0.

    Shapes:
        `(num_cells, C)` from values with C channels.

    Raises:
        ValueError: p or eps is not positive and finite.
        TypeError: `per_channel` without `channels`.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("gem", p=60.0, learn=False)(torch.full((1, 1, 2, 2), 50.0))
        tensor([[50.]])
    """

    p: float | Tensor

    def __init__(
        self,
        p: float = 3.0,
        learn: bool = True,
        per_channel: bool = False,
        channels: int | None = None,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        p = positive(p, "p")
        self.eps = positive(eps, "eps")
        flag(learn, "learn")
        if flag(per_channel, "per_channel") and channels is None:
            raise TypeError("gem with per_channel=True needs channels, one p for each.")
        self.channels = count(channels, "channels") if per_channel else None
        powers = torch.full((self.channels or 1,), p)
        if learn:
            self.p = nn.Parameter(powers)
        elif per_channel:
            self.register_buffer("p", powers)
        else:
            self.p = p
        self.card = restated(self.card, learnable=learn)

    def reduce(self, cells: Cells) -> Tensor:
        p = self.p.to(cells.dtype) if isinstance(self.p, Tensor) else self.p
        return cells.power_mean(None, p, floor=self.eps)

    def extra_repr(self) -> str:
        return f"p={[round(x, 3) for x in self.p.tolist()] if isinstance(self.p, Tensor) else self.p}, eps={self.eps}"
