"""Saving over another model: nothing of it is left that somebody could load."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from polypool.text import Dense, ModelFolderError, TextEncoder
from tests.text import tiny

TEXTS = list(tiny.TEXTS)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.plain_folder(tmp_path_factory.mktemp("plain"))


@pytest.fixture
def encoder(plain: Path) -> TextEncoder:
    return TextEncoder.load(plain, pool="mean", device="cpu")


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_the_old_model_had_is_gone(encoder: TextEncoder, plain: Path, tmp_path: Path) -> None:
    encoder.save(tmp_path / "new")
    expected = files(tmp_path / "new")

    folder = tmp_path / "model"
    old = TextEncoder.load(plain, pool="attention", device="cpu")
    nn.init.ones_(next(old.pooling.parameters()))
    old.append(Dense(torch.eye(tiny.HIDDEN)))
    old.save(folder)
    # What another release, another tokenizer and a larger model leave.
    names = ("vocab.txt", "merges.txt", "special_tokens_map.json", "pytorch_model.bin", "adapter_config.json",
             "model-00001-of-00002.safetensors", "model.safetensors.index.json", "sentence_roberta_config.json",
             "2_Dense/pytorch_model.bin")  # fmt: skip
    for name in names:
        (folder / name).write_text("{}")
    assert (folder / "1_Pooling" / "model.safetensors").is_file()

    encoder.save(folder)
    assert files(folder) == expected
    assert not (folder / "2_Dense").exists()
    again = TextEncoder.load(folder, device="cpu")
    np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))


def test_what_is_no_part_of_a_model_stays(
    encoder: TextEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder.append(Dense(torch.eye(tiny.HIDDEN))).save(tmp_path)
    kept = ("README.md", "notes.txt", "onnx/model.onnx", "2_Dense/mine.txt", ".gitattributes")
    (tmp_path / "onnx").mkdir()
    for name in kept:
        (tmp_path / name).write_text("mine")
    encoder.after = nn.ModuleList()
    with caplog.at_level(logging.WARNING, logger="polypool.text"):
        encoder.save(tmp_path)
    assert all((tmp_path / name).read_text() == "mine" for name in kept)
    assert not (tmp_path / "2_Dense" / "model.safetensors").exists()
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path} also holds 2_Dense, notes.txt, onnx, which are not of the model that was saved, and stay."
    ]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "pytorch_model.bin"])
def test_a_folder_of_something_else_is_refused(name: str, encoder: TextEncoder, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    encoder.save(tmp_path / "beside")
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / name).write_text("{}")
    with pytest.raises(
        ValueError, match=f"holds {name} and no modules.json, so it is no model that save wrote"
    ):
        encoder.save(folder)
    assert files(folder) == {name}


def test_modules_that_lie_elsewhere_are_not_touched(encoder: TextEncoder, tmp_path: Path) -> None:
    folder, other = tmp_path / "model", tmp_path / "other"
    encoder.save(folder)
    encoder.save(other)
    before = files(other)
    listed = json.loads((folder / "modules.json").read_text())
    listed[1]["path"] = "../other/1_Pooling"
    (folder / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(ModelFolderError, match=r"module 1 in .* has a path that leaves the folder"):
        encoder.save(folder)
    assert files(other) == before


def test_a_folder_that_holds_nothing(encoder: TextEncoder, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "README.md").write_text("mine")
    encoder.save(tmp_path)
    assert TextEncoder.load(tmp_path, device="cpu").dimension == tiny.HIDDEN


def test_what_breaks_off_is_no_model(
    encoder: TextEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the files are old and half are new: nothing may load that."""
    encoder.save(tmp_path)
    calls = 0

    def move(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise OSError("unplugged")

    monkeypatch.setattr("polypool.text.saving.shutil.move", move)
    with pytest.raises(OSError, match="unplugged"):
        encoder.save(tmp_path)
    with pytest.raises(ValueError, match="does not say how its tokens are pooled"):
        TextEncoder.load(tmp_path, device="cpu")
