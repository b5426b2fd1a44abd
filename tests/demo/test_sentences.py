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


@pytest.fixture
def tokens() -> pp.Tokens:
    values = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    return pp.Tokens(values, mask)


def test_every_sentence_has_its_partner() -> None:
    pairs = partners()
    assert len(set(SENTENCES)) == len(SENTENCES) == 24
    assert [pairs[i] for i in pairs] == list(range(24))
    assert all(i != other for i, other in enumerate(pairs))


@pytest.mark.parametrize("name", ["mean", "sum"])
@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0)])
def test_contributions_sum_to_the_similarity(
    name: str, first: int, second: int, tokens: pp.Tokens, pools: dict[str, pp.Pooling]
) -> None:
    split = sentences.contributions(pools[name], tokens, first, second)
    one, other = pools[name](tokens)[[first, second]]
    cosine = F.cosine_similarity(one, other, dim=0)
    torch.testing.assert_close(split.sum(), cosine)
    assert split[3:].eq(0).all() or first == 1


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
    layout, names = loaded.tokens(SENTENCES)
    assert [len(row) for row in names] == layout.counts.tolist()
    assert names[0][:3] == ["[CLS]", "a", "cat"]
    said = sentences.compare(loaded.folder, F.normalize(pools["mean"](layout)), Budget())
    assert said.startswith("Largest difference to sentence-transformers on the same 24 sentences: ")
    assert float(said.split()[-1].rstrip(".")) <= 1e-6
