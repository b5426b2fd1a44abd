"""Graphs: all small graphs there are, a graph network, and six ways to read it out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import networkx as nx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import polypool as pp
from polypool.demo import pictures
from polypool.demo.report import Picture, Section, Table
from polypool.demo.training import fit
from polypool.explain import NodeContributions, node_contributions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from polypool.demo.budget import Budget

LARGEST_DEGREE = 6
CHANNELS = 32
LAYERS = 3
BATCH = 64
LEARNING_RATE = 0.01
READOUTS = ("sum", "mean", "max", "std", "mean+max+std", "attention")


def atlas() -> list[nx.Graph]:
    """networkx's atlas: all 1,253 graphs with up to 7 nodes, less the one without nodes."""
    return [graph for graph in nx.graph_atlas_g() if len(graph)]


def has_four_clique(graph: nx.Graph) -> bool:
    """Whether some four nodes are all joined to each other."""
    return any(len(clique) >= 4 for clique in nx.find_cliques(graph))


def majority(labels: Sequence[bool]) -> float:
    """Accuracy of always giving the commoner answer."""
    return max(sum(labels), len(labels) - sum(labels)) / len(labels)


def best_by_counts(graphs: Sequence[nx.Graph], labels: Sequence[bool]) -> float:
    """The best that any rule can do that knows only how many nodes and edges a graph has."""
    groups: dict[tuple[int, int], list[bool]] = defaultdict(list)
    for graph, label in zip(graphs, labels, strict=True):
        groups[graph.number_of_nodes(), graph.number_of_edges()].append(label)
    return sum(max(sum(group), len(group) - sum(group)) for group in groups.values()) / len(labels)


@dataclass(frozen=True)
class Batch:
    """Several graphs as one, in two layouts: nodes by graph, and neighbours by node."""

    nodes: pp.Nodes
    neighbours: pp.Clusters
    labels: Tensor


def collate(graphs: Sequence[nx.Graph], labels: Sequence[bool]) -> Batch:
    """Stack graphs; a node's only feature is its degree."""
    degrees: list[int] = []
    batch: list[int] = []
    senders: list[int] = []
    receivers: list[int] = []
    for number, graph in enumerate(graphs):
        place = {node: len(degrees) + i for i, node in enumerate(graph)}
        for a, b in graph.edges:
            senders += [place[a], place[b]]
            receivers += [place[b], place[a]]
        degrees += [graph.degree[node] for node in graph]
        batch += [number] * len(graph)
    features = F.one_hot(torch.tensor(degrees), LARGEST_DEGREE + 1).float()
    edges = torch.tensor([senders, receivers], dtype=torch.int64)
    return Batch(
        pp.Nodes(features, batch=torch.tensor(batch), num_graphs=len(graphs)),
        pp.Clusters(features, edges, num_clusters=len(degrees)),
        torch.tensor(labels, dtype=torch.float32),
    )


class GIN(nn.Module):
    """A graph isomorphism network (Xu et al., 2019) with residual connections.

    A neighbourhood is a cell as well: the message passing is the shared `sum` on a layout of overlapping clusters.
    """

    def __init__(self, neighbour_sum: pp.Pooling, readout: pp.Pooling) -> None:
        super().__init__()
        self.embed = nn.Linear(LARGEST_DEGREE + 1, CHANNELS)
        self.layers = nn.ModuleList(_layer() for _ in range(LAYERS))
        self.epsilon = nn.Parameter(torch.zeros(LAYERS))
        self.neighbour_sum = neighbour_sum
        self.readout = readout
        self.classify = nn.Linear(readout.out_channels(CHANNELS), 1)

    def encode(self, batch: Batch) -> pp.Nodes:
        """The nodes after message passing."""
        h = self.embed(batch.nodes.values)
        for layer, epsilon in zip(self.layers, self.epsilon, strict=True):
            h = h + layer((1 + epsilon) * h + self.neighbour_sum(batch.neighbours.with_values(h)))
        return batch.nodes.with_values(h)

    def forward(self, batch: Batch) -> Tensor:
        return self.classify(self.readout(self.encode(batch)))[:, 0]


def _layer() -> nn.Module:
    return nn.Sequential(
        nn.Linear(CHANNELS, CHANNELS),
        nn.ReLU(),
        nn.Linear(CHANNELS, CHANNELS),
        nn.LayerNorm(CHANNELS),
    )


def train(
    name: str,
    pools: Mapping[str, pp.Pooling],
    batches: Sequence[Batch],
    budget: Budget,
    tick: Callable[[], object],
) -> GIN:
    """Train one network with the named readout."""
    torch.manual_seed(budget.seed)
    net = GIN(pools["sum"], pools[name] if name in pools else pp.build(name, channels=CHANNELS))

    def shuffled(generator: torch.Generator) -> Sequence[Batch]:
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

    def loss(batch: Batch) -> Tensor:
        return F.binary_cross_entropy_with_logits(net(batch), batch.labels)

    fit(net, shuffled, loss, epochs=budget.graph_epochs, rate=LEARNING_RATE, seed=budget.seed, tick=tick)
    return net


@dataclass(frozen=True)
class Judged:
    """A graph, the right answer, and what each of its nodes adds to the network's."""

    graph: nx.Graph
    label: bool
    found: NodeContributions
    margin: float  # logit minus bias, as the network itself has them

    @property
    def sum(self) -> float:
        """What the nodes add up to."""
        return self.found.values.double().sum().item()


def judged(net: GIN, graph: nx.Graph, label: bool) -> Judged:
    """Split the logit of one graph over its nodes."""
    found = node_contributions(net, collate([graph], [label]))
    return Judged(graph, label, found, found.logit.item() - net.classify.bias.item())


@torch.no_grad()
def chosen_graphs(
    net: GIN, graphs: Sequence[nx.Graph], labels: Sequence[bool], test: Sequence[int]
) -> list[int]:
    """Two tested graphs, one with a 4-clique and one without: rightly judged, of 7 nodes and some 12 edges."""
    guesses = (net(collate([graphs[i] for i in test], [labels[i] for i in test])) > 0).tolist()
    wrong = {i for i, guess in zip(test, guesses, strict=True) if guess != labels[i]}

    def unfit(i: int) -> tuple[bool, int, int]:
        return i in wrong, -len(graphs[i]), abs(graphs[i].number_of_edges() - 12)

    return [min((i for i in test if labels[i] == wanted), key=unfit) for wanted in (True, False)]


def section(pools: Mapping[str, pp.Pooling], budget: Budget, tick: Callable[[], object]) -> Section:
    """Train all readouts, compare them with what counting alone can do, and split two logits over their nodes."""
    graphs = atlas()
    labels = [has_four_clique(graph) for graph in graphs]
    order = torch.randperm(len(graphs), generator=torch.Generator().manual_seed(budget.seed))
    parts = [part.tolist() for part in order.chunk(budget.folds)]
    right: dict[str, list[bool]] = {name: [] for name in READOUTS}
    drawn: list[Judged] = []
    for test in parts[: budget.tested_folds]:
        held_out = set(test)
        rest = [i for i in order.tolist() if i not in held_out]
        batches = [
            collate([graphs[i] for i in rest[k : k + BATCH]], [labels[i] for i in rest[k : k + BATCH]])
            for k in range(0, len(rest), BATCH)
        ]
        tested = collate([graphs[i] for i in test], [labels[i] for i in test])
        for name in READOUTS:
            net = train(name, pools, batches, budget, tick)
            with torch.no_grad():
                right[name] += ((net(tested) > 0) == (tested.labels > 0)).tolist()
            if name == "sum" and not drawn:
                two = chosen_graphs(net, graphs, labels, test)
                drawn = [judged(net, graphs[i], labels[i]) for i in two]
    scores = {name: sum(answers) / len(answers) for name, answers in right.items()}
    baselines = {
        "always no": majority(labels),
        "node and edge counts": best_by_counts(graphs, labels),
    }
    worst = max(abs(one.sum - one.margin) for one in drawn)
    numbers = " and ".join(f"{one.margin:+.6f}" for one in drawn)
    positive = sum(labels) / len(labels)
    return Section(
        key="graphs",
        title="Graphs: are there four nodes that all know each other?",
        intro=(
            f"The atlas holds every graph of up to seven nodes, {len(graphs) + 1:,} of them; the one without any "
            f"node is left out. {positive:.0%} contain a 4-clique. A small graph isomorphism network is trained per "
            f"readout and tested on graphs that it never saw. Its messages are poolings too: a node's neighbours are "
            "a cell."
        ),
        code='polypool.build("sum")(polypool.Nodes(vectors, batch=batch))',
        tables=[
            Table(
                title="Readouts on the atlas",
                columns=("readout", "numbers per graph", "accuracy"),
                rows=[
                    *((f"({name})", "-", f"{score:.3f}") for name, score in baselines.items()),
                    *(
                        (name, f"{CHANNELS * (1 + name.count('+'))}", f"{score:.3f}")
                        for name, score in scores.items()
                    ),
                ],
                note=(
                    f"{len(right['sum']):,} graphs, each tested once by a network trained on the other parts "
                    f"({budget.folds} parts). In brackets: what needs no network. The second is the best that any "
                    "rule on those two counts can do."
                ),
            ),
        ],
        facts=[
            (
                "With the sum readout the nodes' contributions add up to the logit minus the bias: on the two drawn "
                f"graphs to {numbers}, to within {worst:.1e}."
            )
        ],
        pictures=[
            Picture(
                "graphs-readouts",
                "Accuracy of each readout",
                "Accuracy of each readout beside two baselines that need no network: always answering no, and "
                "knowing only how many nodes and edges there are.",
                pictures.readouts(scores, baselines),
            ),
            Picture(
                "graphs-contributions",
                "Which nodes speak for a 4-clique",
                "Two graphs that the network never saw. Each node shows what it adds to the logit (red for a "
                "clique, blue against); thick edges belong to a 4-clique. Messages travel, so that a node also "
                "speaks for what it saw around it.",
                pictures.node_contributions(drawn),
            ),
        ],
    )
