"""Exponentially weighted operations: softmax and log-mean-exp."""

from polypool.ops.exponential.reference import log_mean_exp, softmax

__all__ = ["log_mean_exp", "softmax"]
