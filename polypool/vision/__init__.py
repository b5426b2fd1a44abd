"""What only images, signals and volumes have: pixels with neighbours, windows, bins and boxes."""

from importlib import import_module
from typing import TYPE_CHECKING

from polypool.vision.bin_pool import BinPool
from polypool.vision.blur import BlurPool
from polypool.vision.boxes import Boxes, bounding_boxes
from polypool.vision.gradient_energy import GradientEnergy, differences
from polypool.vision.local_pool import LocalPool
from polypool.vision.max_blur import MaxBlurPool
from polypool.vision.polyphase import PolyphasePool
from polypool.vision.pyramid import SpatialPyramid
from polypool.vision.rmac import RMAC, rmac_regions
from polypool.vision.roi_pool import RoIPool
from polypool.vision.strip_pool import StripPool

if TYPE_CHECKING:
    from polypool.vision.global_pool import GlobalPool as GlobalPool
    from polypool.vision.surgery import insert_se as insert_se
    from polypool.vision.surgery import sites as sites
    from polypool.vision.surgery import swap as swap

# Names with the module that holds them, imported on first use.
_HOMES = {"GlobalPool": "global_pool", "insert_se": "surgery", "sites": "surgery", "swap": "surgery"}

__all__ = [
    "RMAC",
    "BinPool",
    "BlurPool",
    "Boxes",
    "GlobalPool",
    "GradientEnergy",
    "LocalPool",
    "MaxBlurPool",
    "PolyphasePool",
    "RoIPool",
    "SpatialPyramid",
    "StripPool",
    "bounding_boxes",
    "differences",
    "insert_se",
    "rmac_regions",
    "sites",
    "swap",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'polypool.vision' has no attribute {name!r}")
    found = getattr(import_module(f"polypool.vision.{_HOMES[name]}"), name)
    # Importing a submodule sets an attribute of its name here: `swap` and `sites` are the functions.
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
