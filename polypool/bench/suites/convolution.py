"""PyG's GENConv and PNAConv with their own aggregation, and with ours in its place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

import polypool as pp
from polypool.bench.contest import contest
from polypool.bench.contestant import Contestant
from polypool.bench.data import generator
from polypool.bench.pooled import Options, one_read
from polypool.bench.record import Row
from polypool.bench.suites import model
from polypool.bench.suites.case import Case

NODES, EDGES, CHANNELS = 20_000, 200_000, 64
SCALERS = ["identity", "amplification", "attenuation"]
#: In PyG's order, so that the layers after the aggregation see the same channels.
PNA = ["mean", "min", "max", "std"]


def cases() -> list[Case]:
    """Each convolution on edges sorted by their target, as PyG's loaders give them, and GENConv on any order."""
    return [
        _case("gen", _runner("GENConv", _gen, shuffled=False)),
        _case("gen-unsorted", _runner("GENConv", _gen, shuffled=True)),
        _case("pna", _runner("PNAConv", _pna, shuffled=False)),
    ]


def _case(name: str, run: Callable[..., Iterator[Row]]) -> Case:
    """Measured as it is trained: nobody who trains a network has told malloc to keep what is freed."""
    return Case(f"convolution/{name}", model.TABLE, run, allocator="default")


def graph(nodes: int, edges: int, *, shuffled: bool) -> Tensor:
    """A random graph as `(2, edges)`: source, target."""
    ends = torch.randint(nodes, (2, edges), generator=generator(5))
    return ends if shuffled else ends[:, ends[1].argsort(stable=True)]


def _gen(edges: Tensor, nodes: int) -> tuple[nn.Module, nn.Module]:
    from torch_geometric.nn import GENConv

    from polypool.graph import aggregation

    theirs = GENConv(CHANNELS, CHANNELS, aggr="softmax", t=1.0, learn_t=True)
    ours = copy.deepcopy(theirs)
    ours.aggr_module = aggregation("softmax", t=1.0, learn=True)
    return ours, theirs


def _pna(edges: Tensor, nodes: int) -> tuple[nn.Module, nn.Module]:
    from torch_geometric.nn import PNAConv

    from polypool.graph import aggregation

    degrees = torch.bincount(torch.bincount(edges[1], minlength=nodes))
    theirs = PNAConv(CHANNELS, CHANNELS, PNA, SCALERS, degrees)
    ours = copy.deepcopy(theirs)
    ours.aggr_module.aggr = aggregation("+".join(PNA))
    return ours, theirs


def _runner(
    name: str, build: Callable[[Tensor, int], tuple[nn.Module, nn.Module]], *, shuffled: bool
) -> Callable[[Options], Iterator[Row]]:
    case = f"convolution/{name.removesuffix('Conv').lower()}{'-unsorted' if shuffled else ''}"

    def run(options: Options) -> Iterator[Row]:
        nodes, edges = (max(100, round(n * options.scale)) for n in (NODES, EDGES))
        order = "in no order" if shuffled else "sorted by target"
        workload = f"{nodes:,} nodes, {edges:,} edges {order}, {CHANNELS} channels"
        if why := model.missing("torch_geometric"):
            yield model.absent(case, name, workload, options, why)
            return
        ends = graph(nodes, edges, shuffled=shuffled)
        x = torch.randn(nodes, CHANNELS, generator=generator(0))
        g = torch.rand(nodes, CHANNELS, generator=generator(4)) + 0.5
        with torch.random.fork_rng():
            torch.manual_seed(0)
            ours, theirs = build(ends, nodes)

        def call(module: Any, v: Tensor) -> Tensor:
            out: Tensor = module(v, ends)
            return out

        # Each by its own definition: PyG's standard deviation is 0 below a variance of 1e-5.
        contestants = [
            Contestant(
                who, model.step(conv, call, x, g), model.judge(conv, call, x, g), compiles=conv is ours
            )
            for who, conv in (("polypool's aggregation", ours), ("PyG's own aggregation", theirs))
        ]
        with pp.kernels(options.kernels):
            standing = contest(
                contestants,
                one_read(x),
                options.effort,
                warm=options.allocator == "warm",
            )
        yield model.row(case, name, workload, x, standing, options, layout="nodes", cells=nodes)

    return run
