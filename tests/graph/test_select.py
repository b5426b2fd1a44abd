"""What each select chooses."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.nn import SAGPooling

from polypool.graph import select
from polypool.graph._data import graph_of
from polypool.graph.coarsen import Coarsen
from polypool.graph.select._settings import to_keep
from polypool.graph.select.k_mis import independent
from tests.graph.graphs import DROPS, NAMES, SOFT, adjacency, batch_of, coarsener, dense, graph, several
from tests.support import close, forgets, identical, normal

every_select = pytest.mark.parametrize("name", NAMES)


def test_every_registered_select_is_tested() -> None:
    assert set(NAMES) == set(select.names())


@pytest.mark.parametrize("name", ["top_k", "sag"])
@pytest.mark.parametrize("seed", range(20))
def test_the_true_top_k_stays_for_every_seed(name: str, seed: int) -> None:
    data = batch_of(several())
    coarsen = coarsener(name, seed)
    coarse = coarsen(data)
    score = coarsen.select.score(graph_of(data, None))  # type: ignore[operator]
    kept = coarse.clusters.assignment >= 0
    for g in range(data.num_graphs):
        mine = data.batch == g
        k = -(-int(mine.sum()) // 2)
        best = score[mine].topk(k).values.min()
        assert int((kept & mine).sum()) == k
        assert bool((score[mine & kept] >= best).all())
        assert bool((score[mine & ~kept] <= best).all())
    close(coarse.x, (data.x * score.tanh()[:, None])[kept])


def test_what_the_peer_does_wrong() -> None:
    """PyG's SAGPooling keeps the bottom k for about half of all seeds; the docs say so."""
    data = graph(20, 60)
    bottom = 0
    for seed in range(20):
        torch.manual_seed(seed)
        peer = SAGPooling(4)
        score = peer.gnn(data.x, data.edge_index)[:, 0]
        kept = peer(data.x, data.edge_index)[4]
        bottom += bool(score[kept].mean() < score.mean())
    assert 3 <= bottom <= 17


@every_select
def test_a_graph_does_not_depend_on_its_batch_mates(name: str) -> None:
    graphs = several(torch.float64)
    coarsen = coarsener(name, dtype=torch.float64)
    together = coarsen(batch_of(graphs)).to_data().to_data_list()
    for alone, beside in zip(graphs, together, strict=True):
        one = coarsen(alone)
        close(one.x, beside.x)
        assert torch.equal(one.edge_index, beside.edge_index)
        if one.edge_weight is not None:
            close(one.edge_weight, beside.edge_weight)


@every_select
def test_an_unsorted_batch_is_the_sorted_one(name: str) -> None:
    data = batch_of(several(torch.float64)[::2])
    # Interleaves the graphs and keeps the order inside each, which decides between equals.
    position = graph_of(data, None).position
    order = (position * 10 + data.batch).argsort()
    back = order.argsort()
    mixed = Data(
        x=data.x[order],
        edge_index=back[data.edge_index],
        batch=data.batch[order],
        cluster=data.cluster[order],
    )
    coarsen = coarsener(name, dtype=torch.float64)
    one, other = coarsen(data), coarsen(mixed)
    close(one.x, other.x)
    assert torch.equal(one.batch, other.batch)
    assert torch.equal(one.edge_index, other.edge_index)
    close(one.lift()[order], other.lift())


@every_select
def test_twice_is_bitwise_the_same(name: str) -> None:
    data = batch_of(several())
    coarsen = coarsener(name)
    one, other = coarsen(data), coarsen(data)
    identical(one.x, other.x, "x")
    assert torch.equal(one.edge_index, other.edge_index)


@every_select
def test_pickle_and_state_dict(name: str) -> None:
    data = graph(12, 30)
    coarsen = coarsener(name)
    expected = coarsen(data).x
    identical(pickle.loads(pickle.dumps(coarsen))(data).x, expected, "x")
    identical(copy.deepcopy(coarsen)(data).x, expected, "x")
    other = coarsener(name, seed=1)
    file = io.BytesIO()
    torch.save(coarsen.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    identical(other(data).x, expected, "x")


@every_select
def test_card_says_what_is_so(name: str) -> None:
    card, data = select.card(name), batch_of(several())
    coarse = coarsener(name)(data)
    assert set(coarse.losses) == set(card.losses)
    share = dense(coarse)
    hard = bool(((share == 0) | (share == 1)).all())
    assert hard == (card.kind in ("drop", "partition"))
    if card.kind == "drop":
        assert int(share.sum(0).max()) == 1
        assert int((share.sum(1) == 0).sum()) > 0
    elif card.kind in ("partition", "soft"):
        close(share.sum(1), torch.ones(data.num_nodes))
    if card.learnable:
        assert "channels" in select.settings(name)
    assert card.source
    assert card.summary.endswith(".")


@pytest.mark.parametrize("name", DROPS)
def test_kept_nodes_stay_in_the_order_of_the_graph(name: str) -> None:
    coarse = coarsener(name)(graph(30, 60))
    kept = coarse.clusters.assignment[coarse.clusters.assignment >= 0]
    assert torch.equal(kept, torch.arange(coarse.num_nodes))


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5, 0.7, 1 / 3, 1.0, 1e-9, 1, 4, 1000])
def test_how_many_a_ratio_keeps(ratio: float | int) -> None:
    from fractions import Fraction

    for n in (0, 1, 2, 3, 10, 30, 100):
        kept = int(to_keep(graph_of(graph(n, 0), None), ratio))
        if isinstance(ratio, int):
            assert kept == min(ratio, n)
        else:
            exact = Fraction(ratio).limit_denominator(1_000_000) * n
            assert kept == max(-(-exact.numerator // exact.denominator), min(n, 1))


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("order", ["degree", "random", "score"])
def test_centres_are_far_apart_and_near_to_everyone(k: int, order: str) -> None:
    data = graph(40, 60, seed=3)
    torch.manual_seed(0)
    coarse = Coarsen("k_mis", carry={"cluster": None}, k=k, order=order, channels=4)(data)
    near = adjacency(data) + torch.eye(40)
    reach = torch.linalg.matrix_power(near, k) > 0
    assignment = coarse.clusters.assignment
    assert bool((assignment >= 0).all())
    row, col = data.edge_index
    rank = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    centre = independent(row, col, rank, k).nonzero()[:, 0]
    assert torch.equal(reach[centre][:, centre], torch.eye(len(centre), dtype=torch.bool))
    assert bool(reach[centre].any(0).all())
    # Every cluster is inside the k steps around one of its nodes, and connected.
    for c in range(coarse.num_nodes):
        members = (assignment == c).nonzero()[:, 0]
        assert bool(reach[members][:, members].all(1).any())
        inside = near[members][:, members]
        assert bool((torch.linalg.matrix_power(inside, len(members)) > 0).all())


def test_a_path_is_strided() -> None:
    path = Data(x=torch.ones(9, 1), edge_index=torch.stack([torch.arange(8), torch.arange(1, 9)]))
    assert Coarsen("k_mis", k=2)(path).num_nodes in (2, 3)
    assert Coarsen("graclus")(path).num_nodes in (5, 6)


def test_asap_keeps_the_fittest() -> None:
    data = graph(15, 40)
    coarsen = coarsener("asap")
    coarse = coarsen(data)
    assert coarse.num_nodes == 8
    share = dense(coarse)
    close(share.sum(0), torch.ones(8))  # attention
    assert coarse.gate is not None
    rest = coarsener("asap", ratio=15)(data)
    assert rest.gate is not None
    close(coarse.gate.sort().values, rest.gate.topk(8).values.sort().values)


def test_given_numbers_may_be_anything() -> None:
    data = batch_of([graph(4, 5), graph(3, 4, 1)])
    data.cluster = torch.tensor([9, 9, -1, 2, 9, 2, 2])
    coarse = Coarsen("given")(data)
    assert coarse.clusters.assignment.tolist() == [0, 0, -1, 1, 2, 3, 3]
    assert coarse.batch.tolist() == [0, 0, 1, 1]


def test_given_may_be_soft() -> None:
    data = batch_of([graph(4, 5), graph(3, 4, 1)])
    data.share = normal(7, 2).square().float()
    del data.cluster
    coarse = Coarsen("given", key="share")(data)
    close(coarse.x[:2], data.share[:4].T @ data.x[:4])


def test_random_controls_draw_anew_or_the_same() -> None:
    data = graph(30, 60)
    both: dict[str, dict[str, Any]] = {"random_sparse": {}, "random_dense": {"num_clusters": 3}}
    for name, settings in both.items():
        anew = Coarsen(name, carry={"cluster": None}, **settings)
        torch.manual_seed(0)
        one, other = anew(data).x, anew(data).x
        assert not torch.equal(one, other)
        torch.manual_seed(0)
        identical(anew(data).x, one, "x")
        fixed = Coarsen(name, carry={"cluster": None}, seed=1, **settings)
        identical(fixed(data).x, fixed(data).x, "x")


def test_random_sparse_has_no_favourites() -> None:
    data = graph(10, 20)
    kept = torch.zeros(10)
    for seed in range(400):
        kept += Coarsen("random_sparse", carry={"cluster": None}, seed=seed)(data).clusters.assignment >= 0
    assert kept.min() > 160
    assert kept.max() < 240


@pytest.mark.parametrize("name", [name for name in SOFT if "hidden" in select.settings(name)])
def test_temperature_and_hidden(name: str) -> None:
    made = select.build(name, channels=4, num_clusters=2, hidden=8, temperature=0.5)
    sharp = select.build(name, channels=4, num_clusters=2, hidden=8, temperature=1e-3)
    sharp.load_state_dict(made.state_dict())
    found = graph_of(graph(10, 20), None)
    entropies = [torch.special.entr(s(found).clusters.assignment).sum() for s in (made, sharp)]
    assert entropies[1] < entropies[0]


def test_unknown_names_and_settings() -> None:
    with pytest.raises(
        ValueError, match=r"no select is named 'topk'. Did you mean 'top_k'\? There are: asap"
    ):
        select.build("topk")
    with pytest.raises(
        TypeError, match="top_k has no setting 'rate'; its settings are: channels, ratio, gate"
    ):
        select.build("top_k", channels=4, rate=1)
    with pytest.raises(TypeError, match="top_k needs channels"):
        select.build("top_k")
    with pytest.raises(TypeError, match='k_mis needs channels with order="score"'):
        select.build("k_mis", order="score")
    with pytest.raises(ValueError, match="ratio must be in"):
        select.build("sag", channels=4, ratio=1.5)
    with pytest.raises(TypeError, match="ratio must be a float"):
        select.build("sag", channels=4, ratio="half")
    with pytest.raises(ValueError, match="gate must be one of tanh, sigmoid"):
        select.build("top_k", channels=4, gate="relu")
    assert select.build("graclus", channels=4).card.name == "graclus"


def test_one_of_your_own(monkeypatch: pytest.MonkeyPatch) -> None:
    forgets(monkeypatch, select._registry._selects)

    @select.register("first_node", "drop")
    class FirstNode(select.Select):
        """Keeps the first node of each graph."""

        def forward(self, graph: select.Graph) -> select.Selection:
            own = torch.arange(graph.num_nodes)
            clusters, _ = select.partition(graph, torch.where(graph.position == 0, own, -1))
            return select.Selection(clusters)

    data = batch_of(several())
    coarse = Coarsen("first_node", carry={"cluster": None})(data)
    close(coarse.x, data.x[data.ptr[:-1]])
    with pytest.raises(ValueError, match="the name 'first_node' is taken"):
        select.register("first_node", "drop")(type("Other", (select.Select,), {}))
