"""`polypool explain` on files, and mistakes that end in one line."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from polypool.cli import main

MODEL = """
import torch
from torch import nn


def net(channels=3):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


def grey():
    return net(1)


def prepared():
    return net(), lambda picture: torch.zeros(3, picture.height, picture.width)


def spoilt():
    return net(), lambda picture: 1 / 0


def two_layers():
    return net().append(nn.ReLU()).append(nn.Linear(3, 2))


def broken():
    raise KeyError("weights")


def number():
    return 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from PIL import Image

    (tmp_path / "explained_net.py").write_text(MODEL, encoding="utf-8")
    Image.fromarray(np.arange(12 * 9 * 3, dtype=np.uint8).reshape(12, 9, 3)).save(tmp_path / "image.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def image(model: str, *words: str) -> int:
    return main(
        ["explain", "image", "image.png", "--model", f"explained_net:{model}", "-o", "out/map.png", *words]
    )


def test_an_image(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert image("net", "--target", "1", "--raw", "out/map.npz") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith("class 1: logit ")
    assert (folder / "out/map.png").read_bytes().startswith(b"\x89PNG")
    raw = np.load(folder / "out/map.npz")
    assert raw["values"].shape == (1, 10, 7)
    assert np.isclose(raw["values"].sum() + raw["bias"], raw["logit"], atol=1e-6)


def test_grey_images_sizes_preprocessing_and_weights(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert image("grey", "--size", "20x16", "--raw", "map.npz") == 0
    assert np.load(folder / "map.npz")["values"].shape == (1, 18, 14)
    assert image("prepared", "--raw", "map.npz", "--layer", "1") == 0
    assert np.ptp(np.load(folder / "map.npz")["values"]) == 0
    spec = importlib.util.spec_from_file_location("net_of_the_test", folder / "explained_net.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    state = {key: torch.zeros_like(value) for key, value in module.net().state_dict().items()}
    save_file(state | {"4.bias": torch.tensor([0.0, 7.0, 0.0])}, folder / "w.safetensors")
    capsys.readouterr()
    assert image("net", "--weights", "w.safetensors") == 0
    assert "class 1: logit 7.0000 = bias 7.0000 + map 0.0000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "words", "part"),
    [
        ("two_layers", [], "the head is not linear: relu"),
        ("net", ["--target", "9"], "target must be in [0, 3)"),
        ("net", ["--layer", "8"], "layer must name a module"),
        ("net", ["--method", "relu"], "method must be one of exact, frozen, gradient"),
        ("net", ["--size", "12"], "--size is written HxW"),
        ("net", ["--raw", "x.csv"], "--raw must end in .npz"),
        ("net", ["-o", "x.txt"], "--out must end in .png"),
        ("net", ["--weights", "image.png"], "image.png does not load into the model"),
        ("grey", ["--size", "2x2"], "Kernel size can't be greater than actual input size"),
        ("nothing", [], "explained_net has nothing to call that is named 'nothing'"),
        ("broken", [], "explained_net:broken failed: KeyError: 'weights'"),
        ("number", [], "must give a torch.nn.Module; found int"),
        ("spoilt", [], "the preprocessing failed: ZeroDivisionError"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_mistakes_with_images(
    model: str, words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert image(model, *words) == 2
    one_line(part, capsys)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["image", "nothing.png", "--model", "explained_net:net", "-o", "x.png"], "nothing.png is no image"),
        (["image", "explained_net.py", "--model", "explained_net:net", "-o", "x.png"], "is no image that can be read"),
        (["image", "image.png", "--model", "explained_net", "-o", "x.png"], "--model is written module:callable"),
        (["image", "image.png", "--model", "no_such_net:net", "-o", "x.png"], "cannot import no_such_net"),
        (["image", "image.png", "-o", "x.png"], "Missing option '--model'"),
        (["image", "image.png", "--model", "explained_net:net", "-o", "image.png/x.png"], "cannot be written"),
        (["text", "a", "--model", "nothing", "-o", "x.html"], "nothing holds no model"),
        (["text", "a", "-o", "x.txt"], "--out must end in .png, .svg, .pdf, .jpg, .html"),
        (["text", "a"], "Missing option '--out'"),
        (["graph"], "No such command 'graph'"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("folder")
def test_other_mistakes(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *words]) == 2
    one_line(part, capsys)


def one_line(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = capsys.readouterr()
    assert said.err.startswith("polypool: ")
    assert said.err.count("\n") == 1
    assert part in said.err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    out = capsys.readouterr().out
    assert "image" in out
    assert "text" in out


def tiny_model(folder: Path) -> Path:
    """A sentence model of random weights whose folder asks for maximum pooling and 4 tokens."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "man", "plays", "<", "b", ">"]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(words)})
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    BertModel(config).save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode_max_tokens": true}', encoding="utf-8")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 6}', encoding="utf-8")
    return folder


def test_a_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(tiny_model(folder / "tiny"))
    words = ["explain", "text", "a man <b> plays a b", "--to", "a b", "--model", model]
    assert main([*words, "-o", "text.html", "--raw", "text.npz"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("similarity ")
    raw = np.load(folder / "text.npz")
    assert raw["tokens"].tolist() == ["[CLS]", "a", "man", "<", "b", "[SEP]"], "the limit of the folder"
    assert np.isclose(raw["values"].sum(), raw["score"][0], atol=1e-5)
    # Maximum pooling: at most 8 channels have a winner.
    page = (folder / "text.html").read_text(encoding="utf-8")
    assert ">&lt;</span>" in page
    assert main([*words, "--pool", "mean", "-o", "text.png"]) == 0
    assert (folder / "text.png").read_bytes().startswith(b"\x89PNG")
    assert main([*words, "--pool", "meen", "-o", "text.png"]) == 2
    assert "no pooling is named 'meen'" in capsys.readouterr().err


def test_the_model_of_the_pinned_package(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "explain",
        "text",
        "A man plays the guitar.",
        "--to",
        "Someone is making music.",
        "-o",
        "page.html",
    ]
    assert main(words) == 0
    assert float(capsys.readouterr().out.split()[1].rstrip(",")) > 0.5
    assert "guitar" in (folder / "page.html").read_text(encoding="utf-8")
