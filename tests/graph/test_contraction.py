"""Contraction of edges is the greedy matching, and fast."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn import EdgePooling

from polypool.graph._matching import best_first, matching
from polypool.graph.coarsen import Coarsen
from tests.graph.graphs import adjacency, graph, weighted
from tests.support import close, integers, normal


def greedy(ends: Tensor, order: Tensor) -> list[int]:
    """One edge after the other, the definition."""
    busy: set[int] = set()
    taken = []
    for edge in order.tolist():
        one, other = ends[:, edge].tolist()
        if one not in busy and other not in busy:
            busy |= {one, other}
            taken.append(edge)
    return taken


@pytest.mark.parametrize(("nodes", "edges"), [(2, 1), (5, 0), (5, 8), (50, 60), (50, 800), (300, 1000)])
@pytest.mark.parametrize("seed", range(3))
def test_in_parallel_as_one_by_one(nodes: int, edges: int, seed: int) -> None:
    ends = integers(nodes, 2, edges, seed=seed)
    ends = ends[:, ends[0] != ends[1]]
    score = normal(ends.shape[1], seed=seed).mul(3).round()  # many equal ones
    order = best_first(score.float(), integers(1 << 40, ends.shape[1], seed=seed))
    assert sorted(matching(ends, order, nodes).tolist()) == sorted(greedy(ends, order))


def test_a_chain_where_each_edge_waits_for_the_next() -> None:
    ends = torch.stack([torch.arange(200), torch.arange(1, 201)])
    order = torch.arange(200).flip(0)
    assert sorted(matching(ends, order, 201).tolist()) == sorted(greedy(ends, order))


def test_order_of_scores() -> None:
    numbers = [1.0, float("nan"), -0.0, 0.0, float("inf"), -2.0, 1.0, -float("inf"), 1e-40, -1e-40]
    tie = torch.tensor([7, 0, 1, 0, 0, 0, 3, 0, 0, 0])
    expected = [4, 6, 0, 8, 3, 2, 9, 5, 7, 1]
    for dtype in (torch.float32, torch.float64):
        assert best_first(torch.tensor(numbers, dtype=dtype), tie).tolist()[:8] == expected[:8]
        assert set(best_first(torch.tensor(numbers, dtype=dtype), tie).tolist()[8:]) == {7, 1}


@pytest.mark.parametrize("kind", ["tanh", "sigmoid"])
@pytest.mark.parametrize("seed", range(3))
def test_as_the_peer_does(kind: str, seed: int) -> None:
    """EdgePooling with the same parameters merges the same pairs and gives the same features."""
    data = graph(60, 150, seed)
    torch.manual_seed(seed)
    ours = Coarsen("edge_contraction", channels=4, score=kind, carry={"cluster": None})
    theirs = EdgePooling(4, edge_score_method=getattr(EdgePooling, f"compute_edge_score_{kind}"))
    theirs.lin.load_state_dict(ours.select.linear.state_dict())  # type: ignore[union-attr]
    coarse = ours(data)
    x, edge_index, _, info = theirs(data.x, data.edge_index, torch.zeros(60, dtype=torch.int64))
    both = torch.stack([coarse.clusters.assignment, info.cluster]).unique(dim=1)
    assert both.shape[1] == coarse.num_nodes == x.shape[0]
    place = both[1, both[0].argsort()]
    close(coarse.x, x[place])
    joined = torch.zeros(x.shape[0], x.shape[0], dtype=torch.bool)
    joined[edge_index[0], edge_index[1]] = True
    joined = joined[place][:, place].fill_diagonal_(False)
    assert torch.equal(adjacency(coarse.to_data()) > 0, joined)


def test_edge_features_are_kept() -> None:
    """PyG's layer drops them."""
    data = graph(30, 60)
    data.edge_attr = normal(data.num_edges, 3).float()
    coarse = Coarsen("edge_contraction", channels=4, carry={"cluster": None})(data)
    assert coarse.edge_attr is not None
    ends = coarse.clusters.assignment[data.edge_index]
    between = ends[0] != ends[1]
    close(coarse.edge_attr.sum(0), data.edge_attr[between].sum(0), tolerance=None)


def test_self_loops_do_not_compete() -> None:
    loops = torch.arange(6).repeat(2, 1)
    data = graph(6, 8)
    torch.manual_seed(0)
    coarsen = Coarsen("edge_contraction", channels=4, score="tanh", carry={"cluster": None})
    plain = coarsen(data).clusters.assignment
    data.edge_index = torch.cat([loops, data.edge_index], dim=1)
    assert torch.equal(coarsen(data).clusters.assignment, plain)


def test_the_score_learns_through_the_gate_and_not_without() -> None:
    for gate in (True, False):
        coarsen = Coarsen("edge_contraction", channels=4, gate=gate, carry={"cluster": None})
        coarse = coarsen(graph(12, 30))
        if gate:
            coarse.x.square().sum().backward()
            gradients = [parameter.grad for parameter in coarsen.parameters() if parameter.grad is not None]
            assert bool(gradients[0].abs().sum() > 0)
        else:
            assert not coarse.x.requires_grad


@pytest.mark.parametrize("normalised", [False, True])
def test_graclus_takes_the_heaviest_first(normalised: bool) -> None:
    data = weighted(graph(40, 80))
    matrix = adjacency(data).double()
    coarse = Coarsen("graclus", normalised=normalised, carry={"cluster": None})(data)
    low, high = torch.triu(matrix, 1).nonzero().T
    weight = matrix[low, high]
    if normalised:
        degree = matrix.sum(1)
        weight = weight * (1 / degree[low] + 1 / degree[high])
    merged = greedy(torch.stack([low, high]), weight.argsort(descending=True))
    assignment = coarse.clusters.assignment
    assert coarse.num_nodes == 40 - len(merged)
    assert torch.equal(assignment[low[merged]], assignment[high[merged]])


def test_a_path_of_equal_weights_takes_few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decided by a hash: by number, each edge would wait for the one before it."""
    import numpy as np

    rounds = 0
    minimum = np.minimum

    def counted(*args: object) -> object:
        nonlocal rounds
        rounds += 1
        return minimum(*args)  # type: ignore[call-overload]

    monkeypatch.setattr("polypool.graph._matching.np.minimum", counted)
    n = 5000
    path = Data(x=torch.ones(n, 1), edge_index=torch.stack([torch.arange(n - 1), torch.arange(1, n)]))
    coarse = Coarsen("graclus")(path)
    assert rounds < 30
    assert n / 2 <= coarse.num_nodes < 0.6 * n


def test_equal_scores_do_not_depend_on_batch_mates() -> None:
    from torch_geometric.data import Batch

    small = graph(15, 30)
    alone = Coarsen("graclus", carry={"cluster": None})(small)
    beside = Coarsen("graclus", carry={"cluster": None})(Batch.from_data_list([graph(200, 900, 1), small]))
    close(alone.x, beside.to_data()[1].x)


@pytest.mark.slow
def test_twenty_times_faster_than_the_peer() -> None:
    """5,000 edges, each in both directions; seconds of the processor, so that a busy machine does not decide."""
    torch.set_num_threads(1)
    data = graph(1000, 5050)
    data.edge_index = data.edge_index[:, :10_000]
    del data.cluster
    ours = Coarsen("edge_contraction", channels=4)
    theirs = EdgePooling(4)
    batch = torch.zeros(1000, dtype=torch.int64)

    def seconds(call: Callable[[], object]) -> float:
        start = time.process_time()
        for _ in range(5):
            call()
        return time.process_time() - start

    with torch.no_grad():
        ours(data)
        pairs = [
            (seconds(lambda: ours(data)), seconds(lambda: theirs(data.x, data.edge_index, batch)))
            for _ in range(5)
        ]
    mine, other = (min(column) for column in zip(*pairs, strict=True))
    assert other > 20 * mine
