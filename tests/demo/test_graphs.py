"""The graph section in parts, on networks that have hardly been trained."""

import networkx as nx
import pytest
import torch

import polypool as pp
from polypool.demo import graphs, pictures
from polypool.explain.pictures import style

LOLLIPOP, CYCLE = nx.lollipop_graph(4, 3), nx.cycle_graph(6)


@pytest.fixture(scope="module")
def atlas() -> list[nx.Graph]:
    return graphs.atlas()


@pytest.fixture(scope="module")
def labels(atlas: list[nx.Graph]) -> list[bool]:
    return [graphs.has_four_clique(graph) for graph in atlas]


def net(readout: str, pools: dict[str, pp.Pooling]) -> graphs.GIN:
    torch.manual_seed(0)
    pool = pools[readout] if readout in pools else pp.build(readout, channels=graphs.CHANNELS)
    return graphs.GIN(pools["sum"], pool).eval()


@pytest.mark.parametrize(
    ("graph", "answer"),
    [
        (nx.complete_graph(4), True),
        (nx.complete_graph(5), True),
        (nx.complete_graph(3), False),
        (nx.cycle_graph(5), False),
        (nx.from_edgelist([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3)]), False),
    ],
)
def test_has_four_clique(graph: nx.Graph, answer: bool) -> None:
    assert graphs.has_four_clique(graph) is answer


def test_the_baselines_are_the_published_ones(atlas: list[nx.Graph], labels: list[bool]) -> None:
    assert (len(atlas), sum(labels)) == (1252, 401)
    assert graphs.majority(labels) == pytest.approx(0.680, abs=5e-4)
    assert graphs.best_by_counts(atlas, labels) == pytest.approx(0.807, abs=5e-4)


def test_baselines_by_hand() -> None:
    path, triangle = nx.path_graph(3), nx.complete_graph(3)
    both = [path, path, path, triangle]
    assert graphs.majority([True, False, True, True]) == 0.75
    assert graphs.best_by_counts(both, [True, False, True, False]) == 0.75


def test_a_batch_knows_degrees_and_neighbours(pools: dict[str, pp.Pooling]) -> None:
    batch = graphs.collate([nx.path_graph(3), nx.complete_graph(4)], [False, True])
    assert batch.nodes.counts.tolist() == [3, 4]
    assert batch.neighbours.counts.tolist() == [1, 2, 1, 3, 3, 3, 3]
    received = pools["sum"](batch.neighbours.with_values(torch.arange(7.0)[:, None]))
    assert received[:, 0].tolist() == [1, 2, 1, 15, 14, 13, 12]


@pytest.mark.parametrize("readout", graphs.READOUTS)
def test_the_order_of_nodes_does_not_matter(readout: str, pools: dict[str, pp.Pooling]) -> None:
    graph = nx.barbell_graph(3, 1)
    shuffled = nx.Graph()
    shuffled.add_nodes_from([4, 1, 6, 0, 3, 5, 2])
    shuffled.add_edges_from(graph.edges)
    with torch.no_grad():
        a, b = (net(readout, pools)(graphs.collate([g], [False])) for g in (graph, shuffled))
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("readout", ["sum", "mean", "attention"])
def test_node_contributions_sum_to_the_logit(readout: str, pools: dict[str, pp.Pooling]) -> None:
    network, graph = net(readout, pools), nx.lollipop_graph(4, 3)
    drawn = graphs.judged(network, graph, True)
    with torch.no_grad():
        logit = network(graphs.collate([graph], [True])).item()
    assert len(drawn.found.values) == 7
    assert drawn.margin == pytest.approx(logit - network.classify.bias.item(), abs=1e-6)
    assert drawn.sum == pytest.approx(drawn.margin, abs=1e-5)


def test_graphs_side_by_side_share_a_scale(pools: dict[str, pp.Pooling]) -> None:
    network = net("sum", pools)
    drawn = [graphs.judged(network, graph, graphs.has_four_clique(graph)) for graph in (LOLLIPOP, CYCLE)]
    figure = pictures.node_contributions(drawn)
    assert len(figure.axes) == 2, "the nodes bear their numbers: no bar"
    for axes, one in zip(figure.axes, drawn, strict=True):
        assert [text.get_text() for text in axes.texts] == [f"{x:+.2f}" for x in one.found.values.tolist()]
    thick = [[line.get_linewidth() for line in axes.lines].count(2.6) for axes in figure.axes]
    assert thick == [6, 0]
    end = max(one.found.values.abs().max().item() for one in drawn)
    for axes, one in zip(figure.axes, drawn, strict=True):
        colours = torch.as_tensor(axes.collections[0].get_facecolor())[:, :3] * 255
        expected = [style.rgb(x, end) for x in one.found.values.tolist()]
        torch.testing.assert_close(colours, torch.tensor(expected).double())


def test_two_graphs_are_chosen_even_where_all_answers_are_wrong(
    atlas: list[nx.Graph], labels: list[bool], pools: dict[str, pp.Pooling]
) -> None:
    test = list(range(900, 1200))
    contrary = net("sum", pools)
    torch.nn.init.zeros_(contrary.classify.weight)
    torch.nn.init.constant_(contrary.classify.bias, -1.0)
    with_clique, without = graphs.chosen_graphs(contrary, atlas, labels, test)
    assert (labels[with_clique], labels[without]) == (True, False)
    assert len(atlas[with_clique]) == len(atlas[without]) == 7
