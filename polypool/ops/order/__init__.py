"""Order statistics as densities on the members: median, quantile, trimmed mean and the mean of the largest."""

from polypool.ops.order.reference import quantile_density, top_density, trimmed_density

__all__ = ["quantile_density", "top_density", "trimmed_density"]
