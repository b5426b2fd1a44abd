"""The sentence section: its arithmetic on made-up tokens, and the real model once."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import polypool as pp
from polypool.demo import encoder, sentences
from polypool.demo.budget import TINY, Budget
from polypool.demo.corpus import SENTENCES, partners


def test_every_sentence_has_its_partner() -> None:
    pairs = partners()
    assert len(set(SENTENCES)) == len(SENTENCES) == 24
    assert [pairs[i] for i in pairs] == list(range(24))
    assert all(i != other for i, other in enumerate(pairs))


def test_nearest_is_another_sentence() -> None:
    similarity = sentences.similarities(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 2.0]]))
    torch.testing.assert_close(similarity.diagonal(), torch.ones(3))
    assert sentences.nearest(similarity).tolist() == [1, 0, 1]


def test_a_row_counts_found_partners() -> None:
    vectors = torch.eye(12).repeat_interleave(2, dim=0)
    assert sentences.pooling_row("mean", vectors) == ("mean", "12", "24 of 24", "1.000", "0.000")


def test_no_model_is_said_and_nothing_else_happens(tmp_path: Path, pools: dict[str, pp.Pooling]) -> None:
    section = sentences.section(pools, TINY, tmp_path / "nowhere", lambda: None)
    assert section.intro.startswith("Left out: ")
    assert "holds no model" in section.intro
    assert [*section.tables, *section.facts, *section.pictures] == []


def test_a_missing_rival_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pools: dict[str, pp.Pooling]
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    assert "not installed" in sentences.compare(tmp_path, torch.zeros(24, 3), Budget())


@pytest.mark.usefixtures("no_network")
def test_mean_is_that_of_sentence_transformers(pools: dict[str, pp.Pooling]) -> None:
    loaded = encoder.load(encoder.find_model(None))
    layout = loaded.tokens(SENTENCES)
    said = sentences.compare(loaded.folder, F.normalize(pools["mean"](layout)), Budget())
    assert said.startswith("Largest difference to sentence-transformers on the same 24 sentences: ")
    assert float(said.split()[-1].rstrip(".")) <= 1e-6


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["mean", "sum", "max"])
def test_contributions_sum_to_the_similarity(name: str, pools: dict[str, pp.Pooling]) -> None:
    loaded = encoder.load(encoder.find_model(None))
    split = sentences.contributions(loaded, pools[name])
    one, other = pools[name](loaded.tokens(SENTENCES))[:2]
    cosine = F.cosine_similarity(one, other, dim=0)
    torch.testing.assert_close(split.values.sum(1), cosine.expand(2))
    assert [row[1:3] for row in split.tokens] == [("a", "cat"), ("the", "kitten")]
    assert split.other == SENTENCES[1::-1]
