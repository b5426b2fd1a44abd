"""The primitives of ragged cells: total, expand, argbest and rank over a list of memberships."""

from polypool.ops.segments.op import argbest
from polypool.ops.segments.reference import expand, rank, total

__all__ = ["argbest", "expand", "rank", "total"]
