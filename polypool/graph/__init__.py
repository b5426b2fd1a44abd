"""What only graphs have: readouts that drop into PyTorch Geometric, and coarsening.

Loaded on first use; it needs torch-geometric, which `pip install polypool[graph]` brings.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if find_spec("torch_geometric") is None:
    raise ImportError(
        "polypool.graph needs torch-geometric, which is not installed. pip install polypool[graph]."
    )

from polypool.graph.aggregation import PoolingAggregation, aggregation
from polypool.graph.edges import graph_of_edges
from polypool.graph.global_pool import global_pool
from polypool.graph.hetero import HeteroReadout
from polypool.graph.layers import JoinLayers
from polypool.graph.readout import Readout

if TYPE_CHECKING:
    from polypool.graph import connect, select
    from polypool.graph.coarsen import Coarse, Coarsen

__all__ = [
    "Coarse",
    "Coarsen",
    "HeteroReadout",
    "JoinLayers",
    "PoolingAggregation",
    "Readout",
    "aggregation",
    "connect",
    "global_pool",
    "graph_of_edges",
    "select",
]

#: What coarsening needs is loaded with its first use: the module of each name, or None where it is a module itself.
_ON_FIRST_USE = {"Coarse": "coarsen", "Coarsen": "coarsen", "connect": None, "select": None}


def __getattr__(name: str) -> object:
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module 'polypool.graph' has no attribute {name!r}")
    home = _ON_FIRST_USE[name]
    if home is None:
        return import_module(f"polypool.graph.{name}")
    return getattr(import_module(f"polypool.graph.{home}"), name)
