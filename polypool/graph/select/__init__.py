"""Selects: who is merged with whom. Each module holds one; `build` makes it by name."""

from polypool.graph._graph import Graph
from polypool.graph.select._registry import build, card, names, register, settings
from polypool.graph.select.asap import ASAP
from polypool.graph.select.base import Select, SelectCard, Selection, partition
from polypool.graph.select.controls import RandomDense, RandomSparse
from polypool.graph.select.diff import Diff
from polypool.graph.select.dmon import DMoN
from polypool.graph.select.edge_contraction import EdgeContraction
from polypool.graph.select.given import Given
from polypool.graph.select.graclus import Graclus
from polypool.graph.select.just_balance import JustBalance
from polypool.graph.select.k_mis import KMIS
from polypool.graph.select.min_cut import MinCut
from polypool.graph.select.sag import SAG
from polypool.graph.select.top_k import TopK

__all__ = [
    "ASAP",
    "KMIS",
    "SAG",
    "DMoN",
    "Diff",
    "EdgeContraction",
    "Given",
    "Graclus",
    "Graph",
    "JustBalance",
    "MinCut",
    "RandomDense",
    "RandomSparse",
    "Select",
    "SelectCard",
    "Selection",
    "TopK",
    "build",
    "card",
    "names",
    "partition",
    "register",
    "settings",
]
