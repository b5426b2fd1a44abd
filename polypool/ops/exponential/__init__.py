"""Exponentially weighted operations: softmax, averages under it, and log-mean-exp."""

from polypool.ops.exponential import op
from polypool.ops.exponential.reference import attend, log_mean_exp, softmax

__all__ = ["attend", "log_mean_exp", "op", "softmax"]
