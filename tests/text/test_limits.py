"""How many tokens a model can take, and what is refused because nothing of a text would be read."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polypool.text import ModelFolderError, SentencePooling, TextEncoder
from tests.text import tiny

LONG = "the cat sleeps and the dog runs " * 12


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.plain_folder(tmp_path_factory.mktemp("plain"))


@pytest.fixture
def encoder(plain: Path) -> TextEncoder:
    return TextEncoder.load(plain, pool="mean", device="cpu")


def declared(folder: Path, limit: int) -> None:
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": limit}))


def roberta(folder: Path, positions: int = 14) -> Path:
    """Its table has two places more than it can use: it counts from behind the number of the padding token."""
    from transformers import RobertaConfig, RobertaModel

    words = tiny.tokenizer(longest=10**30)
    words.save_pretrained(folder)
    config = RobertaConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=positions, pad_token_id=1,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(folder)
    return folder


def t5(folder: Path) -> Path:
    """It knows distances between tokens and no places."""
    from transformers import T5Config, T5EncoderModel

    words = tiny.tokenizer(longest=20)
    words.save_pretrained(folder)
    T5EncoderModel(
        T5Config(vocab_size=len(words), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    ).save_pretrained(folder)
    return folder


def test_a_declared_limit_beyond_the_model_is_lowered_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tiny.plain_folder(tmp_path)
    declared(folder, 10_000)
    with caplog.at_level(logging.WARNING, logger="polypool.text"):
        encoder = TextEncoder.load(folder, pool="mean", device="cpu")
    assert encoder.max_tokens == tiny.LONGEST
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == (
        f"max_seq_length in {folder / 'sentence_bert_config.json'} is 10000, and the model has places for 32 tokens; "
        "32 are read."
    )
    assert np.isfinite(encoder.encode(LONG)).all()
    declared(folder, 20)
    assert TextEncoder.load(folder, pool="mean", device="cpu").max_tokens == 20


def test_the_limit_of_a_model_that_counts_from_behind_its_padding(tmp_path: Path) -> None:
    folder = roberta(tmp_path)
    assert TextEncoder.load(folder, pool="mean", device="cpu").max_tokens == 12
    declared(folder, 14)
    encoder = TextEncoder.load(folder, pool="mean", device="cpu")
    assert encoder.max_tokens == 12
    assert np.isfinite(encoder.encode(LONG)).all()
    with pytest.raises(
        ValueError, match="max_tokens must be <= 12, the places for tokens that the model has"
    ):
        encoder.max_tokens = 13
    assert encoder.max_tokens == 12


def test_a_limit_of_ones_own_is_one_that_the_model_can_take(encoder: TextEncoder) -> None:
    with pytest.raises(ValueError, match=r"max_tokens must be <= 32, .*; found 100"):
        encoder.max_tokens = 100
    assert encoder.max_tokens == 32
    assert TextEncoder(encoder.model, encoder.tokenizer, encoder.pooling, max_tokens=None).max_tokens == 32
    with pytest.raises(ValueError, match=r"max_tokens must be <= 32, .*; found 33"):
        TextEncoder(encoder.model, encoder.tokenizer, encoder.pooling, max_tokens=33)
    with pytest.raises(TypeError, match="max_tokens must be an int; found str"):
        encoder.max_tokens = "8"  # type: ignore[assignment]


def test_a_model_of_relative_positions_has_no_limit(tmp_path: Path) -> None:
    encoder = TextEncoder.load(t5(tmp_path), pool="mean", device="cpu")
    assert encoder.max_tokens == 20
    encoder.max_tokens = 5000
    assert np.isfinite(encoder.encode(LONG)).all()
    assert encoder.report.truncated == 0
    assert TextEncoder(encoder.model, encoder.tokenizer, encoder.pooling).max_tokens is None
    declared(tmp_path, 10_000)
    assert TextEncoder.load(tmp_path, pool="mean", device="cpu").max_tokens == 10_000


@pytest.mark.parametrize("limit", [1, 2])
def test_a_limit_below_one_token_of_text(limit: int, encoder: TextEncoder, tmp_path: Path) -> None:
    """[CLS] and [SEP] are always read: no text would be told from another."""
    message = rf"max_tokens must be >= 3, 2 special tokens and one of the text; found {limit}"
    with pytest.raises(ValueError, match=message):
        encoder.max_tokens = limit
    encoder.max_tokens = 3
    assert np.abs(encoder.encode("cat") - encoder.encode("dog")).max() > 1e-3
    folder = tiny.plain_folder(tmp_path / "framed")
    declared(folder, limit)
    with pytest.raises(ModelFolderError, match="sentence_bert_config.json: " + message):
        TextEncoder.load(folder, pool="mean", device="cpu")
    bare = TextEncoder.load(tiny.plain_folder(tmp_path / "bare", framed=False), pool="mean", device="cpu")
    bare.max_tokens = limit
    assert bare.max_tokens == limit


@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("method", ["encode", "encode_long"])
def test_a_prompt_that_leaves_no_room(
    method: str, include_prompt: bool, plain: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every text would lose all its tokens, and all vectors would be one."""
    pooling = SentencePooling(tiny.HIDDEN, "mean", include_prompt)
    encoder = TextEncoder.load(plain, pool=pooling, device="cpu")
    full = "query " * 30
    message = (
        r"the prompt must leave room for the text: of the 32 tokens that the model reads, the prompt 'query query .*' "
        r"and special tokens take 32\. Shorten it"
    )
    for texts in (["the cat", "a dog"], "the cat", []):
        with pytest.raises(ValueError, match=message) as caught:
            getattr(encoder, method)(texts, prompt=full)
        assert len(str(caught.value)) < 250
    encoder.prompts["long"] = full
    with pytest.raises(ValueError, match=message):
        getattr(encoder, method)("the cat", prompt="long")
    found = getattr(encoder, method)(["cat", "dog"], prompt="query " * 29)
    assert np.abs(found[0] - found[1]).max() > 1e-4


def test_the_overlap_that_nobody_passed_fits_a_long_prompt(encoder: TextEncoder) -> None:
    """Half of the room that the prompt leaves, at most; one that was passed is refused as ever."""
    for words in (20, 25, 27, 28, 29):
        prompt = "query " * words
        found = encoder.encode_long(LONG, prompt=prompt)
        assert np.isfinite(found).all()
        room = tiny.LONGEST - 2 - words
        expected = encoder.encode_long(LONG, overlap=min(tiny.LONGEST // 8, room // 2), prompt=prompt)
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(
        ValueError, match="overlap must be below 1, what 32 tokens leave beside 31 of the prompt"
    ):
        encoder.encode_long(LONG, overlap=1, prompt="query " * 29)


def test_one_string_is_no_stream(encoder: TextEncoder) -> None:
    """Its characters are strings too: they would be encoded one by one."""
    with pytest.raises(
        TypeError, match=r"texts must be several strings; found one str\. Use encode, or pass"
    ):
        encoder.stream("abc")
    assert [len(part) for part in encoder.stream(["abc"])] == [1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"as_tensor": 1}, "as_tensor must be a bool; found int"),
        ({"normalize": 1}, "normalize must be a bool"),
    ],
)
@pytest.mark.parametrize("texts", ["a cat", []], ids=["one", "none"])
def test_flags_are_true_or_false(
    texts: Any, settings: dict[str, Any], message: str, encoder: TextEncoder
) -> None:
    with pytest.raises(TypeError, match=message):
        encoder.encode(texts, **settings)


SIZES = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 40,
}  # fmt: skip
#: Checkpoints as they are trained, with the heads of their tasks: settings, and the places for tokens.
CHECKPOINTS: dict[str, tuple[str, dict[str, Any], int | None]] = {
    "BertForPreTraining": ("BertConfig", SIZES, 40),
    "RobertaForMaskedLM": ("RobertaConfig", SIZES | {"pad_token_id": 1}, 38),
    "MPNetForMaskedLM": ("MPNetConfig", SIZES | {"pad_token_id": 1}, 38),
    "AlbertForPreTraining": ("AlbertConfig", SIZES | {"embedding_size": 8}, 40),
    "ElectraForPreTraining": ("ElectraConfig", SIZES | {"embedding_size": 8}, 40),
    "DebertaV2ForMaskedLM": ("DebertaV2Config", SIZES | {"position_biased_input": False}, None),
    "NystromformerForMaskedLM": ("NystromformerConfig", SIZES, 40),
    "Qwen3ForCausalLM": ("Qwen3Config", SIZES | {"num_key_value_heads": 2, "head_dim": 8}, None),
    "T5ForConditionalGeneration": (
        "T5Config", {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}, None,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_architectures(name: str, tmp_path: Path) -> None:
    """They load without their heads, and a text of any length is encoded."""
    import transformers

    config, settings, places = CHECKPOINTS[name]
    words = tiny.tokenizer(longest=10**30)
    words.save_pretrained(tmp_path)
    made = getattr(transformers, config)(**{"vocab_size": len(words), "pad_token_id": 0} | settings)
    getattr(transformers, name)(made).save_pretrained(tmp_path)
    encoder = TextEncoder.load(tmp_path, pool="mean", device="cpu")
    encoder.max_tokens = None
    assert encoder.max_tokens == places
    assert np.isfinite(encoder.encode(LONG)).all()


def test_a_table_under_another_name(tmp_path: Path) -> None:
    """GPT-2 and its like call it `wpe`, BART and OPT `embed_positions`, with two places in front."""
    from transformers import GPT2Config, GPT2Model, OPTConfig, OPTModel

    words = tiny.tokenizer(longest=10**30)
    sizes = {"vocab_size": len(words), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    opt = OPTConfig(
        hidden_size=16, word_embed_proj_dim=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=32,
        max_position_embeddings=24, **sizes,
    )  # fmt: skip
    models = {
        "gpt2": GPT2Model(GPT2Config(n_positions=24, n_embd=16, n_layer=1, n_head=2, **sizes)),
        "opt": OPTModel(opt),
    }
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
        words.save_pretrained(tmp_path / name)
        encoder = TextEncoder.load(tmp_path / name, pool="lasttoken", device="cpu")
        assert encoder.max_tokens == 24, name
        with pytest.raises(ValueError, match="max_tokens must be <= 24"):
            encoder.max_tokens = 25
        assert torch.from_numpy(encoder.encode(LONG)).isfinite().all(), name
