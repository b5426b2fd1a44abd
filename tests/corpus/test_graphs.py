"""Graphs: the files they come from, the network, and what is pooled."""

import json
import pickle
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData, InMemoryDataset

import polypool as pp
from polypool.corpus import CorpusError, embed, open_embeddings
from polypool.corpus.adapter import Row, Source, Unreadable, no_tick
from polypool.corpus.graphs import GraphAdapter
from polypool.corpus.networks import load_network
from polypool.corpus.plan import make_plan, read_shard
from polypool.corpus.stored_graphs import as_graph
from tests.corpus.nets import CHANNELS
from tests.support import close, integers, normal, shared_data

NETS = "tests.corpus.nets"
MESSAGES = f"{NETS}:messages_of_3"


def graph(nodes: int, seed: int, edges: int = 6) -> dict[str, Tensor]:
    return {
        "x": normal(nodes, 3, seed=seed, dtype=torch.float32),
        "edge_index": integers(max(nodes, 1), 2, edges if nodes else 0, seed=seed),
        "y": torch.tensor([seed]),
    }


SIZES = (4, 1, 7, 3, 12, 5)
GRAPHS = [graph(nodes, seed) for seed, nodes in enumerate(SIZES)]


class Saved(InMemoryDataset):  # type: ignore[misc]
    """A data set of PyG, as users have them on their disks."""

    def __init__(self, root: str, graphs: list[Data]) -> None:
        self.graphs = graphs
        super().__init__(root)
        self.load(self.processed_paths[0])

    @property
    def processed_file_names(self) -> str:
        return "data.pt"

    def process(self) -> None:
        self.save(self.graphs, self.processed_paths[0])


def saved(folder: Path, form: str) -> Path:
    """The graphs in a file or folder of some form."""
    data = [Data(**each) for each in GRAPHS]
    if form == "dataset":
        Saved(str(folder / "dataset"), data)
        return folder / "dataset"
    path = folder / "graphs.pt"
    torch.save(GRAPHS if form == "dicts" else data if form == "data" else tuple(GRAPHS), path)
    return path


def run(inputs: Any, out: Path, **settings: Any) -> Any:
    wanted: dict[str, Any] = {"workers": 1, "device": "cpu", "progress": False} | settings
    return embed(inputs, out, kind="graphs", **wanted)


def rows_of(sources: list[Source], shard_rows: int = 100) -> list[Row | Unreadable]:
    plan = make_plan(sources, shard_rows)
    return [row for shard in plan.shards for _, row in read_shard(sources, shard)]


@pytest.mark.parametrize("form", ["dicts", "data", "dataset"])
@pytest.mark.parametrize("model", [None, MESSAGES])
def test_vectors_are_the_pooled_nodes(form: str, model: str | None, tmp_path: Path) -> None:
    done = run(saved(tmp_path, form), tmp_path / "out", model=model, pool="mean+max", shard_rows=4)
    vectors = open_embeddings(tmp_path / "out")
    assert done.embedded == len(GRAPHS)
    assert vectors.ids.tolist() == list(range(len(GRAPHS)))
    assert done.tokens == sum(SIZES)
    assert vectors.manifest["versions"][0]["torch-geometric"] == version("torch-geometric")
    pool = pp.build("mean+max")
    network = None if model is None else load_network(model, "cpu")
    for place, each in enumerate(GRAPHS):
        x = each["x"] if network is None else network(each["x"], each["edge_index"])
        close(torch.from_numpy(vectors[place]), pool(pp.Nodes(x))[0])


def test_one_graph_alone_in_a_file(tmp_path: Path) -> None:
    for number, content in enumerate((GRAPHS[0], Data(**GRAPHS[0]))):
        torch.save(content, tmp_path / f"{number}.pt")
        assert run(tmp_path / f"{number}.pt", tmp_path / f"out{number}").rows == 1


def test_a_folder_of_files_and_the_parts_of_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "set" / "processed").mkdir(parents=True)
    for name, part in (("test", GRAPHS[4:]), ("train", GRAPHS[:4])):
        torch.save(part, tmp_path / "set" / "processed" / f"{name}.pt")
    torch.save("a note", tmp_path / "set" / "processed" / "pre_transform.pt")
    run(tmp_path / "set", tmp_path / "out", shard_rows=3)
    means = torch.stack([each["x"].mean(0) for each in (*GRAPHS[4:], *GRAPHS[:4])])
    close(torch.from_numpy(open_embeddings(tmp_path / "out").matrix()), means)


@pytest.mark.parametrize("model", [MESSAGES, f"{NETS}:centred", f"{NETS}:linear_of_3"])
def test_a_vector_does_not_depend_on_the_graphs_beside_it(model: str, tmp_path: Path) -> None:
    torch.save([*GRAPHS, graph(0, 9)], tmp_path / "graphs.pt")
    adapter = GraphAdapter(model, "mean+std", batch_nodes=16)
    rows = [
        row.content for row in rows_of(adapter.sources([str(tmp_path / "graphs.pt")])) if isinstance(row, Row)
    ]
    adapter.load("cpu")
    together = adapter.encode(rows, no_tick)
    assert together.tokens.tolist() == [*SIZES, 0]
    for place, row in enumerate(rows):
        alone = adapter.encode([row], no_tick).vectors
        close(torch.from_numpy(together.vectors[place : place + 1]), torch.from_numpy(alone))
    assert not together.vectors[-1].any() or "linear" not in model


def test_more_tensors_reach_the_network_where_a_graph_has_them(tmp_path: Path) -> None:
    weighted = [
        {**each, "edge_weight": torch.full((each["edge_index"].shape[1],), 2.0)} for each in GRAPHS[:3]
    ]
    torch.save([*weighted, *GRAPHS[3:]], tmp_path / "graphs.pt")
    run(tmp_path / "graphs.pt", tmp_path / "out", model=MESSAGES)
    network = load_network(MESSAGES, "cpu")
    for place, (each, found) in enumerate(zip(GRAPHS, open_embeddings(tmp_path / "out"), strict=True)):
        weight = weighted[place]["edge_weight"] if place < 3 else None
        close(torch.from_numpy(found), network(each["x"], each["edge_index"], weight).mean(0))


@pytest.mark.parametrize(("features", "width"), [("degree", 1), ("ones", 1)])
def test_graphs_without_features(features: str, width: int, tmp_path: Path) -> None:
    bare = [
        {"num_nodes": nodes, "edge_index": each["edge_index"]}
        for nodes, each in zip(SIZES, GRAPHS, strict=True)
    ]
    torch.save(bare, tmp_path / "graphs.pt")
    with pytest.raises(CorpusError, match="no node features x"):
        run(tmp_path / "graphs.pt", tmp_path / "none")
    run(tmp_path / "graphs.pt", tmp_path / "out", features=features, pool="sum")
    found = open_embeddings(tmp_path / "out").matrix()
    expected = [each["edge_index"].shape[1] for each in GRAPHS] if features == "degree" else list(SIZES)
    assert found.shape == (len(SIZES), width)
    assert found[:, 0].tolist() == expected


def test_graphs_that_do_not_fit_go_to_the_quarantine(tmp_path: Path) -> None:
    x, edges = GRAPHS[0]["x"], GRAPHS[0]["edge_index"]
    wrong: list[Any] = [
        {"edge_index": edges},
        {"x": x, "edge_index": edges + 2},
        {"x": x, "edge_index": edges.float()},
        {"x": x, "edge_index": edges.T},
        {"x": x[:, :2], "edge_index": edges},
        {"x": [1.0], "edge_index": edges},
        {"x": x.to(torch.complex64), "edge_index": edges},
    ]
    torch.save([GRAPHS[1], *wrong, GRAPHS[2]], tmp_path / "graphs.pt")
    done = run(tmp_path / "graphs.pt", tmp_path / "out", model=MESSAGES)
    assert (done.embedded, done.quarantined) == (2, len(wrong))
    lines = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert [line["position"] for line in lines] == [f"graph {number}" for number in range(1, len(wrong) + 1)]
    for line, reason in zip(
        lines,
        [
            "no node features",
            "in [0, 4)",
            "integers (2, E)",
            "integers (2, E)",
            "as in the first",
            "found list",
            "real",
        ],
        strict=True,
    ):
        assert reason in line["reason"]


def test_integers_and_one_number_per_node_are_features() -> None:
    found = as_graph({"x": torch.tensor([1, 2, 3]), "edge_index": torch.zeros(2, 0, dtype=torch.int32)}, "x")
    assert found.x.tolist() == [[1.0], [2.0], [3.0]]
    assert found.edge_index.dtype == torch.int64


def test_a_file_behind_a_url(tmp_path: Path) -> None:
    import fsspec

    torch.save(GRAPHS, tmp_path / "graphs.pt")
    fsspec.filesystem("memory").put(str(tmp_path / "graphs.pt"), "/graphs.pt")
    try:
        run("memory://graphs.pt", tmp_path / "remote")
    finally:
        fsspec.filesystem("memory").rm("/graphs.pt")
    run(tmp_path / "graphs.pt", tmp_path / "local")
    remote, local = (open_embeddings(tmp_path / name).matrix() for name in ("remote", "local"))
    assert np.array_equal(remote, local)


def test_pyg_still_opens_its_own_files(tmp_path: Path) -> None:
    """What is allowed while a file is opened here does not take from what PyG allows itself."""
    before = set(torch.serialization.get_safe_globals())
    run(saved(tmp_path, "data"), tmp_path / "out")
    assert set(torch.serialization.get_safe_globals()) == before


class Harmful:
    """What runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("harm"),))


@pytest.mark.parametrize("form", ["torch", "pickle", "text", "cut off", "hetero", "number"])
def test_files_that_are_not_opened(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "graphs.pt"
    if form == "torch":
        torch.save([*GRAPHS, Harmful()], path)
    elif form == "pickle":
        path.write_bytes(pickle.dumps([Harmful()], protocol=2))
    elif form == "text":
        path.write_text("graphs")
    elif form == "hetero":
        torch.save([HeteroData()], path)
    elif form == "number":
        torch.save(5, path)
    else:
        torch.save(GRAPHS, path)
        path.write_bytes(path.read_bytes()[:-100])
    messages = {
        "torch": "which is not opened",
        "pickle": "not opened",
        "hetero": "not opened",
        "number": "found int",
    }
    with pytest.raises(CorpusError, match=messages.get(form, "no file of torch.save|is a pickle")) as caught:
        run(path, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "harm").exists()
    assert not (tmp_path / "out").exists()


def write_tagged(path: Path, graphs: list[tuple[int, list[str]]]) -> Path:
    lines = [str(len(graphs))]
    for label, nodes in graphs:
        lines += [f"{len(nodes)} {label}", *nodes]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_text_form_of_the_tu_sets(tmp_path: Path) -> None:
    path = write_tagged(
        tmp_path / "two.txt", [(0, ["0 1 1", "2 2 0 2", "1 1 1"]), (1, ["2 0"]), (0, []), (1, ["0 1 0"])]
    )
    run(path, tmp_path / "out", pool="sum", shard_rows=3)
    assert open_embeddings(tmp_path / "out").matrix().tolist() == [[1, 1, 1], [0, 0, 1], [0, 0, 0], [1, 0, 0]]
    adapter = GraphAdapter()
    first = rows_of(adapter.sources([str(path)]))[0]
    assert isinstance(first, Row)
    assert first.content.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]


def test_attributes_behind_the_neighbours_are_features(tmp_path: Path) -> None:
    path = write_tagged(tmp_path / "one.txt", [(0, ["0 1 1 0.5 -1", "1 1 0 1.5 3"])])
    run(path, tmp_path / "out", pool="sum")
    assert open_embeddings(tmp_path / "out").matrix().tolist() == [[1, 1, 2, 2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("graphs\n", "must begin with the number"),
        ("2\n1 0\n0 0\n", "line 4 .* found the end"),
        ("1\n3 0\n0 0\n", "ends within graph 0 of 1"),
        ("1\n1 0\n0 0\n0 0\n", "goes on after its 1 graphs, at line 4"),
        ("1\nx 0\n0 0\n", "line 2 .* must be the nodes and the label"),
        ("0\n", "no graph can be read|is empty"),
    ],
)
def test_a_broken_text_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "graphs.txt").write_text(text)
    with pytest.raises(CorpusError, match=message):
        run(tmp_path / "graphs.txt", tmp_path / "out")


def test_a_broken_line_loses_its_graph_alone(tmp_path: Path) -> None:
    path = write_tagged(tmp_path / "g.txt", [(0, ["0 0"]), (0, ["0 2 1"]), (0, ["x 0"]), (0, ["0 0", "1 0"])])
    done = run(path, tmp_path / "out", pool="sum")
    assert (done.embedded, done.quarantined) == (2, 2)
    text = (tmp_path / "out" / "quarantine.jsonl").read_text()
    assert "line 5 must be" in text
    assert "line 7 must be" in text


def write_tu(folder: Path, indicator: str = "1\n1\n1\n2\n2\n") -> Path:
    folder.mkdir()
    (folder / "TOY_A.txt").write_text("1, 2\n2, 1\n2, 3\n3, 2\n4, 5\n5, 4\n")
    (folder / "TOY_graph_indicator.txt").write_text(indicator)
    (folder / "TOY_graph_labels.txt").write_text("1\n-1\n")
    (folder / "TOY_node_labels.txt").write_text("0\n1\n0\n1\n1\n")
    return folder


@pytest.mark.parametrize("raw", [False, True])
def test_a_folder_of_the_tu_collection(raw: bool, tmp_path: Path) -> None:
    (tmp_path / "TOY").mkdir()
    folder = write_tu(tmp_path / "TOY" / "raw")
    run(tmp_path / "TOY" if raw else folder, tmp_path / "out", pool="sum", shard_rows=1)
    assert open_embeddings(tmp_path / "out").matrix().tolist() == [[2, 1], [0, 2]]


def test_a_tu_folder_that_is_not_sorted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="sorted by graph"):
        run(write_tu(tmp_path / "TOY", "1\n2\n1\n2\n2\n"), tmp_path / "out")


def test_mutag(tmp_path: Path) -> None:
    path = shared_data("MUTAG.txt")
    done = run(path, tmp_path / "out", pool="sum", shard_rows=50)
    found = open_embeddings(tmp_path / "out").matrix()
    assert done.embedded == 188
    assert found.shape == (188, 7)
    assert np.array_equal(found.sum(1), [row.content.x.shape[0] for row in _mutag_rows(path)])
    assert found.sum() == done.tokens == 3371


def _mutag_rows(path: Path) -> list[Row]:
    return [row for row in rows_of(GraphAdapter().sources([str(path)])) if isinstance(row, Row)]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["dataset", "text"])
def test_two_workers_make_the_same_bytes(form: str, tmp_path: Path) -> None:
    if form == "text":
        path = write_tagged(tmp_path / "g.txt", [(0, ["0 0"] * size) for size in (1, 2, 3, 4, 5)])
    else:
        path = saved(tmp_path, "dataset")
    model = MESSAGES if form == "dataset" else None
    for workers in (1, 2):
        run(path, tmp_path / str(workers), workers=workers, shard_rows=2, model=model)
    names = sorted(file.name for file in (tmp_path / "1").glob("*.*"))
    assert names[0] == "manifest.json"
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_settings_make_the_same_adapter(tmp_path: Path) -> None:
    adapter = GraphAdapter(MESSAGES)
    adapter.sources([str(saved(tmp_path, "dicts"))])
    again = GraphAdapter(**json.loads(json.dumps(adapter.settings)))
    again.load("cpu")
    assert again.dimension == CHANNELS


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": f"{NETS}:graph_vectors"}, "a row for each of 2 nodes"),
        ({"model": f"{NETS}:maps"}, "cannot read these graphs"),
        ({"pool": "attention"}, "would be random"),
        ({"features": "labels"}, "features must be one of"),
        ({"batch_nodes": 0}, "batch_nodes must be"),
    ],
)
def test_wrong_settings_are_one_line(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=message) as caught:
        run(saved(tmp_path, "dicts"), tmp_path / "out", **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "message"), [("empty", "holds no graphs"), ("g.csv", "must end in .pt"), ("none.pt", "no file")]
)
def test_wrong_inputs_are_one_line(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "g.csv").write_text("1\n")
    with pytest.raises(CorpusError, match=message):
        run(tmp_path / name, tmp_path / "out")
