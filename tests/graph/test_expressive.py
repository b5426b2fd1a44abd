"""What the conditions promise holds on pairs of graphs that the Weisfeiler-Lehman test tells apart."""

from __future__ import annotations

from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from polypool.graph.coarsen import Coarsen
from polypool.graph.expressive import conditions, shares
from tests.graph.graphs import NAMES, batch_of, coarsener, dense, graph, several
from tests.support import close

ROUNDS = 3
EXPRESSIVE = ("diff", "dmon", "given", "graclus", "just_balance", "k_mis", "min_cut", "random_dense")


def coloured(graphs: list[nx.Graph]) -> list[Data]:
    """Graphs whose features are the colours of the Weisfeiler-Lehman test, one of 64 channels each: condition 1."""
    names: dict[object, int] = {}
    data = []
    for one in graphs:
        colour = dict.fromkeys(one, 0)
        for _ in range(ROUNDS):
            signature = {n: (colour[n], tuple(sorted(colour[m] for m in one[n]))) for n in one}
            colour = {n: names.setdefault(s, len(names) + 1) for n, s in signature.items()}
        ends = [(a, b) for a, b in one.edges] + [(b, a) for a, b in one.edges]
        edge_index = torch.tensor(ends, dtype=torch.int64).reshape(-1, 2).T
        x = torch.nn.functional.one_hot(torch.tensor([colour[n] for n in one]), 64).float()
        data.append(Data(x=x, edge_index=edge_index, cluster=torch.arange(len(one)) // 2))
    assert len(names) < 64
    return data


def pairs() -> list[tuple[Data, Data]]:
    """As many nodes and edges in both, so that counting does not tell them apart."""
    ring_with_tail = nx.cycle_graph(5)
    ring_with_tail.add_edge(0, 5)
    graphs = [
        (nx.path_graph(5), nx.star_graph(4)),
        (nx.cycle_graph(6), ring_with_tail),
        (nx.ladder_graph(3), nx.lollipop_graph(4, 1).copy()),
        (nx.barbell_graph(3, 0), nx.complete_bipartite_graph(2, 4).copy()),
    ]
    return [tuple(coloured(list(pair))) for pair in graphs]


def settings(name: str) -> dict[str, Any]:
    return {"channels": 64} if name in ("diff", "dmon", "just_balance", "min_cut") else {}


def made(name: str, reduce: str = "sum") -> Coarsen:
    torch.manual_seed(0)
    extra: dict[str, Any] = {"num_clusters": 3} if settings(name) or name == "random_dense" else {}
    carry = {} if name == "given" else {"cluster": None}
    if name in ("top_k", "sag", "asap", "edge_contraction"):
        extra["channels"] = 64
    if name.startswith("random"):
        extra["seed"] = 0
    return Coarsen(name, reduce=reduce, carry=carry, **(settings(name) | extra))


@pytest.mark.parametrize("name", EXPRESSIVE)
@pytest.mark.parametrize("number", range(4))
def test_what_the_test_tells_apart_stays_apart(name: str, number: int) -> None:
    one, other = pairs()[number]
    assert not torch.equal(one.x.sum(0), other.x.sum(0)), "the pair has to be told apart before"
    coarsen = made(name)
    for data in (one, other):
        found = conditions(coarsen, data)
        assert found.sufficient, str(found)
        close(coarsen(data).x.sum(0), data.x.sum(0) * found.shares[0])
    assert not torch.allclose(coarsen(one).x.sum(0), coarsen(other).x.sum(0))


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(EXPRESSIVE)))
def test_what_drops_or_gates_is_seen(name: str) -> None:
    assert not conditions(coarsener(name), graph(12, 30)).everyone_counts


def test_a_pair_that_dropping_loses() -> None:
    """A path and a star of five nodes, of which only one that both have is kept: they become the same graph."""
    one, other = (Data(x=torch.ones(5, 1), edge_index=d.edge_index) for d in pairs()[0])
    one.x[1], other.x[0] = 2.0, 2.0
    one.x[3] = 3.0
    for data in (one, other):
        data.cluster = torch.tensor([-1, -1, -1, -1, 0])
    coarsen = Coarsen("given")
    assert torch.equal(coarsen(one).x, coarsen(other).x)
    assert not conditions(coarsen, one).everyone_counts


def test_edge_contraction_without_its_gate_counts_everyone() -> None:
    data = graph(12, 30)
    gated = Coarsen("edge_contraction", channels=4, carry={"cluster": None})
    plain = Coarsen("edge_contraction", channels=4, gate=False, carry={"cluster": None})
    assert not conditions(gated, data).everyone_counts
    assert conditions(plain, data).sufficient


@pytest.mark.parametrize("name", ["graclus", "min_cut"])
@pytest.mark.parametrize("reduce", ["mean", "max", "std", "logsumexp", "mean+sum"])
def test_other_reduces_are_not_the_sum(name: str, reduce: str) -> None:
    found = conditions(made(name, reduce), pairs()[1][0])
    assert found.everyone_counts
    assert not found.reduces_by_sum
    assert "not the sum" in str(found)


def test_an_average_loses_a_pair() -> None:
    """Two graphs of different sums whose cluster averages are the same."""
    one, other = (
        Data(x=x, edge_index=torch.tensor([[0], [1]])) for x in (torch.ones(2, 1), torch.ones(3, 1))
    )
    for data in (one, other):
        data.cluster = torch.zeros(data.num_nodes, dtype=torch.int64)
    mean, total = Coarsen("given", reduce="mean"), Coarsen("given")
    assert torch.equal(mean(one).x, mean(other).x)
    assert not torch.equal(total(one).x, total(other).x)


@pytest.mark.parametrize("name", NAMES)
def test_shares_are_the_row_sums(name: str) -> None:
    coarse = coarsener(name)(batch_of(several()))
    s: Tensor = dense(coarse)
    gate = torch.ones(coarse.num_nodes) if coarse.gate is None else coarse.gate
    close(shares(coarse), s @ gate)
