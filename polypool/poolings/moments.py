"""The first four moments."""

from collections.abc import Mapping

import torch
from torch import Tensor

from polypool.cells import M2, M3, M4, Mean, Statistic, root, safe
from polypool.pooling import Pooling
from polypool.registry import register


@register("moments", source="Corso et al. 2020, Principal Neighbourhood Aggregation, section 2 and appendix")
class MomentsPool(Pooling):
    """Mean, standard deviation, skewness and kurtosis, one block of channels each.

    `skewness = m3 / m2^1.5` and `kurtosis = m4 / m2^2` (3 for a normal distribution, not the excess), of the
    population. Where the variance is 0, or nothing but the rounding of the mean, deviation and both are 0, with
    gradient 0.

    Shapes:
        `(num_cells, 4 C)` from values with C channels.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("moments")(pp.Nodes(torch.tensor([[-1.0], [1.0]])))
        tensor([[0., 1., 0., 1.]])
    """

    stats = (Mean(), M2(), M3(), M4())

    def finish(self, s: Mapping[Statistic, Tensor]) -> Tensor:
        mean, variance = s[Mean()], s[M2()]
        # A constant's mean is rounded, and what is left of it has a shape that means nothing.
        rounding = (4 * torch.finfo(mean.dtype).eps * mean.detach()).square()
        variance = torch.where(variance <= rounding, torch.zeros_like(variance), variance)
        deviation = root(variance)
        constant = variance == 0
        # Divided one factor at a time: the square of a small variance is 0 in float32 before the variance is.
        skewness = s[M3()].masked_fill(constant, 0) / safe(variance) / safe(deviation)
        kurtosis = s[M4()].masked_fill(constant, 0) / safe(variance) / safe(variance)
        return torch.cat([mean, deviation, skewness, kurtosis], dim=-1)

    def out_channels(self, in_channels: int) -> int:
        return 4 * in_channels
