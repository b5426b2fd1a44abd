"""`TextEncoder`: order, batches, prompts, empty texts, precision, errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from polypool.text import Dense, ModelFolderError, Normalize, Report, SentencePooling, TextEncoder
from tests.support import close
from tests.text import tiny

TEXTS = list(tiny.TEXTS)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.plain_folder(tmp_path_factory.mktemp("plain"))


@pytest.fixture
def encoder(plain: Path) -> TextEncoder:
    return TextEncoder.load(plain, pool="mean", device="cpu")


def by_hand(encoder: TextEncoder, text: str) -> torch.Tensor:
    """The mean of the states of one text, with nothing of ours in it."""
    batch = encoder.tokenizer([text], truncation=True, max_length=encoder.max_tokens, return_tensors="pt")
    with torch.no_grad():
        mean: torch.Tensor = encoder.model(**batch).last_hidden_state[0].mean(0)
    return mean


@pytest.mark.parametrize("batch_tokens", [None, 1, 16, 50, 10**6])
def test_every_text_gets_its_own_vector(batch_tokens: int | None, encoder: TextEncoder) -> None:
    found = encoder.encode(TEXTS * 3, batch_tokens=batch_tokens)
    assert found.shape == (3 * len(TEXTS), tiny.HIDDEN)
    assert found.dtype == np.float32
    expected = torch.stack([by_hand(encoder, text) for text in TEXTS] * 3)
    close(torch.from_numpy(found), expected)


def test_one_string_is_one_vector(encoder: TextEncoder) -> None:
    one = encoder.encode(TEXTS[0])
    assert one.shape == (tiny.HIDDEN,)
    close(torch.from_numpy(one), by_hand(encoder, TEXTS[0]))


def test_a_generator_is_read_in_windows(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    from polypool.text import batching

    monkeypatch.setattr(batching.windows, "__defaults__", (3,))
    read: list[str] = []

    def texts() -> Iterator[str]:
        for text in TEXTS:
            read.append(text)
            yield text

    expected = encoder.encode(TEXTS)
    np.testing.assert_array_equal(encoder.encode(texts()), expected)
    read.clear()
    parts = encoder.stream(texts())
    np.testing.assert_array_equal(next(parts), expected[:3])
    assert len(read) == 3
    assert [len(part) for part in parts] == [3, 1]
    assert encoder.report.texts == len(TEXTS)


@pytest.mark.parametrize("texts", [[], iter(()), np.array([], dtype=str)])
def test_no_texts(texts: Any, encoder: TextEncoder) -> None:
    assert encoder.encode(texts).shape == (0, tiny.HIDDEN)
    assert encoder.report == Report()


def test_arrays_of_strings(encoder: TextEncoder) -> None:
    np.testing.assert_array_equal(encoder.encode(np.array(TEXTS)), encoder.encode(TEXTS))
    np.testing.assert_array_equal(encoder.encode(tuple(TEXTS)), encoder.encode(TEXTS))


def test_tensors_can_be_trained_on(encoder: TextEncoder) -> None:
    """They are no inference tensors, which no gradient may go through."""
    vectors = encoder.encode(TEXTS, as_tensor=True)
    head = nn.Linear(tiny.HIDDEN, 1)
    head(vectors).sum().backward()
    assert head.weight.grad is not None
    assert not vectors.requires_grad


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_empty_texts_are_their_special_tokens(text: str, encoder: TextEncoder) -> None:
    close(torch.from_numpy(encoder.encode(text)), by_hand(encoder, ""))
    assert encoder.report == Report(texts=1, tokens=2, empty=1, longest=2)


def test_a_text_without_any_token_is_zeros(tmp_path: Path) -> None:
    encoder = TextEncoder.load(tiny.plain_folder(tmp_path, framed=False), pool="mean", device="cpu")
    encoder.append(Dense(torch.eye(tiny.HIDDEN), torch.ones(tiny.HIDDEN)))
    found = encoder.encode(["a cat", "", " "])
    assert np.abs(found[0]).max() > 0
    assert (found[1:] == 0).all()
    assert encoder.report == Report(texts=3, tokens=2, empty=2, longest=2)
    assert (encoder.encode("") == 0).all()


def test_what_is_cut_is_counted_and_said(encoder: TextEncoder, caplog: pytest.LogCaptureFixture) -> None:
    long = "the cat sleeps and the dog runs " * 10
    with caplog.at_level(logging.WARNING, logger="polypool.text"):
        found = encoder.encode([long, "a cat", long])
    assert encoder.report == Report(texts=3, tokens=2 * tiny.LONGEST + 4, truncated=2, longest=72)
    assert [record.getMessage() for record in caplog.records] == [
        "2 of 3 texts are longer than 32 tokens and lost their end; encode_long reads them whole."
    ]
    close(torch.from_numpy(found[0]), by_hand(encoder, long))
    caplog.clear()
    encoder.encode("a cat")
    assert not caplog.records


def test_a_limit_of_ones_own(encoder: TextEncoder) -> None:
    encoder.max_tokens = 5
    close(
        torch.from_numpy(encoder.encode("the cat sleeps and runs")),
        by_hand(encoder, "the cat sleeps and runs"),
    )
    encoder.tokenizer.truncation_side = "left"
    close(
        torch.from_numpy(encoder.encode("the cat sleeps and runs")),
        by_hand(encoder, "the cat sleeps and runs"),
    )
    with pytest.raises(
        ValueError, match="max_tokens must be >= 3, 2 special tokens and one of the text; found 0"
    ):
        encoder.max_tokens = 0


def test_batches_are_those_of_the_tokenizer(encoder: TextEncoder) -> None:
    """On either side of the padding."""
    from polypool.text.tokenizing import padded, tokenize

    for side in ("left", "right"):
        encoder.tokenizer.padding_side = side
        features = padded(tokenize(encoder.tokenizer, TEXTS[:2]), encoder.tokenizer)
        expected = encoder.tokenizer(TEXTS[:2], padding=True, return_tensors="pt")
        assert set(features) == set(expected)
        for key, value in features.items():
            assert torch.equal(value, expected[key]), (side, key)


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (["a", 3], TypeError, r"texts\[1\] must be a str; found int"),
        (["a", None], TypeError, r"texts\[1\] must be a str; found NoneType"),
        ([["a"]], TypeError, r"texts\[0\] must be a str; found list"),
        (None, TypeError, "texts must be strings, or one string; found NoneType"),
        (b"bytes", TypeError, "texts must be strings, or one string; found bytes"),
        ({"a": 1}, TypeError, "texts must be strings, or one string; found dict"),
        (
            ["a", "b\ud800"],
            ValueError,
            r"texts\[1\] must be valid Unicode; found half of a surrogate pair at 1",
        ),
    ],
)
@pytest.mark.parametrize("method", ["encode", "encode_long"])
def test_what_is_no_text(
    texts: Any, error: type[Exception], message: str, method: str, encoder: TextEncoder
) -> None:
    with pytest.raises(error, match=message):
        getattr(encoder, method)(texts)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"batch_tokens": 0}, ValueError, "batch_tokens must be >= 1; found 0"),
        ({"batch_tokens": 2.5}, TypeError, "batch_tokens must be an int; found float"),
        ({"prompt": 3}, TypeError, "prompt must be a str; found int"),
        ({"prompt": "qurey"}, ValueError, "no prompt is named 'qurey'; did you mean 'query'"),
        ({"progress": 1}, TypeError, "progress must be True, False or None; found 1"),
        ({"normalize": "l2"}, TypeError, "normalize must be a bool; found str"),
    ],
)
@pytest.mark.parametrize("method", ["encode", "encode_long"])
def test_settings_that_do_not_fit(
    settings: dict[str, Any], error: type[Exception], message: str, method: str, encoder: TextEncoder
) -> None:
    encoder.prompts["query"] = "query: "
    with pytest.raises(error, match=message):
        getattr(encoder, method)("a cat", **settings)


def test_length_one_or_not(encoder: TextEncoder) -> None:
    plain = encoder.encode(TEXTS)
    unit = plain / np.linalg.norm(plain, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(TEXTS, normalize=True), unit, atol=1e-6)
    np.testing.assert_array_equal(encoder.encode(TEXTS, normalize=False), plain)
    encoder.append(Normalize())
    np.testing.assert_allclose(encoder.encode(TEXTS), unit, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(TEXTS, normalize=True), unit, atol=1e-6)
    np.testing.assert_array_equal(encoder.encode(TEXTS, normalize=False), plain)


def test_fewer_numbers(encoder: TextEncoder) -> None:
    """Cut off behind all modules, and before the length is made 1, as sentence-transformers does."""
    whole = encoder.encode(TEXTS)
    encoder.truncate = 4
    assert encoder.dimension == 4
    np.testing.assert_array_equal(encoder.encode(TEXTS), whole[:, :4])
    lengths = np.linalg.norm(encoder.encode(TEXTS, normalize=True), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)


def test_prompts(encoder: TextEncoder) -> None:
    encoder.prompts["query"] = "query: "
    plain, expected = encoder.encode(TEXTS), encoder.encode(["query: " + text for text in TEXTS])
    assert np.abs(plain - expected).max() > 0.01
    np.testing.assert_array_equal(encoder.encode(TEXTS, prompt="query"), expected)
    np.testing.assert_array_equal(encoder.encode(TEXTS, prompt="query: "), expected)
    encoder.default_prompt = "query"
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected)
    np.testing.assert_array_equal(encoder.encode(TEXTS, prompt=""), plain)


def test_prompts_that_are_not_pooled(plain: Path) -> None:
    pooling = SentencePooling(tiny.HIDDEN, "mean", include_prompt=False)
    encoder = TextEncoder.load(plain, pool=pooling, device="cpu")
    found = encoder.encode("the cat", prompt="query: ")
    batch = encoder.tokenizer(["query: the cat"], return_tensors="pt")
    with torch.no_grad():
        states = encoder.model(**batch).last_hidden_state[0]
    # [CLS], "query" and ":" are left out.
    close(torch.from_numpy(found), states[3:].mean(0))


def test_poolings_and_modules_that_do_not_fit(plain: Path, encoder: TextEncoder) -> None:
    with pytest.raises(ValueError, match="pool must be made for the 16 channels of the model; found 8"):
        TextEncoder.load(plain, pool=SentencePooling(8, "mean"))
    with pytest.raises(ValueError, match=r"no pooling is named 'meen'\. Did you mean 'mean'"):
        TextEncoder.load(plain, pool="meen")
    with pytest.raises(
        ValueError, match="this Dense takes vectors of 3 numbers; what comes before it makes 16"
    ):
        encoder.append(Dense(torch.ones(2, 3)))
    with pytest.raises(TypeError, match=r"what comes after pooling must be Dense, .*, Dropout; found Linear"):
        encoder.append(nn.Linear(16, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dtype must be one of float32, bfloat16, float16; found 'int8'"):
        TextEncoder.load(plain, pool="mean", dtype="int8")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(dtype: str, plain: Path, encoder: TextEncoder) -> None:
    half = TextEncoder.load(plain, pool="mean", dtype=dtype, device="cpu")
    half.append(Dense(torch.eye(tiny.HIDDEN)))
    found, expected = half.encode(TEXTS), encoder.encode(TEXTS)
    assert found.dtype == np.float32
    apart = np.abs(found - expected).max()
    assert 0 < apart < 0.1
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.999
    # The vectors are not rounded to half precision at the end.
    assert (torch.from_numpy(found).to(getattr(torch, dtype)).float().numpy() != found).any()
    assert next(half.model.parameters()).dtype is torch.float32


def test_modes_of_training_are_left_as_they_were(encoder: TextEncoder) -> None:
    encoder.train()
    encoder.model.encoder.eval()  # type: ignore[union-attr]
    modes = [module.training for module in encoder.modules()]
    np.testing.assert_array_equal(encoder.encode(TEXTS), encoder.encode(TEXTS))
    assert [module.training for module in encoder.modules()] == modes
    assert torch.is_grad_enabled()


def test_as_part_of_a_model(encoder: TextEncoder) -> None:
    features = dict(encoder.tokenizer(TEXTS, padding=True, return_tensors="pt"))
    out = encoder(features)
    assert "sentence_embedding" not in features
    close(out["sentence_embedding"].detach(), torch.from_numpy(encoder.encode(TEXTS)))
    out["sentence_embedding"].square().sum().backward()
    first = next(encoder.model.parameters())
    assert first.grad is not None
    assert first.grad.abs().max() > 0


def test_progress(encoder: TextEncoder, capsys: pytest.CaptureFixture[str]) -> None:
    encoder.encode(TEXTS, progress=True)
    assert f"{len(TEXTS)}/{len(TEXTS)}" in capsys.readouterr().err
    encoder.encode(TEXTS)
    encoder.encode(TEXTS, progress=False)
    assert capsys.readouterr().err == ""


def test_saved_and_loaded(encoder: TextEncoder, tmp_path: Path) -> None:
    weight = torch.linspace(-1, 1, 5 * tiny.HIDDEN).view(5, tiny.HIDDEN)
    encoder.append(Dense(weight, activation="tanh")).append(Normalize())
    encoder.prompts |= {"query": "query: ", "document": ""}
    encoder.default_prompt, encoder.truncate, encoder.similarity, encoder.max_tokens = "query", 4, "cosine", 9
    encoder.save(tmp_path / "new" / "model")
    again = TextEncoder.load(tmp_path / "new" / "model", device="cpu")
    np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
    assert repr(again) == repr(encoder)
    for name in ("prompts", "default_prompt", "truncate", "similarity", "max_tokens", "dimension"):
        assert getattr(again, name) == getattr(encoder, name), name
    # Nothing of the writing is left beside it.
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"]


def test_saved_over_itself(encoder: TextEncoder, tmp_path: Path) -> None:
    """The weights of the old files may still be in use."""
    encoder.save(tmp_path / "model")
    again = TextEncoder.load(tmp_path / "model", device="cpu")
    expected = again.encode(TEXTS)
    with torch.no_grad():
        again.append(Dense(2 * torch.eye(tiny.HIDDEN)))
    again.save(tmp_path / "model")
    np.testing.assert_allclose(again.encode(TEXTS), 2 * expected, rtol=1e-6)
    np.testing.assert_array_equal(
        TextEncoder.load(tmp_path / "model", device="cpu").encode(TEXTS), 2 * expected
    )


def test_what_fails_to_save_leaves_nothing(
    encoder: TextEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(SentencePooling, "save", fail)
    with pytest.raises(OSError, match="no space left"):
        encoder.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="folder must be a folder or a new name; found the file"):
        encoder.save(tmp_path / "file")


@pytest.mark.parametrize("pool", ["gem", "median", "attention", "mean+std"])
def test_poolings_that_only_polypool_has(pool: str, plain: Path, tmp_path: Path) -> None:
    encoder = TextEncoder.load(plain, pool=pool, device="cpu")
    for parameter in encoder.pooling.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    encoder.save(tmp_path / "model")
    assert "polypool.text.SentencePooling" in (tmp_path / "model" / "modules.json").read_text()
    again = TextEncoder.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))


def test_another_pooling_than_the_folder_declares(encoder: TextEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "model")
    wider = TextEncoder.load(tmp_path / "model", pool="mean+max", device="cpu")
    assert wider.dimension == 2 * tiny.HIDDEN
    encoder.append(Dense(torch.eye(tiny.HIDDEN)))
    encoder.save(tmp_path / "model")
    with pytest.raises(ModelFolderError, match="2_Dense does not fit"):
        TextEncoder.load(tmp_path / "model", pool="mean+max", device="cpu")


def test_lower_case_where_the_settings_ask_for_it(tmp_path: Path) -> None:
    import json

    from tokenizers import normalizers

    words = tiny.tokenizer()
    words.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    folder = tiny.plain_folder(tmp_path)
    words.save_pretrained(folder)
    plain = TextEncoder.load(folder, pool="mean", device="cpu")
    assert np.abs(plain.encode("THE CAT") - plain.encode("the cat")).max() > 0.01
    (folder / "sentence_bert_config.json").write_text(json.dumps({"do_lower_case": True}))
    lower = TextEncoder.load(folder, pool="mean", device="cpu")
    np.testing.assert_array_equal(lower.encode("THE CAT"), plain.encode("the cat"))


def test_the_encoder_of_a_model_that_has_a_decoder_too(tmp_path: Path) -> None:
    from transformers import T5Config, T5EncoderModel

    words = tiny.tokenizer()
    words.save_pretrained(tmp_path)
    config = T5Config(
        vocab_size=len(words), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, is_encoder_decoder=True
    )
    T5EncoderModel(config).save_pretrained(tmp_path)
    encoder = TextEncoder.load(tmp_path, pool="mean", device="cpu")
    close(torch.from_numpy(encoder.encode("a cat")), by_hand_t5(encoder, "a cat"))


def by_hand_t5(encoder: TextEncoder, text: str) -> torch.Tensor:
    batch = encoder.tokenizer([text], return_tensors="pt")
    with torch.no_grad():
        mean: torch.Tensor = (
            encoder.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
            .last_hidden_state[0]
            .mean(0)
        )
    return mean
