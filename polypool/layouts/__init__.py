"""Layouts: the backend of each modality, from the user's tensors to cells and back."""

from polypool.layouts.as_layout import as_layout
from polypool.layouts.clusters import Clusters
from polypool.layouts.grid import Grid
from polypool.layouts.layout import Layout
from polypool.layouts.nodes import Nodes
from polypool.layouts.packed import Packed
from polypool.layouts.regions import Regions
from polypool.layouts.spans import Spans
from polypool.layouts.tokens import Tokens

KINDS = tuple(cls.kind for cls in (Grid, Tokens, Packed, Nodes, Clusters))

__all__ = [
    "KINDS",
    "Clusters",
    "Grid",
    "Layout",
    "Nodes",
    "Packed",
    "Regions",
    "Spans",
    "Tokens",
    "as_layout",
]
