"""`polypool sites`: a table, JSON, and mistakes that end in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polypool.cli import main

Capture = pytest.CaptureFixture[str]

MODEL = """
import torch
from torch import nn


def net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(3), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 3),
    )


def sampled():
    return net(), torch.zeros(1, 3, 20, 24)


def prepared():
    return net(), lambda picture: picture


def linear():
    return nn.Sequential(nn.Linear(3, 3))


def number():
    return 3


def misfit():
    return net(), torch.zeros(1, 5, 20, 24)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sited_net.py").write_text(MODEL, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")  # so that no cell is wrapped
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_a_row_for_each_site(capsys: Capture) -> None:
    assert main(["sites", "--model", "sited_net:net", "--size", "31x31"]) == 0
    out = capsys.readouterr().out
    for part in ("2x3x31x31 -> 2x8x15x15", "stride", "max", "uneven bins", "aliasing: stride 2", "4 sites"):
        assert part in out


@pytest.mark.usefixtures("folder")
def test_json(capsys: Capture) -> None:
    assert main(["sites", "--model", "sited_net:sampled", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [site["name"] for site in found] == ["0", "1", "2", "3"]
    assert found[0]["input"] == [1, 3, 20, 24]
    assert len(found[0]["counts"]) == 2
    assert found[3]["kind"] == "global"
    assert main(["sites", "--model", "sited_net:prepared", "--json", "--kind", "down"]) == 0
    assert [site["name"] for site in json.loads(capsys.readouterr().out)] == ["1", "2"]


@pytest.mark.usefixtures("folder")
def test_a_model_without_any(capsys: Capture) -> None:
    assert main(["sites", "--model", "sited_net:linear"]) == 0
    assert "0 sites" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--model", "sited_net"], "--model is written module:callable"),
        (["--model", "sited_net:nothing"], "has nothing to call that is named 'nothing'"),
        (["--model", "nowhere:net"], "cannot import nowhere"),
        (["--model", "sited_net:number"], "must give a torch.nn.Module; found int"),
        (
            ["--model", "sited_net:net", "--size", "31"],
            "--size must have 2 numbers, such as 224x224; found '31'",
        ),
        (["--model", "sited_net:net", "--size", "axb"], "--size must have 2 numbers"),
        (
            ["--model", "sited_net:linear", "--size", "8x8"],
            "--size needs a model that begins with a convolution",
        ),
        (["--model", "sited_net:net", "--kind", "local"], "--kind must be one of global, down"),
        (["--model", "sited_net:misfit"], "the model does not run on the sample: RuntimeError"),
        ([], "--model"),
    ],
    ids=lambda value: None if isinstance(value, list) else value[:20],
)
def test_mistakes_are_one_line(words: list[str], says: str, capsys: Capture) -> None:
    assert main(["sites", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("polypool: ")
    assert says in captured.err
    assert captured.err.count("\n") == 1
