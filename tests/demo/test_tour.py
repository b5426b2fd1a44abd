"""The whole demo with little training, as `polypool demo` runs it."""

import re
import struct
import sys
from pathlib import Path

import pytest
import torch

from polypool import demo
from polypool.cli import main
from polypool.demo import budget

PICTURES = {
    "images-heads.png",
    "images-maps.png",
    "sentences-similarity.png",
    "sentences-tokens.png",
    "graphs-readouts.png",
    "graphs-contributions.png",
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "FULL", budget.TINY)


@pytest.mark.usefixtures("quick", "no_network")
def test_demo_prints_tables_and_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    out = tmp_path / "deep" / "page"
    assert main(["demo", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    for title in (
        "Heads on the digits",
        "Class activation maps of the mean head",
        "The map of every pooled head",
        "Poolings of the same tokens",
        "Readouts on the atlas",
        "One object",
    ):
        assert title in said
    for row in ("flatten +46,090", r"\(node and edge counts\) +- +0\.807", "mean +384 +24 of 24"):
        assert re.search(row, said)
    assert re.search(r"mean +\d+ +\d+ +\d+ +-", said)  # one object on images, sentences and graphs
    gaps = re.findall(r"(?:difference|within)[a-z0-9 ]*:? (\d\.\de[+-]\d\d)\.", " ".join(said.split()))
    assert len(gaps) == 4, "images twice, sentences, graphs: what is added up is the score"
    assert max(map(float, gaps)) <= 1e-5
    page = (out / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r'src="([^"]+)"', page)) == PICTURES
    assert {path.name for path in out.iterdir()} == PICTURES | {"index.html"}
    for name in PICTURES:
        head = (out / name).read_bytes()[:24]
        assert head.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", head[16:])
        assert width > 600
        assert height > 250
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("quick", "no_network")
def test_without_a_model_the_rest_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path / "out"), "--model", str(tmp_path / "none")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Left out:" in said
    assert "holds no model" in said
    assert "Readouts on the atlas" in said
    assert "Left out:" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("below", ["", "further"])
def test_an_out_that_is_a_file_is_an_error_before_any_work(
    below: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("")
    assert main(["demo", "--out", str(tmp_path / "taken" / below)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("polypool: --out must be a folder")
    assert said.err.count("\n") == 1


@pytest.mark.usefixtures("quick")
def test_a_missing_package_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "networkx", None)
    for name in ("tour", "graphs"):
        monkeypatch.delitem(sys.modules, f"polypool.demo.{name}", raising=False)
        monkeypatch.delattr(demo, name, raising=False)
    assert main(["demo", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "the demo needs networkx" in said
    assert said.count("\n") == 1
