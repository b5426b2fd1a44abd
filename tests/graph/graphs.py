"""Graphs that several test files share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from polypool.graph import select
from polypool.graph.coarsen import Coarsen
from tests.support import integers, normal, uniform

CHANNELS = 4
#: What each select needs to be built in a test.
SETTINGS: dict[str, dict[str, Any]] = {
    "top_k": {"channels": CHANNELS},
    "sag": {"channels": CHANNELS},
    "asap": {"channels": CHANNELS},
    "edge_contraction": {"channels": CHANNELS},
    "graclus": {},
    "k_mis": {},
    "diff": {"channels": CHANNELS, "num_clusters": 3},
    "min_cut": {"channels": CHANNELS, "num_clusters": 3},
    "dmon": {"channels": CHANNELS, "num_clusters": 3},
    "just_balance": {"channels": CHANNELS, "num_clusters": 3},
    "given": {},
    "random_dense": {"num_clusters": 3, "seed": 5},
    "random_sparse": {"seed": 5},
}
NAMES = tuple(SETTINGS)
SOFT = tuple(name for name in NAMES if select.card(name).kind == "soft")
DROPS = tuple(name for name in NAMES if select.card(name).kind == "drop")


def undirected(ends: Tensor) -> Tensor:
    """Both directions of each edge, each once, without loops."""
    ends = ends[:, ends[0] != ends[1]]
    return torch.cat([ends, ends.flip(0)], dim=1).unique(dim=1)


def graph(nodes: int, edges: int, seed: int = 0, dtype: torch.dtype = torch.float32, **extra: Any) -> Data:
    """Edges anywhere, both directions of each, and clusters of two neighbours in the list."""
    if edges and nodes:
        edge_index = undirected(integers(nodes, 2, edges, seed=seed))
    else:
        edge_index = torch.zeros((2, 0), dtype=torch.int64)
    data = Data(x=normal(nodes, CHANNELS, seed=seed, dtype=dtype), edge_index=edge_index, **extra)
    data.cluster = torch.arange(nodes) // 2
    return data


def weighted(data: Data, seed: int = 0) -> Data:
    """The graph with the same weight on both directions of an edge."""
    low, high = data.edge_index.amin(0), data.edge_index.amax(0)
    table = uniform(data.num_nodes, data.num_nodes, seed=seed, dtype=data.x.dtype) + 0.1
    data.edge_weight = table[low, high]
    return data


def several(dtype: torch.dtype = torch.float32) -> list[Data]:
    """Graphs of different sizes, one of them a single node, one without edges."""
    return [
        graph(7, 10, 0, dtype),
        graph(1, 0, 1, dtype),
        graph(20, 50, 2, dtype),
        graph(3, 0, 3, dtype),
        graph(12, 30, 4, dtype),
    ]


def batch_of(graphs: list[Data]) -> Batch:
    return Batch.from_data_list(graphs)


def coarsener(name: str, seed: int = 0, dtype: torch.dtype = torch.float32, **settings: Any) -> Coarsen:
    """A select with parameters of its own random numbers, which leaves `cluster` behind."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        carry = {} if name == "given" else {"cluster": None}
        made = Coarsen(name, carry=carry, **settings | SETTINGS[name])
    return made.to(dtype)


def dense(coarse: Any) -> Tensor:
    """S, `(N, K)`: how much of each node is in each cluster."""
    identity = torch.eye(coarse.num_nodes, dtype=coarse.x.dtype)
    return coarse.lift(identity, "transpose")


def adjacency(data: Any) -> Tensor:
    """A, `(N, N)`."""
    weight = getattr(data, "edge_weight", None)
    ones = torch.ones(data.edge_index.shape[1], dtype=data.x.dtype)
    matrix = torch.zeros((data.num_nodes, data.num_nodes), dtype=data.x.dtype)
    return matrix.index_put(tuple(data.edge_index), ones if weight is None else weight, accumulate=True)
