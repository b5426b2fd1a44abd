"""Order statistics as densities on the members: median, quantile, trimmed mean and the mean of the largest."""

from polypool.ops.order import op
from polypool.ops.order.reference import (
    quantile,
    quantile_density,
    top,
    top_density,
    trimmed,
    trimmed_density,
)

__all__ = ["op", "quantile", "quantile_density", "top", "top_density", "trimmed", "trimmed_density"]
