"""Blocks that pool and bring the result back to the elements.

`names`, `card` and `build` find blocks by name, `register` adds one, and `load_state` takes other people's weights.
"""

from polypool.blocks.block import Block as Block
from polypool.blocks.cbam import CBAM
from polypool.blocks.coordinate_attention import CoordinateAttention
from polypool.blocks.eca import ECA
from polypool.blocks.effective_se import EffectiveSE
from polypool.blocks.gate import Gate
from polypool.blocks.gather_excite import GatherExcite
from polypool.blocks.global_context import GlobalContext
from polypool.blocks.registry import build as build
from polypool.blocks.registry import card as card
from polypool.blocks.registry import names as names
from polypool.blocks.registry import register as register
from polypool.blocks.squeeze_excite import SqueezeExcite
from polypool.blocks.states import load_state as load_state
from polypool.blocks.style_recalibration import StyleRecalibration

# The classes of blocks, each built by its channels alone.
__all__ = [
    "CBAM",
    "ECA",
    "CoordinateAttention",
    "EffectiveSE",
    "Gate",
    "GatherExcite",
    "GlobalContext",
    "SqueezeExcite",
    "StyleRecalibration",
]
