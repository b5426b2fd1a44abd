"""Blocks that pool and bring the result back to the elements."""

from polypool.blocks.squeeze_excite import SqueezeExcite

__all__ = ["SqueezeExcite"]
