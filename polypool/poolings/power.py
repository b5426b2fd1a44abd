"""Power mean."""

from torch import Tensor

from polypool.cells import Cells
from polypool.pooling import Pooling, restated
from polypool.poolings._settings import flag, positive
from polypool.registry import register


@register(
    "power",
    homogeneity=1,
    source="Hardy, Littlewood, Polya 1934, Inequalities, eq. 2.2.1; signed: Gulcehre et al. 2014, Lp units",
    aliases={"rms": {"p": 2.0}},
)
class PowerPool(Pooling):
    """The mean of a power, rooted: `(sum w |x|^p / sum w)^(1 / p)`; p = 2 is the root mean square.

    Signed, it keeps the sign of each element: `sign(m) |m|^(1 / p)` with `m = sum w sign(x) |x|^p / sum w`. Values
    are divided by the largest of their cell before the power, so that no p overflows.

    Args:
        p: The exponent, > 0 and finite.
        signed: Whether elements keep their sign.

    Shapes:
        `(num_cells, C)` from values with C channels.

    Raises:
        ValueError: p is not positive and finite.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("rms")(pp.Nodes(torch.tensor([[1.0], [-7.0]])))
        tensor([[5.]])
    """

    def __init__(self, p: float = 2.0, signed: bool = False) -> None:
        super().__init__()
        self.p = positive(p, "p")
        self.signed = flag(signed, "signed")
        self.card = restated(self.card, constant_preserving=signed)

    def reduce(self, cells: Cells) -> Tensor:
        return cells.power_mean(None, self.p, self.signed)

    def extra_repr(self) -> str:
        return f"p={self.p}, signed={self.signed}"
