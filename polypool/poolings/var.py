"""Variance."""

from collections.abc import Mapping

from torch import Tensor

from polypool.cells import M2, Statistic
from polypool.pooling import Pooling
from polypool.registry import register


@register("var", homogeneity=2, source="Corso et al. 2020, Principal Neighbourhood Aggregation, section 2")
class VarPool(Pooling):
    """The population variance: `sum w (x - mean)^2 / sum w`. Two passes, so a large mean costs no precision.

    Shapes:
        `(num_cells, C)` from values with C channels.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("var")(pp.Nodes(torch.tensor([[1.0], [3.0]])))
        tensor([[1.]])
    """

    stats = (M2(),)

    def finish(self, s: Mapping[Statistic, Tensor]) -> Tensor:
        return s[M2()]
