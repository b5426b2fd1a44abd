"""PyTorch Geometric: its aggregations, and `global_*_pool` where the elements are nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

import polypool as pp
from polypool.bench.data import Data
from polypool.bench.rivals.rival import Call, Rival
from polypool.bench.subjects import FUSED, QUANTILES

PACKAGE = "torch_geometric"

Make = Callable[[Any, Any], Any]  # from the module of aggregations, and our module

AGGREGATIONS: dict[str, Make] = {
    "sum": lambda aggr, _: aggr.SumAggregation(),
    "mean": lambda aggr, _: aggr.MeanAggregation(),
    "max": lambda aggr, _: aggr.MaxAggregation(),
    "min": lambda aggr, _: aggr.MinAggregation(),
    "var": lambda aggr, _: aggr.VarAggregation(),
    "std": lambda aggr, _: aggr.StdAggregation(),
    FUSED: lambda aggr, _: aggr.MultiAggregation(["mean", "max", "min", "std"]),
    "softmax": lambda aggr, _: aggr.SoftmaxAggregation(t=1.0),
    # its own limits would clip what ours does not
    "gem3": lambda aggr, _: aggr.PowerMeanAggregation(p=3.0, clamp_min=1e-6),
    "gem": lambda aggr, _: aggr.PowerMeanAggregation(p=2.5, learn=True, clamp_min=1e-6),
    "median": lambda aggr, _: aggr.MedianAggregation(),
    "quantile": lambda aggr, _: aggr.QuantileAggregation(0.5),
    "quantiles": lambda aggr, _: aggr.QuantileAggregation(list(QUANTILES)),
    "attention": lambda aggr, module: aggr.AttentionalAggregation(module.score),
    "gated_attention": lambda aggr, module: aggr.AttentionalAggregation(module.score),
}
GLOBAL = {"sum": "add", "mean": "mean", "max": "max"}
#: Aggregations that insist on elements cell by cell.
SORTED = {"attention", "gated_attention"}
#: They sort everything, and take seconds: on packed rows alone.
SLOW = {"median", "quantile", "quantiles"}


def offers(subject: str, data: Data, module: nn.Module) -> Iterator[Rival]:
    """Those for ragged data."""
    if data.index is None:
        return
    index, cells = data.index, data.cells
    if subject in GLOBAL and isinstance(data.layout, pp.Nodes):
        name = f"global_{GLOBAL[subject]}_pool"

        def pool() -> Call:
            import torch_geometric.nn as geometric

            function = getattr(geometric, name)
            return lambda x: function(x, index, cells)

        yield Rival(f"PyG {name}", pool, PACKAGE)
    elif subject in SLOW and not isinstance(data.layout, pp.Packed):
        return
    elif subject in AGGREGATIONS and (data.order is None or subject not in SORTED):

        def aggregation() -> Call:
            import torch_geometric.nn.aggr as aggr

            made = AGGREGATIONS[subject](aggr, module)
            return lambda x: made(x, index, dim_size=cells)

        yield Rival(f"PyG {_name(subject)}", aggregation, PACKAGE)


def _name(subject: str) -> str:
    names = {
        FUSED: "Multi",
        "gem3": "PowerMean",
        "gem": "PowerMean",
        "quantiles": "Quantile",
        "attention": "Attentional",
        "gated_attention": "Attentional",
    }
    return f"{names.get(subject, subject.capitalize())}Aggregation"
