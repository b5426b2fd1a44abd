"""Sums, means, central moments and extremes of cells, any of them in one pass."""

from polypool.ops.moments.op import CODES, expand, moments

__all__ = ["CODES", "expand", "moments"]
