"""`polypool doctor`: where a folder disagrees with itself, and what programs make of it."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from polypool.cli import main
from polypool.text import PoolingConfig, examine
from polypool.text.config import BOOLEANS, MODES, ModelFolderError
from polypool.text.doctor import Diagnosis
from polypool.text.gguf import pooling_type
from polypool.text.model_card import read_card
from polypool.text.readers import Facts, Reading, readings

OLD = "sentence_transformers.models."
NEW = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"


def booleans(*modes: str) -> dict[str, bool]:
    return {key: mode in modes for key, mode in BOOLEANS.items()}


def put(folder: Path, name: str, content: Any) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that agrees with itself: a BERT, its mean, normalized."""
    put(tmp_path, "config.json", {"hidden_size": 8, "max_position_embeddings": 64, "model_type": "bert"})
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [{"idx": i, "path": path, "type": OLD + kind} for i, (path, kind) in enumerate(modules)]
    put(tmp_path, "modules.json", listed)
    (tmp_path / "1_Pooling").mkdir()
    PoolingConfig(8, "mean").write(tmp_path / "1_Pooling")
    put(tmp_path, "sentence_bert_config.json", {"max_seq_length": 64})
    return tmp_path


def wrong(folder: Path) -> str:
    """The only disagreement."""
    found = examine(folder)
    assert len(found.disagreements) == 1, found.disagreements
    return found.disagreements[0]


def pools(found: Diagnosis) -> dict[str, str]:
    """What each reader does, by the first word of its name and its version."""
    return {reading.reader: reading.does for reading in found.readings}


def test_a_folder_that_agrees(folder: Path) -> None:
    found = examine(folder)
    assert found.ok
    assert not found.notes
    assert set(pools(found).values()) == {"mean"}


def test_a_real_model(capsys: pytest.CaptureFixture[str]) -> None:
    from polypool.demo.encoder import find_model

    real = find_model(None)
    assert main(["doctor", str(real), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["ok"]
    assert {each["does"] for each in data["readers"]} == {"mean"}
    said = {(each["topic"], each["where"]): each["says"] for each in data["declared"]}
    assert said["pooling", "1_Pooling/config.json, booleans"] == ["mean"]
    assert said["copied pooling", "README.md, code to copy"] == ["mean"]
    assert said["modules", "modules.json"] == ["Transformer", "Pooling", "Normalize"]
    assert any("tokenizer.json cuts at 128" in note for note in data["notes"])


# Places that disagree.


def test_the_two_forms_of_the_config(folder: Path) -> None:
    put(
        folder,
        "1_Pooling/config.json",
        {"word_embedding_dimension": 8, "pooling_mode": "cls", **booleans("mean")},
    )
    assert wrong(folder) == (
        "pooling: mean (1_Pooling/config.json, booleans); cls (1_Pooling/config.json, pooling_mode)"
    )
    assert pools(examine(folder)) == {
        "polypool": "refuses",
        "sentence-transformers 6.2": "cls",
        "sentence-transformers 2.5 to 5.0": "cls",
        "text-embeddings-inference": "mean",
        "vLLM": "mean",
        "llama.cpp, converter to GGUF": "mean",
    }


def test_an_order_that_booleans_do_not_keep(folder: Path) -> None:
    data = {"word_embedding_dimension": 8, "pooling_mode": ["mean", "cls"], **booleans("mean", "cls")}
    put(folder, "1_Pooling/config.json", data)
    assert wrong(folder).startswith("pooling: cls+mean (")


PRINTED = """
SentenceTransformer(
  (0): Transformer({'max_seq_length': 64, 'do_lower_case': False})
  (1): Pooling({'word_embedding_dimension': 8, 'pooling_mode_cls_token': True, 'pooling_mode_mean_tokens': False})
  (2): Normalize()
)
"""


def test_the_modules_printed_in_the_readme(folder: Path) -> None:
    put(folder, "README.md", PRINTED)
    assert wrong(folder).endswith("cls (README.md, printed modules)")
    put(folder, "README.md", PRINTED.replace("True", "False", 1).replace("tokens': False", "tokens': True"))
    assert examine(folder).ok
    put(folder, "README.md", PRINTED.replace("'word_embedding_dimension': 8", "'embedding_dimension': 9"))
    assert any("9 (README.md, printed modules)" in each for each in examine(folder).disagreements)


def test_the_newer_form_printed_in_the_readme() -> None:
    card = read_card(
        "(1): Pooling({'embedding_dimension': 8, 'pooling_mode': ('cls', 'mean'), 'include_prompt': True})"
    )
    assert (card.printed, card.dimension, card.normalized) == (("cls", "mean"), 8, False)
    assert read_card("(1): Pooling({broken})").printed is None


def test_the_code_to_copy_in_the_readme(folder: Path) -> None:
    code = "```python\ndef {}(output, mask):\n    ...\nx = F.normalize(x, p=2)\n```\n"
    put(folder, "README.md", code.format("cls_pooling"))
    assert wrong(folder) == "pooling: mean (1_Pooling/config.json, booleans); cls (README.md, code to copy)"
    put(folder, "README.md", code.format("mean_pooling"))
    assert examine(folder).ok


def test_what_the_readme_promises(folder: Path) -> None:
    put(
        folder,
        "README.md",
        "- **Maximum Sequence Length:** 32 tokens\n- **Output Dimensionality:** 16 dimensions\n",
    )
    found = examine(folder).disagreements
    assert found[0] == ("length: 64 (sentence_bert_config.json); 32 (README.md, Maximum Sequence Length)")
    assert found[1] == "dimension: 8 come out, 16 are promised (README.md, Output Dimensionality)"


def test_dimensions(folder: Path) -> None:
    (folder / "1_Pooling").joinpath("config.json").unlink()
    PoolingConfig(9, "mean").write(folder / "1_Pooling")
    assert wrong(folder).startswith("dimension: 8 (config.json); 9 (1_Pooling/config.json")


def test_dense(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    put(folder, "modules.json", [*modules[:2], {"path": "2_Dense", "type": OLD + "Dense"}])
    put(folder, "2_Dense/config.json", {"in_features": 16, "out_features": 4, "bias": True})
    assert wrong(folder) == "dimension: 8 come in, 16 are expected (2_Dense/config.json, in_features)"
    PoolingConfig(8, "first+mean").write(folder / "1_Pooling")
    assert examine(folder).ok
    header = json.dumps(
        {"linear.weight": {"dtype": "F32", "shape": [5, 16], "data_offsets": [0, 320]}}
    ).encode()
    (folder / "2_Dense" / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert "says 16 to 4, its weights are 16 to 5" in wrong(folder)


def test_more_tokens_than_places(folder: Path) -> None:
    put(folder, "sentence_bert_config.json", {"max_seq_length": 128})
    assert wrong(folder) == (
        "length: 128 tokens (sentence_bert_config.json), the encoder has places for 64 (config.json)"
    )
    roberta = {"hidden_size": 8, "max_position_embeddings": 66, "model_type": "roberta", "pad_token_id": 1}
    put(folder, "config.json", roberta)
    assert "places for 64" in wrong(folder)
    put(folder, "config.json", {"d_model": 8, "n_positions": 64, "model_type": "t5"})
    assert examine(folder).ok  # it has no table of places


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        (["Transformer", "Normalize", "Pooling"], "normalizes before the pooling"),
        (["Pooling", "Transformer"], "the pooling first"),
        (["Transformer", "Pooling", "Pooling"], "2 poolings"),
    ],
)
def test_the_order_of_modules(folder: Path, modules: list[str], said: str) -> None:
    paths = {"Pooling": "1_Pooling"}
    put(folder, "modules.json", [{"path": paths.get(kind, ""), "type": OLD + kind} for kind in modules])
    assert said in wrong(folder)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("modules.json", "{", "modules.json is no JSON"),
        ("modules.json", {}, "modules.json must hold a JSON list"),
        ("modules.json", [{"path": "../other", "type": OLD + "Pooling"}], "leaves the folder"),
        (
            "modules.json",
            [{"path": "5_Pooling", "type": OLD + "Pooling"}],
            "names 5_Pooling, which is missing",
        ),
        ("1_Pooling/config.json", {"word_embedding_dimension": 8, **booleans()}, "all booleans are false"),
        (
            "1_Pooling/config.json",
            {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": "true"},
            "must be true or false",
        ),
        ("config_sentence_transformers.json", {"default_prompt_name": "query"}, "is none of its prompts"),
    ],
)
def test_what_cannot_be(folder: Path, name: str, content: Any, said: str) -> None:
    put(folder, name, content)
    found = examine(folder).disagreements
    assert any(said in each for each in found), found


def gguf(folder: Path, number: int, *before: tuple[str, int, bytes]) -> Path:
    """A GGUF file by hand: a header with a few values, no tensors."""
    pairs = [*before, ("bert.pooling_type", 4, struct.pack("<I", number))]
    content = b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs))
    for key, kind, value in pairs:
        content += struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value
    path = folder / "model.gguf"
    path.write_bytes(content)
    return path


def test_a_gguf_file(folder: Path) -> None:
    text = struct.pack("<Q", 4) + b"bert"
    words = struct.pack("<IQ", 8, 2) + text + text
    before = (
        ("general.architecture", 8, text),
        ("a.words", 9, words),
        ("a.ids", 9, struct.pack("<IQ3I", 4, 3, 1, 2, 3)),
    )
    assert pooling_type(gguf(folder, 1, *before)) == "mean"
    assert examine(folder).ok
    gguf(folder, 2, *before)
    assert wrong(folder).endswith("cls (model.gguf, pooling_type)")
    (folder / "model.gguf").write_bytes((folder / "model.gguf").read_bytes()[:-3])
    assert "cut short" in wrong(folder)
    (folder / "model.gguf").write_bytes(b"GGML")
    assert "does not begin with GGUF" in wrong(folder)


# Notes.


@pytest.mark.parametrize(("mode", "side"), [("cls", "left"), ("lasttoken", "right")])
def test_the_padding_side(folder: Path, mode: str, side: str) -> None:
    PoolingConfig(8, mode).write(folder / "1_Pooling")
    put(folder, "tokenizer_config.json", {"padding_side": side})
    assert any(f"padding is on the {side}" in note for note in examine(folder).notes)
    put(folder, "tokenizer_config.json", {"padding_side": "right" if side == "left" else "left"})
    assert not any("padding is on" in note for note in examine(folder).notes)


def test_other_notes(folder: Path) -> None:
    put(folder, "tokenizer_config.json", {"model_max_length": 32})
    PoolingConfig(8, "mean", include_prompt=False).write(folder / "1_Pooling")
    put(folder, "pytorch_model.bin", "")
    notes = "; ".join(examine(folder).notes)
    for said in ("cuts at 32 tokens", "prompts are left out", "a pickle"):
        assert said in notes


# Readers, each by its own rules.


def does(data: dict[str, Any] | None, kind: str | None = OLD + "Pooling", **more: Any) -> list[str]:
    facts = Facts(kind, data, data, has_modules=kind is not None, **more)
    return [reading.does for reading in readings(facts)]


def test_only_the_newer_form() -> None:
    """What sentence-transformers 6.2 writes."""
    data = {"embedding_dimension": 8, "pooling_mode": "mean", "include_prompt": True}
    assert does(data, NEW) == ["mean", "mean", "refuses", "refuses", "its own choice", "its own choice"]


@pytest.mark.parametrize("mode", MODES)
def test_what_we_write(mode: str) -> None:
    data = PoolingConfig(8, mode).as_json()
    servers = {
        "cls": ["cls"] * 3,
        "mean": ["mean"] * 3,
        "lasttoken": ["lasttoken"] * 3,
        "max": ["refuses", "its own choice", "refuses"],
        "mean_sqrt_len_tokens": ["refuses", "mean", "refuses"],  # vLLM cuts the name at its underscore
        "weightedmean": ["refuses", "its own choice", "refuses"],
    }
    assert does(data) == [mode] * 3 + servers[mode]


def test_a_combination() -> None:
    data = PoolingConfig(8, "cls+mean").as_json()
    assert does(data) == ["cls+mean", "cls+mean", "refuses", "cls", "mean", "mean"]
    del data["pooling_mode"]
    assert does(data)[:3] == ["cls+mean"] * 3


def test_a_boolean_left_out() -> None:
    """Older releases have the mean on where the file does not say."""
    data = {"word_embedding_dimension": 8, "pooling_mode_cls_token": True}
    assert does(data) == ["cls", "cls", "cls+mean", "refuses", "cls", "refuses"]


def test_nothing_declared() -> None:
    assert does(None, None, model_type="bert") == [
        "refuses", "mean", "mean", "cls", "its own choice", "its own choice",
    ]  # fmt: skip
    assert does(None, None, model_type="qwen3", causal=True)[1:4] == ["lasttoken", "mean", "refuses"]


def test_a_pooling_of_ours() -> None:
    data = PoolingConfig(8, "gem", {"p": 4.0}).as_json()
    found = does(data, "polypool.text.SentencePooling")
    assert found == ["gem", "refuses", "refuses", "refuses", "its own choice", "its own choice"]


@pytest.mark.parametrize("mode", [*MODES, ("cls", "mean"), ("mean", "cls")], ids=str)
@pytest.mark.parametrize(
    "drop", [(), ("pooling_mode",), tuple(BOOLEANS), ("pooling_mode_mean_tokens", "pooling_mode")]
)
def test_the_rules_of_sentence_transformers_are_its_own(
    mode: Any, drop: tuple[str, ...], tmp_path: Path
) -> None:
    """What we say that the installed release does is what it does."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    spec = mode if isinstance(mode, str) else "+".join(mode)
    data = {key: value for key, value in PoolingConfig(8, spec).as_json().items() if key not in drop}
    put(tmp_path, "config.json", data)
    loaded = Pooling.load(str(tmp_path)).pooling_mode
    assert does(data)[1] == (loaded if isinstance(loaded, str) else "+".join(loaded))


def test_readings_are_words() -> None:
    assert Reading("a", None, "why").does == "refuses"
    assert Reading("a", ("cls", "mean")).does == "cls+mean"


# The command.


def test_the_command(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # so that no cell is wrapped
    assert main(["doctor", str(folder)]) == 0
    shown = capsys.readouterr().out
    for said in ("1_Pooling/config.json, booleans", "text-embeddings-inference", "agrees with itself"):
        assert said in shown


def test_the_command_on_a_folder_that_disagrees(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(folder, "README.md", PRINTED)
    assert main(["doctor", str(folder)]) == 1
    assert "disagrees with itself" in capsys.readouterr().out
    assert main(["doctor", str(folder), "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert not data["ok"]
    assert data["disagreements"] == list(examine(folder).disagreements)


@pytest.mark.parametrize("model", ["nobody/nothing", "no such folder", "-", "/nonexistent"])
def test_no_model(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--", model]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_an_empty_name(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty path would be the working folder."""
    assert main(["doctor", ""]) == 2
    assert "must name a folder or a model" in capsys.readouterr().err


def test_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(tmp_path)]) == 2
    assert "holds no model" in capsys.readouterr().err
    with pytest.raises(ModelFolderError, match="is no folder"):
        examine(tmp_path / "nothing")
