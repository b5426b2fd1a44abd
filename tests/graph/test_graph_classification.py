"""The comparison: its sets, folds, statistics and protocols, and the command."""

import importlib.util
import io
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import SumAggregation
from torch_geometric.utils import from_networkx
from typer.testing import CliRunner

import polypool as pp
from polypool.graph.compare import Entry, GraphSet, Report, Settings, compare, entries, load, paired
from polypool.graph.compare.intervals import student
from polypool.graph.compare.models import GIN, Weighted
from polypool.graph.compare.protocol import Curves, folds, train
from polypool.graph.compare.report import Score, best_epoch
from tests.support import close, identical, integers, normal, shared_data

EXAMPLE = Path(__file__).parents[2] / "examples" / "graph_classification.py"
TINY = Settings(epochs=2, folds=3, seeds=2, hidden=8, layers=3, batch=8)


@pytest.fixture(scope="module")
def atlas() -> GraphSet:
    return load("atlas")


@pytest.fixture(scope="module")
def small() -> GraphSet:
    return load("atlas", limit=12)


@pytest.fixture(scope="module")
def report(small: GraphSet) -> Report:
    return compare(small, entries(["sum", "mean+max"], ["top_k", "graclus"]), TINY)


# Sets of graphs.


def edges_of(data: GraphSet, graph: int) -> set[tuple[int, int]]:
    one = data.take(torch.tensor([graph]))
    return {(int(a), int(b)) for a, b in one.edge_index.t()}


def test_atlas(atlas: GraphSet) -> None:
    from polypool.demo import graphs as demo

    data, listed = atlas, demo.atlas()
    assert len(data) == len(listed) == 1252
    assert data.classes == 2
    for number in (0, 300, 1251):
        place = {node: i for i, node in enumerate(listed[number])}
        wanted = {(place[a], place[b]) for a, b in listed[number].edges}
        assert edges_of(data, number) == wanted | {(b, a) for a, b in wanted}
        assert bool(data.y[number]) == demo.has_four_clique(listed[number])
    degree = torch.bincount(data.edge_index[1], minlength=len(data.x))
    identical(data.x.argmax(1), degree, "degrees are the features")


def test_taken_graphs_are_pygs_batch(small: GraphSet) -> None:
    chosen = torch.tensor([7, 0, 22, 7])
    batch = small.take(chosen, torch.float64)
    alone = []
    for k in range(4):
        one = small.take(chosen[k : k + 1], torch.float64)
        alone.append(Data(x=one.x, edge_index=one.edge_index, y=one.y))
    wanted = next(iter(DataLoader(alone, batch_size=4)))
    for key in ("x", "edge_index", "batch", "ptr", "y"):
        identical(batch[key], wanted[key], key)
    assert batch.num_graphs == 4


def test_limit_keeps_every_class(small: GraphSet, atlas: GraphSet) -> None:
    assert torch.bincount(small.y).tolist() == [12, 12]
    first = int((atlas.y == 1).nonzero()[0])
    assert edges_of(small, int((small.y == 1).nonzero()[0])) == edges_of(atlas, first)


TEXT = "2\n3 0\n5 2 1 2\n7 1 0 0.5 0.25\n5 1 0\n2 4\n9 1 1\n9 1 0\n"


def test_text_form(tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text(TEXT, encoding="ascii")
    data = load(tmp_path / "two.txt")
    assert (data.name, data.y.tolist(), data.nodes.tolist(), data.edges.tolist()) == (
        "two",
        [0, 1],
        [0, 3, 5],
        [0, 4, 6],
    )
    assert data.x.argmax(1).tolist() == [0, 1, 0, 2, 2]
    assert edges_of(data, 0) == {(0, 1), (1, 0), (0, 2), (2, 0)}
    assert bool((data.edge_index[1].diff() >= 0).all())
    (tmp_path / "cut.txt").write_text(TEXT[:20], encoding="ascii")
    with pytest.raises(ValueError, match="is not in the text form: the number of graphs"):
        load(tmp_path / "cut.txt")


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("raw", [True, False])
def test_tu_folder(tmp_path: Path, labels: bool, raw: bool) -> None:
    folder = tmp_path / "raw" if raw else tmp_path
    folder.mkdir(exist_ok=True)
    rows = {
        "A": "1, 2\n2, 1\n1, 3\n3, 1\n4, 5\n5, 4\n",
        "graph_indicator": "1\n1\n1\n2\n2\n",
        "graph_labels": "-1\n1\n",
    } | ({"node_labels": "5\n7\n5\n9\n9\n"} if labels else {})
    for part, lines in rows.items():
        (folder / f"TOY_{part}.txt").write_text(lines, encoding="ascii")
    data = load(tmp_path)
    assert (data.name, data.y.tolist(), data.nodes.tolist()) == ("TOY", [0, 1], [0, 3, 5])
    assert edges_of(data, 0) == {(0, 1), (1, 0), (0, 2), (2, 0)}
    assert edges_of(data, 1) == {(0, 1), (1, 0)}
    if labels:
        assert data.x.argmax(1).tolist() == [0, 2, 0, 4, 4]
    else:
        assert data.x.argmax(1).tolist() == [2, 1, 1, 1, 1]


def test_npz_of_splits(tmp_path: Path) -> None:
    held: dict[str, Any] = {}
    for split, ends in (("tr", [[2, 0, 1], [2, 1, 0]]), ("te", [[0], [0]])):
        nodes = 3 if split == "tr" else 1
        held |= {
            f"{split}_x": np.arange(nodes, dtype=np.float32)[:, None],
            f"{split}_ptr": np.array([0, 2, 3]) if split == "tr" else np.array([0, 1]),
            f"{split}_edge_index": np.array(ends),
            f"{split}_y": np.array([1, 0]) if split == "tr" else np.array([2]),
        }
    np.savez(tmp_path / "set.npz", **held)
    data = load(tmp_path / "set.npz")
    assert (data.y.tolist(), data.nodes.tolist(), data.edges.tolist()) == (
        [1, 0, 2],
        [0, 2, 3, 4],
        [0, 2, 3, 4],
    )
    assert [edges_of(data, k) for k in range(3)] == [{(0, 1), (1, 0)}, {(0, 0)}, {(0, 0)}]
    np.savez(tmp_path / "other.npz", tr_x=np.zeros(1))
    with pytest.raises(ValueError, match="must hold x, ptr, edge_index and y for each split; found tr_x"):
        load(tmp_path / "other.npz")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no graphs at"):
        load(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"holds no NAME_A\.txt"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "graphs", "nodes", "features", "classes"),
    [
        ("MUTAG.txt", 188, 3371, 7, [63, 125]),
        ("PROTEINS.txt", 1113, 43471, 3, [663, 450]),
        ("gcb_easy_small.npz", 300, None, 5, [100, 100, 100]),
    ],
)
def test_sets_that_people_use(
    name: str, graphs: int, nodes: int | None, features: int, classes: list[int]
) -> None:
    data = load(shared_data(name))
    assert (len(data), data.features) == (graphs, features)
    assert nodes is None or len(data.x) == nodes
    assert sorted(torch.bincount(data.y).tolist()) == sorted(classes)
    ends = torch.bucketize(data.edge_index, data.nodes[1:], right=True)
    assert torch.equal(ends[0], ends[1])  # no edge between two graphs
    batch = data.take(torch.arange(len(data)))
    identical(batch.edge_index, data.edge_index, "all graphs in their order")
    pairs = {(int(a), int(b)) for a, b in data.edge_index[:, : int(data.edges[20])].t()}
    assert pairs == {(b, a) for a, b in pairs}


@pytest.mark.slow
def test_mutag_is_the_same_in_every_fold() -> None:
    settings = Settings(epochs=10, double=True, protocols=("test",))
    report = compare(load(shared_data("MUTAG.txt")), entries(["sum", "mean", "max"]), settings)
    for name in ("sum", "mean", "max"):
        assert report.same_folds(name)
        gap = report.loss_gap(name)
        assert gap is not None
        assert gap < 1e-9


# Folds and statistics.


def test_folds_are_stratified() -> None:
    y = torch.tensor([0] * 63 + [1] * 125)
    parts = folds(y, 10, seed=0)
    assert sorted(torch.cat(parts).tolist()) == list(range(188))
    assert {len(part) for part in parts} == {18, 19}
    assert {int((y[part] == 0).sum()) for part in parts} == {6, 7}
    assert all(torch.equal(a, b) for a, b in zip(parts, folds(y, 10, seed=0), strict=True))
    assert not torch.equal(parts[0], folds(y, 10, seed=1)[0])
    with pytest.raises(ValueError, match="every class must have at least 4 graphs"):
        folds(torch.tensor([0, 0, 0, 1, 1, 1, 1]), 4, seed=0)


def test_points_of_students_distribution() -> None:
    table = {1: 12.706, 2: 4.303, 4: 2.776, 9: 2.262, 49: 2.010, 1000: 1.962}
    for freedom, point in table.items():
        assert student(freedom) == pytest.approx(point, abs=5e-4)


def test_paired_interval() -> None:
    found = paired([0.9, 0.8, 0.7], [0.8, 0.8, 0.6])
    spread = 4.3027 * math.sqrt(0.01 / 3) / math.sqrt(3)  # variance of (0.1, 0, 0.1) is 1 / 300
    assert found.mean == pytest.approx(0.2 / 3)
    assert found.high - found.mean == pytest.approx(spread, rel=1e-3)
    wide = paired([0.9, 0.8, 0.7], [0.8, 0.8, 0.6], test_share=0.5)
    assert (wide.high - wide.mean) / spread == pytest.approx(2.0, rel=1e-3)  # sqrt(1 / 3 + 1) / sqrt(1 / 3)
    assert paired([1.0, 1.0], [0.5, 0.5]).excludes_zero
    assert not found.excludes_zero
    with pytest.raises(ValueError, match="must hold the same runs, two or more; found 1 and 1"):
        paired([1.0], [1.0])


def test_epochs_are_chosen_as_the_protocols_say() -> None:
    curves = [Curves(test=[0.5, 0.9, 0.7]), Curves(test=[0.8, 0.4, 0.8])]
    assert best_epoch(curves, 2) == Score([0.7, 0.8], [3])  # not the best of each fold
    assert best_epoch(curves, 1) == Score([0.9, 0.8], [2, 1])
    inside = Curves(test=[0.1, 0.2, 0.3], chosen=[(0.8, 0.5), (0.9, 0.7), (0.9, 0.6)])
    assert inside.selected == 0.3


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="epochs must be >= 1; found 0"):
        Settings(epochs=0)
    with pytest.raises(ValueError, match="protocols must be some of test, inside"):
        Settings(protocols=("validation",))
    with pytest.raises(ValueError, match="folds must be >= 3"):
        Settings(folds=2)


# Networks.


def test_gin_is_the_papers_sum_of_scores(small: GraphSet) -> None:
    """A linear map of all layers side by side is a score per layer, added up."""
    torch.manual_seed(0)
    net = GIN(small.features, 2, 8, 3, 0.0, lambda _: SumAggregation()).eval()
    batch = small.take(torch.arange(6))
    layers = [batch.x, *net.layers(batch.x, batch.edge_index)]
    parts = net.classify.weight.split([one.shape[1] for one in layers], dim=1)
    pooled = [SumAggregation()(one, batch.batch) for one in layers]
    wanted = sum(a @ w.t() for a, w in zip(pooled, parts, strict=True)) + net.classify.bias
    close(net(batch)[0].detach(), wanted.detach(), "logits")


def test_weighted_gin() -> None:
    from torch_geometric.nn import GINConv

    linear = nn.Linear(4, 3).double()
    x, edge_index = normal(6, 4), integers(6, 2, 12)
    conv = GINConv(linear)  # which draws the network anew
    close(Weighted(linear)(x, edge_index), conv(x, edge_index), "no weights")
    weight = normal(12).abs()
    dense = torch.zeros(6, 6).double().index_put((edge_index[1], edge_index[0]), weight, accumulate=True)
    close(Weighted(linear)(x, edge_index, weight), linear(x + dense @ x), "weights")


# The comparison.


def test_same_numbers_as_pyg(report: Report) -> None:
    for name in ("sum", "mean+max"):
        gap = report.loss_gap(name)
        assert gap is not None
        assert gap < 1e-4
    assert report["PyG sum"].rival is None
    assert report.loss_gap("PyG sum") is None


def test_everybody_takes_part(report: Report) -> None:
    listed = [one.name for one in report.results]
    assert listed == [
        "sum", "PyG sum", "mean+max", "PyG mean+max",
        "no coarsening", "top_k", "PyG top_k", "graclus", "random_sparse",
    ]  # fmt: skip
    for one in report.results:
        for protocol in ("test", "inside"):
            assert len(one.scores[protocol].runs) == 6
            assert len(one.curves[protocol]) == 6
        assert one.seconds > 0
    assert report.difference("graclus", "inside") is not None
    assert report["PyG top_k"].rival == "top_k"
    assert report.difference("random_sparse", "test") is None


def test_runs_repeat(small: GraphSet) -> None:
    entry = entries(["mean"])[0]
    split = torch.arange(12), torch.arange(12, 24), None
    before = torch.random.get_rng_state()
    first, second = (train(entry, small, TINY, split, seed=3) for _ in range(2))
    assert (first.loss, first.test) == (second.loss, second.test)
    assert train(entry, small, TINY, split, seed=4).loss != first.loss
    assert torch.equal(before, torch.random.get_rng_state())


def test_test_graphs_are_never_trained_on(small: GraphSet) -> None:
    """A network that remembers what it saw in training sees none of the test graphs."""
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(2))

        def forward(self, batch: Any) -> tuple[Tensor, Tensor]:
            if self.training:
                seen.append(batch.x[:, 0])
            return self.bias.expand(batch.num_graphs, 2), self.bias.new_zeros(())

    marked = GraphSet(
        "marked",
        torch.arange(len(small.x)).float()[:, None],
        small.edge_index,
        small.nodes,
        small.edges,
        small.y,
    )
    train(
        Entry("spy", lambda *_: Spy()),
        marked,
        TINY,
        (torch.arange(8), torch.arange(8, 16), torch.arange(16, 24)),
        0,
    )
    assert int(torch.cat(seen).max()) < int(small.nodes[8])


def test_names_are_checked(small: GraphSet) -> None:
    with pytest.raises(ValueError, match="no pooling is named 'averge'"):
        entries(["averge"])
    with pytest.raises(ValueError, match="no select is named 'top-k'"):
        entries(selects=["top-k"])
    twice = entries(["mean"])
    with pytest.raises(ValueError, match="entries must have different names"):
        compare(small, [*twice, *twice], TINY)


@pytest.mark.parametrize("name", [name for name in pp.graph.select.names() if name != "given"])
def test_every_select_trains(small: GraphSet, name: str) -> None:
    entry = next(one for one in entries(selects=[name]) if one.name == name)
    curves = train(entry, small, TINY, (torch.arange(16), torch.arange(16, 24), None), 0)
    assert all(math.isfinite(loss) for loss in curves.loss)


# The command.


@pytest.fixture(scope="module")
def command() -> ModuleType:
    spec = importlib.util.spec_from_file_location("graph_classification", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(command: ModuleType, *arguments: str) -> Any:
    import typer

    app = typer.Typer()
    app.command()(command.main)
    return CliRunner().invoke(app, list(arguments))


def test_command(command: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "toy.txt").write_text(toy(), encoding="ascii")
    arguments = [
        "--data",
        str(tmp_path / "toy.txt"),
        "--readouts",
        "sum, mean",
        "--selects",
        "k_mis",
        "--out",
    ]
    done = run(
        command,
        *arguments,
        str(tmp_path / "out"),
        "--epochs",
        "2",
        "--folds",
        "3",
        "--hidden",
        "4",
        "--double",
    )
    assert done.exit_code == 0, done.output
    for part in (
        "toy: 18 graphs",
        "PyG mean",
        "random_sparse",
        "the same accuracy in every fold and epoch",
        "$ ",
    ):
        assert part in done.output
    found = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert found["settings"]["epochs"] == 2
    assert found["settings"]["double"] is True
    first = found["results"][0]
    assert first["name"] == "sum"
    assert "curves" not in first
    assert len(first["scores"]["test"]["runs"]) == 3
    assert first["differences"]["test"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert first["all folds as the rival's"] is True
    picture = (tmp_path / "out" / "comparison.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000


def toy() -> str:
    """Paths and stars of four to six nodes."""
    lines = ["18"]
    for k in range(18):
        size, star = 4 + k % 3, k % 2
        lines.append(f"{size} {star}")
        for node in range(size):
            if star:
                others = list(range(1, size)) if node == 0 else [0]
            else:
                others = [other for other in (node - 1, node + 1) if 0 <= other < size]
            lines.append(" ".join(map(str, [0, len(others), *others])))
    return "\n".join(lines) + "\n"


def test_command_says_what_is_wrong(command: ModuleType, tmp_path: Path) -> None:
    for arguments, words in (
        (["--data", str(tmp_path / "absent")], "no graphs at"),
        (["--readouts", "averge"], "no pooling is named"),
        (["--readouts", ""], "nothing to compare"),
        (["--protocol", "none"], "protocols must be some of"),
        (["--folds", "2"], "folds must be >= 3"),
    ):
        done = run(command, *arguments)
        assert done.exit_code == 2
        assert words in " ".join(done.output.replace("│", " ").split())


def test_published_numbers_stand_beside(command: ModuleType, report: Report) -> None:
    from dataclasses import replace

    from rich.console import Console

    for name, told in (("MUTAG", True), ("atlas", False)):
        console = Console(width=200, record=True, file=io.StringIO())
        console.print(command.table(replace(report, data=name), "readout"))
        assert ("89.4 ± 5.6" in console.export_text()) is told
    console.print(command.table(replace(report, data="MUTAG"), "select"))
    assert "published" not in console.export_text()


def test_selects_of_all(command: ModuleType) -> None:
    assert "given" not in command._selects("all")
    assert "min_cut" in command._selects("all")


def test_networkx_agrees(atlas: GraphSet) -> None:
    """The graphs are what PyG's own converter makes of them."""
    from polypool.demo import graphs as demo

    one = demo.atlas()[100]
    wanted = from_networkx(one)
    assert edges_of(atlas, 100) == {(int(a), int(b)) for a, b in wanted.edge_index.t()}
