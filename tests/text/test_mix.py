"""`LayerMix` between transformer and pooling of a `TextEncoder`, and the modules of sentence-transformers like it."""

from __future__ import annotations

import json
import logging
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polypool.text import (
    Dropout,
    LayerMix,
    ModelFolderError,
    Normalize,
    SentencePooling,
    TextEncoder,
    examine,
)
from tests.support import close
from tests.text import tiny

TEXTS = list(tiny.TEXTS)
OLD = "sentence_transformers.models"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.plain_folder(tmp_path_factory.mktemp("plain"))


def mixing(plain: Path, dtype: str | None = None, **settings: Any) -> TextEncoder:
    encoder = TextEncoder.load(plain, pool="mean", device="cpu", dtype=dtype)
    mix = LayerMix(tiny.HIDDEN, num_hidden_layers=2, **settings)
    return TextEncoder(encoder.model, encoder.tokenizer, encoder.pooling, mix=mix, dtype=encoder.dtype).eval()


def learned(plain: Path) -> TextEncoder:
    return mixing(plain, layer_start=0, layer_weights=[1.0, 2.0, 4.0])


def by_hand(encoder: TextEncoder, text: str) -> torch.Tensor:
    batch = encoder.tokenizer([text], truncation=True, max_length=tiny.LONGEST, return_tensors="pt")
    with torch.no_grad():
        states = encoder.model(**batch, output_hidden_states=True).hidden_states
    mean: torch.Tensor = ((states[0] + 2 * states[1] + 4 * states[2]) / 7)[0].mean(0)
    return mean


def theirs(folder: Path | list[Any]) -> Any:
    from sentence_transformers import SentenceTransformer

    if isinstance(folder, list):
        return SentenceTransformer(modules=folder, device="cpu")
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def test_the_layers_are_mixed_before_the_pooling(plain: Path) -> None:
    encoder = learned(plain)
    found = encoder.encode(TEXTS)
    close(torch.from_numpy(found), torch.stack([by_hand(encoder, text) for text in TEXTS]))
    assert repr(encoder).startswith("TextEncoder(BertModel, LayerMix, pool='mean', ")
    last = TextEncoder.load(plain, pool="mean", device="cpu")
    assert np.abs(found - last.encode(TEXTS)).max() > 0.01
    last.mix = LayerMix(tiny.HIDDEN, 2, layers=(-1,), learn=False)
    only = last.encode(TEXTS)
    last.mix = None
    np.testing.assert_allclose(only, last.encode(TEXTS), atol=1e-6)


def test_long_texts_too(plain: Path) -> None:
    encoder = learned(plain)
    np.testing.assert_allclose(encoder.encode_long(TEXTS[:4]), encoder.encode(TEXTS[:4]), atol=1e-6)
    long = "the cat sleeps and the dog runs " * 12
    found = encoder.encode_long(long)
    encoder.mix = None
    assert np.abs(found - encoder.encode_long(long)).max() > 0.01


def test_the_weights_learn(plain: Path) -> None:
    encoder = learned(plain)
    features = dict(encoder.tokenizer(TEXTS[:2], padding=True, return_tensors="pt"))
    encoder(features)["sentence_embedding"].square().sum().backward()
    assert encoder.mix is not None
    assert isinstance(encoder.mix.layer_weights.grad, torch.Tensor)
    assert encoder.mix.layer_weights.grad.abs().max() > 0


def test_half_precision(plain: Path) -> None:
    """The layers are added up in float32, whatever the transformer computes in."""
    exact = learned(plain)
    half = mixing(plain, "bfloat16", layer_start=0, layer_weights=[1.0, 2.0, 4.0])
    found, expected = half.encode(TEXTS), exact.encode(TEXTS)
    assert 0 < np.abs(found - expected).max() < 0.1
    states = half.states(dict(half.tokenizer(TEXTS[:1], return_tensors="pt"))).detach()
    assert states.dtype is torch.float32
    assert (states.bfloat16().float() != states).any()


def test_saved_and_loaded_here_and_there(plain: Path, tmp_path: Path) -> None:
    encoder = learned(plain).append(Normalize())
    encoder.save(tmp_path / "ours")
    listed = json.loads((tmp_path / "ours" / "modules.json").read_text())
    assert [each["type"].rpartition(".")[2] for each in listed] == [
        "Transformer", "WeightedLayerPooling", "Pooling", "Normalize",
    ]  # fmt: skip
    expected = encoder.encode(TEXTS)
    again = TextEncoder.load(tmp_path / "ours", device="cpu")
    assert repr(again) == repr(encoder)
    np.testing.assert_array_equal(again.encode(TEXTS), expected)
    other = theirs(tmp_path / "ours")
    np.testing.assert_allclose(other.encode(TEXTS), expected, rtol=0, atol=1e-6)
    other.save(str(tmp_path / "theirs"), create_model_card=False)
    back = TextEncoder.load(tmp_path / "theirs", device="cpu")
    np.testing.assert_allclose(back.encode(TEXTS), expected, rtol=0, atol=1e-6)
    # Nothing of the file is left in the encoder that goes on.
    assert not encoder.model.config.output_hidden_states  # type: ignore[union-attr]


def test_the_doctor_knows_it(plain: Path, tmp_path: Path) -> None:
    learned(plain).append(Normalize()).save(tmp_path)
    found = examine(tmp_path)
    assert found.ok, found.disagreements
    assert any(note.startswith("layers are mixed before the pooling") for note in found.notes)
    assert found.readings[0].does == "mean"


def test_choices_that_only_polypool_has(plain: Path, tmp_path: Path) -> None:
    encoder = mixing(plain, layers=(0, -1), learn=False)
    encoder.save(tmp_path)
    assert "polypool.text.LayerMix" in (tmp_path / "modules.json").read_text()
    again = TextEncoder.load(tmp_path, device="cpu")
    assert again.mix is not None
    assert again.mix.layers == [0, -1]
    np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))


@pytest.mark.filterwarnings("ignore:.*word_embedding_dimension:DeprecationWarning")
def test_a_model_of_theirs(plain: Path, tmp_path: Path) -> None:
    """Their own mixture and their own dropout."""
    from sentence_transformers.sentence_transformer import modules

    transformer = modules.Transformer(str(plain), config_kwargs={"output_hidden_states": True})
    mix = modules.WeightedLayerPooling(tiny.HIDDEN, 2, 1)
    with torch.no_grad():
        mix.layer_weights.copy_(torch.tensor([3.0, 1.0]))
    model = theirs([transformer, mix, modules.Pooling(tiny.HIDDEN, "max"), modules.Dropout(0.5)])
    model.save(str(tmp_path), create_model_card=False)
    encoder = TextEncoder.load(tmp_path, device="cpu")
    assert [type(module).__name__ for module in encoder.after] == ["Dropout"]
    np.testing.assert_allclose(encoder.encode(TEXTS), model.encode(TEXTS), rtol=0, atol=1e-6)


def test_dropout_is_nothing_but_in_training(plain: Path, tmp_path: Path) -> None:
    encoder = TextEncoder.load(plain, pool="mean", device="cpu")
    expected = encoder.encode(TEXTS)
    encoder.append(Dropout(0.5))
    encoder.train()
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected)
    encoder.model.eval()
    features = dict(encoder.tokenizer(TEXTS[:1], return_tensors="pt"))
    found = encoder(features)["sentence_embedding"]
    assert (found == 0).any()
    encoder.save(tmp_path)
    again = TextEncoder.load(tmp_path, device="cpu").after[0]
    assert isinstance(again, Dropout)
    assert again.dropout == 0.5
    np.testing.assert_allclose(theirs(tmp_path).encode(TEXTS), expected, rtol=0, atol=1e-6)
    for wrong, error in ((1.5, ValueError), (-0.1, ValueError), ("x", TypeError), (True, TypeError)):
        with pytest.raises(error, match="dropout must be a number from 0 to 1; found"):
            Dropout(wrong)  # type: ignore[arg-type]
    (tmp_path / "2_Dropout" / "config.json").write_text('{"dropout": 2}')
    with pytest.raises(ModelFolderError, match=r"2_Dropout.config\.json: dropout must be a number"):
        TextEncoder.load(tmp_path, device="cpu")


def test_a_folder_in_which_they_would_not_mix(
    plain: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the transformer hands on no layers, theirs gives the last one without a word."""
    encoder = learned(plain)
    encoder.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.pop("output_hidden_states") is True
    (tmp_path / "config.json").write_text(json.dumps(config))
    with caplog.at_level(logging.WARNING, logger="polypool.text"):
        found = TextEncoder.load(tmp_path, device="cpu")
    (said,) = [record.getMessage() for record in caplog.records]
    assert "layers are mixed here" in said
    assert "output_hidden_states" in said
    np.testing.assert_array_equal(found.encode(TEXTS), encoder.encode(TEXTS))


def test_a_mixture_that_does_not_fit(plain: Path, tmp_path: Path) -> None:
    encoder = TextEncoder.load(plain, pool="mean", device="cpu")
    parts = encoder.model, encoder.tokenizer, encoder.pooling
    with pytest.raises(ValueError, match="mix must be made for the 2 layers of the model; found 12"):
        TextEncoder(*parts, mix=LayerMix(tiny.HIDDEN))
    with pytest.raises(ValueError, match="mix must be made for the 16 channels of the model; found 8"):
        TextEncoder(*parts, mix=LayerMix(8, 2, 0))
    with pytest.raises(TypeError, match="mix must be a LayerMix or None; found SentencePooling"):
        TextEncoder(*parts, mix=SentencePooling(16))  # type: ignore[arg-type]
    learned(plain).save(tmp_path)
    place = tmp_path / "1_WeightedLayerPooling"
    LayerMix(tiny.HIDDEN, 3, 0).save(str(place))
    with pytest.raises(
        ModelFolderError, match="1_WeightedLayerPooling does not fit: mix must be made for the 2 lay"
    ):
        TextEncoder.load(tmp_path, device="cpu")


def test_exported(plain: Path) -> None:
    encoder = learned(plain)
    features = dict(encoder.tokenizer(TEXTS[:3], padding=True, return_tensors="pt"))
    sizes = {name: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for name in features}
    program = torch.export.export(encoder, (features,), dynamic_shapes=(sizes,))
    other = dict(encoder.tokenizer(TEXTS[3:5], padding=True, return_tensors="pt"))
    close(program.module()(other)["sentence_embedding"], encoder(other)["sentence_embedding"])


@pytest.mark.slow
def test_one_onnx_file(plain: Path, tmp_path: Path) -> None:
    runtime = import_module("onnxruntime")
    from polypool.text import export_onnx

    encoder = learned(plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch and onnxscript, about themselves
        export_onnx(encoder, tmp_path / "model.onnx", inputs=["input_ids", "attention_mask"])
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    texts = TEXTS[:3]
    batch = encoder.tokenizer(texts, padding=True, return_tensors="np")
    names = [each.name for each in session.get_inputs()]
    (found,) = session.run(["sentence_embedding"], {name: batch[name] for name in names})
    np.testing.assert_allclose(found, encoder.encode(texts), atol=1e-5)
