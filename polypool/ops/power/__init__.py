"""Power means."""

from polypool.ops.power.reference import power_mean

__all__ = ["power_mean"]
