"""Standard deviation."""

from collections.abc import Mapping

from torch import Tensor

from polypool.cells import M2, Statistic, root
from polypool.pooling import Pooling
from polypool.registry import register


@register("std", homogeneity=1, source="Corso et al. 2020, Principal Neighbourhood Aggregation, section 2")
class StdPool(Pooling):
    """The population standard deviation: `sqrt(sum w (x - mean)^2 / sum w)`. Its gradient at 0 is 0.

    Shapes:
        `(num_cells, C)` from values with C channels.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("std")(pp.Nodes(torch.tensor([[1.0], [5.0]])))
        tensor([[2.]])
    """

    stats = (M2(),)

    def finish(self, s: Mapping[Statistic, Tensor]) -> Tensor:
        return root(s[M2()])
