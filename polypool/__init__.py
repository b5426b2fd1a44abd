"""polypool: one pooling interface over images, token sequences and graphs."""

from polypool import blocks, poolings
from polypool._checks import check_values
from polypool.card import PropertyCard
from polypool.cells import (
    M2,
    M3,
    M4,
    Cells,
    Count,
    Mass,
    Max,
    Mean,
    Min,
    Sum,
    root,
    run,
    safe,
)
from polypool.layouts import Clusters, Grid, Layout, Nodes, Packed, Tokens, as_layout
from polypool.ops.dispatch import kernels
from polypool.pooling import Pooling
from polypool.registry import build, card, names, register

__version__ = "0.1.0"

__all__ = [
    "M2",
    "M3",
    "M4",
    "Cells",
    "Clusters",
    "Count",
    "Grid",
    "Layout",
    "Mass",
    "Max",
    "Mean",
    "Min",
    "Nodes",
    "Packed",
    "Pooling",
    "PropertyCard",
    "Sum",
    "Tokens",
    "__version__",
    "as_layout",
    "blocks",
    "build",
    "card",
    "check_values",
    "explain",
    "graph",
    "kernels",
    "names",
    "poolings",
    "register",
    "root",
    "run",
    "safe",
    "testing",
    "text",
    "vision",
]


_ON_FIRST_USE = ("explain", "graph", "testing", "text", "vision")


def __getattr__(name: str) -> object:
    """Subpackages on first use: who only pools does not pay for them."""
    if name in _ON_FIRST_USE:
        import importlib

        return importlib.import_module(f"polypool.{name}")
    raise AttributeError(f"module 'polypool' has no attribute {name!r}")
