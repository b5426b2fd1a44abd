"""Comparing readouts and coarsening on sets of graphs, beside PyG's own operators, in one run.

`examples/graph_classification.py` is the command; a model of your own is an `Entry`.
"""

from polypool.graph.compare.entries import Entry, entries
from polypool.graph.compare.intervals import Interval, paired
from polypool.graph.compare.protocol import PROTOCOLS, Settings
from polypool.graph.compare.report import Report, compare
from polypool.graph.compare.sets import GraphSet, load

__all__ = [
    "PROTOCOLS",
    "Entry",
    "GraphSet",
    "Interval",
    "Report",
    "Settings",
    "compare",
    "entries",
    "load",
    "paired",
]
