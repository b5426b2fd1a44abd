"""Power means."""

from polypool.ops.power import op
from polypool.ops.power.reference import power_mean

__all__ = ["op", "power_mean"]
