"""A pooling of one's own: the middle between the largest and the smallest element of each channel."""

from collections.abc import Mapping

from torch import Tensor

import polypool as pp
from polypool.cells import Statistic


@pp.register("middle", homogeneity=1, constant_preserving=True, source="Rider 1957: (max x + min x) / 2")
class MyPool(pp.Pooling):
    """The middle of the range of a cell."""

    stats = (pp.Max(), pp.Min())

    def finish(self, s: Mapping[Statistic, Tensor]) -> Tensor:
        """Halves the sum of the two ends."""
        return (s[pp.Max()] + s[pp.Min()]) / 2
