"""sentence-transformers and we read what the other writes, and make the same vectors of it."""

from __future__ import annotations

import csv
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.text import Dense, LayerNorm, Normalize, SentencePooling, TextEncoder
from tests.support import shared_data
from tests.text import tiny

SIX = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
#: Two that they concatenate too; the second in an order that their older form cannot say.
COMBINED = (("cls", "mean"), ("mean", "max", "cls"))
TEXTS = list(tiny.TEXTS)


def sentence_transformer(folder: Path | list[Any], **settings: Any) -> Any:
    from sentence_transformers import SentenceTransformer

    if isinstance(folder, list):
        return SentenceTransformer(modules=folder, device="cpu", **settings)
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True, **settings)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.plain_folder(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("mode", [*SIX, *COMBINED], ids=str)
def test_they_read_what_we_save(mode: str | tuple[str, ...], plain: Path, tmp_path: Path) -> None:
    pool = mode if isinstance(mode, str) else "+".join(mode)
    encoder = TextEncoder.load(plain, pool=pool, device="cpu")
    encoder.save(tmp_path / "model")
    assert "polypool" not in (tmp_path / "model" / "modules.json").read_text()
    theirs = sentence_transformer(tmp_path / "model")
    assert type(theirs[1]).__module__.startswith("sentence_transformers.")
    assert theirs.get_embedding_dimension() == encoder.dimension
    assert theirs.max_seq_length == encoder.max_tokens
    np.testing.assert_allclose(theirs.encode(TEXTS), encoder.encode(TEXTS), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", [*SIX, *COMBINED], ids=str)
def test_we_read_what_they_save(mode: str | tuple[str, ...], plain: Path, tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    theirs = sentence_transformer([Transformer(str(plain)), Pooling(tiny.HIDDEN, mode)])
    theirs.save(str(tmp_path / "model"), create_model_card=False)
    encoder = TextEncoder.load(tmp_path / "model", device="cpu")
    assert encoder.max_tokens == theirs.max_seq_length
    np.testing.assert_allclose(encoder.encode(TEXTS), theirs.encode(TEXTS), rtol=0, atol=1e-6)


def test_a_whole_chain_both_ways(plain: Path, tmp_path: Path) -> None:
    """Dense, layer normalisation, normalisation, prompts, a limit and fewer dimensions."""
    encoder = TextEncoder.load(plain, pool="mean+max", device="cpu")
    weight = torch.linspace(-1, 1, 12 * 2 * tiny.HIDDEN).view(12, -1).sin()
    for module in (Dense(weight, torch.linspace(0, 1, 12), "gelu"), LayerNorm(12), Normalize()):
        encoder.append(module)
    encoder.prompts, encoder.default_prompt = {"query": "query: ", "document": ""}, "query"
    encoder.max_tokens, encoder.truncate, encoder.similarity = 9, 5, "dot"
    encoder.save(tmp_path / "ours")

    theirs = sentence_transformer(tmp_path / "ours")
    assert (theirs.prompts, theirs.default_prompt_name) == (encoder.prompts, "query")
    assert (theirs.max_seq_length, theirs.truncate_dim, theirs.similarity_fn_name) == (9, 5, "dot")
    for ours, their in ((None, {}), ("document", {"prompt_name": "document"}), ("a ", {"prompt": "a "})):
        np.testing.assert_allclose(
            theirs.encode(TEXTS, **their), encoder.encode(TEXTS, prompt=ours), rtol=0, atol=1e-6
        )
    np.testing.assert_allclose(
        theirs.encode(TEXTS, normalize_embeddings=True),
        encoder.encode(TEXTS, normalize=True),
        rtol=0,
        atol=1e-6,
    )

    theirs.save(str(tmp_path / "theirs"), create_model_card=False)
    again = TextEncoder.load(tmp_path / "theirs", device="cpu")
    assert repr(again) == repr(encoder)
    np.testing.assert_allclose(again.encode(TEXTS), encoder.encode(TEXTS), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", SIX)
def test_prompts_that_are_not_pooled(mode: str, plain: Path, tmp_path: Path) -> None:
    pooling = SentencePooling(tiny.HIDDEN, mode, include_prompt=False)
    encoder = TextEncoder.load(plain, pool=pooling, device="cpu")
    encoder.save(tmp_path / "model")
    theirs = sentence_transformer(tmp_path / "model")
    texts = [text for text in TEXTS if text]
    found = encoder.encode(texts, prompt="query: ")
    np.testing.assert_allclose(theirs.encode(texts, prompt="query: "), found, rtol=0, atol=1e-6)


def test_our_pooling_in_their_model(plain: Path, tmp_path: Path) -> None:
    """What they save with it, we load."""
    from sentence_transformers.sentence_transformer.modules import Transformer

    theirs = sentence_transformer([Transformer(str(plain)), SentencePooling(tiny.HIDDEN, "mean+std")])
    theirs.save(str(tmp_path / "model"), create_model_card=False)
    encoder = TextEncoder.load(tmp_path / "model", device="cpu")
    np.testing.assert_allclose(encoder.encode(TEXTS), theirs.encode(TEXTS), rtol=0, atol=1e-6)


def test_left_padding(tmp_path: Path) -> None:
    """A model of relative positions gives the same on either side; theirs is the reference."""
    encoder = TextEncoder.load(
        tiny.plain_folder(tmp_path / "plain", side="left"), pool="lasttoken", device="cpu"
    )
    encoder.save(tmp_path / "model")
    alone = [encoder.encode(text) for text in TEXTS]
    theirs = sentence_transformer(tmp_path / "model")
    np.testing.assert_allclose([theirs.encode(text) for text in TEXTS], alone, rtol=0, atol=1e-6)


# The real model on real sentences.


@pytest.fixture(scope="module")
def minilm() -> Path:
    from polypool.demo.encoder import find_model

    return find_model(None)


def pairs() -> list[str]:
    with shared_data("stsb-en-dev.csv").open(encoding="utf-8", newline="") as file:
        return [text for row in csv.reader(file) for text in row[:2]]


def states_of(encoder: TextEncoder, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Hidden states and mask of one padded batch."""
    features = dict(encoder.tokenizer(texts, padding=True, return_tensors="pt"))
    with torch.inference_mode():
        return encoder.states(features), features["attention_mask"]


@pytest.mark.parametrize("mode", SIX)
def test_minilm_in_every_form(mode: str, minilm: Path) -> None:
    """Padded, left-padded, packed, one at a time, and with NaN in the padding: one result, and it is theirs."""
    from polypool.demo.corpus import SENTENCES

    encoder = TextEncoder.load(minilm, pool=mode, device="cpu")
    hidden, mask = states_of(encoder, list(SENTENCES))
    forms_agree(hidden, mask, mode)


def forms_agree(hidden: Tensor, mask: Tensor, mode: str) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    width = hidden.shape[-1]
    features = {"token_embeddings": hidden, "attention_mask": mask}
    expected = Pooling(width, mode)(dict(features))["sentence_embedding"]
    pooling = SentencePooling(width, mode)
    lengths = mask.sum(1)
    poisoned = torch.where(mask[..., None] > 0, hidden, torch.nan)
    order = torch.arange(mask.shape[1])
    turned = [(order + int(length)) % mask.shape[1] for length in lengths]
    left = torch.stack([row[place] for row, place in zip(poisoned, turned, strict=True)])
    left_mask = torch.stack([row[place] for row, place in zip(mask, turned, strict=True)])
    packed = pp.Packed.from_lengths(hidden[mask.bool()], lengths)
    found = {
        "padded": pooling(dict(features))["sentence_embedding"],
        "NaN in padding": pooling({"token_embeddings": poisoned, "attention_mask": mask})[
            "sentence_embedding"
        ],
        "left-padded": pooling({"token_embeddings": left, "attention_mask": left_mask})["sentence_embedding"],
        "packed": pooling.pool(packed),
        "one at a time": torch.cat(
            [
                pooling({"token_embeddings": row[None, :length], "attention_mask": own[None, :length]})[
                    "sentence_embedding"
                ]
                for row, own, length in zip(hidden, mask, lengths.tolist(), strict=True)
            ]
        ),
    }
    # Of a size that grows with the length of the text, which a unit vector's does not.
    size = float(expected.abs().max().clamp(min=1))
    for form, pooled in found.items():
        assert float((pooled - expected).abs().max()) <= 1e-6 * size, form


def test_minilm_texts(minilm: Path) -> None:
    from polypool.demo.corpus import SENTENCES

    texts = [*SENTENCES[:6], "", " ", "one", "word " * 300]
    theirs = sentence_transformer(minilm).encode(texts)
    encoder = TextEncoder.load(minilm, device="cpu")
    np.testing.assert_allclose(encoder.encode(texts), theirs, rtol=0, atol=1e-6)
    assert (encoder.report.truncated, encoder.report.empty) == (1, 2)


@pytest.mark.slow
def test_minilm_on_all_of_the_development_set(minilm: Path) -> None:
    texts = pairs()
    assert len(texts) == 3000
    theirs = sentence_transformer(minilm).encode(texts, batch_size=32)
    encoder = TextEncoder.load(minilm, device="cpu")
    ours = encoder.encode(texts)
    assert np.abs(ours - theirs).max() <= 1e-6
    alone = np.stack([encoder.encode(text) for text in texts])
    assert np.abs(alone - theirs).max() <= 1e-6


@pytest.fixture(scope="module")
def development_set(minilm: Path) -> list[tuple[Tensor, Tensor]]:
    """The states and masks of both sentences of all pairs, a hundred at a time."""
    encoder, texts = TextEncoder.load(minilm, device="cpu"), pairs()
    return [states_of(encoder, texts[start : start + 100]) for start in range(0, len(texts), 100)]


@pytest.mark.slow
@pytest.mark.parametrize("mode", SIX)
def test_minilm_states_of_the_development_set(
    mode: str, development_set: list[tuple[Tensor, Tensor]]
) -> None:
    assert sum(len(mask) for _, mask in development_set) == 3000
    for hidden, mask in development_set:
        forms_agree(hidden, mask, mode)


@pytest.mark.usefixtures("minilm")
def test_the_example_prints_one_number_for_both(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    both_print_the_same([], monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.usefixtures("minilm")
def test_the_example_on_the_development_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert both_print_the_same(["--data", str(shared_data("stsb-en-dev.csv"))], monkeypatch, capsys) > 0.85


def both_print_the_same(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> float:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
    import_module("sts").main(arguments)
    found = [line.split() for line in capsys.readouterr().out.splitlines() if "Spearman" in line]
    assert [line[0] for line in found] == ["polypool", "sentence-transformers"]
    assert found[0][2] == found[1][2]
    return float(found[0][2])
