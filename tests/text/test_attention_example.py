"""The example that fits an attention pool runs, and measures what it says."""

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import typer
from typer.testing import CliRunner

import polypool as pp
from polypool.text import TextEncoder
from tests.support import close, normal

pytestmark = pytest.mark.xdist_group("attention_example")
PATH = Path(__file__).parents[2] / "examples/attention_pool.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("attention_pool_example", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def run(example: ModuleType, *words: str) -> str:
    app = typer.Typer()
    app.command()(example.main)
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.slow
def test_without_data_it_is_a_demonstration(example: ModuleType, tmp_path: Path) -> None:
    said = run(example, "--seeds", "2", "--steps", "3", "--heads", "2", "--save", str(tmp_path / "saved"))
    assert "only a demonstration" in said
    assert "better in" not in said, "no verdict on a handful of pairs"
    saved = TextEncoder.load(tmp_path / "saved")
    assert (saved.pooling.config.pool, saved.pooling.config.settings) == ("attention", {"heads": 2})
    assert saved.encode(["A cat sleeps.", "A dog runs."]).shape == (2, 384)


def test_with_data_it_says_what_came_out(example: ModuleType, tmp_path: Path) -> None:
    pairs = example.built_in()
    path = tmp_path / "pairs.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = zip(pairs.places.tolist(), pairs.scores.tolist(), strict=True)
        csv.writer(file).writerows([*(pairs.sentences[i] for i in two), score] for two, score in rows)
    again = example.read(path)
    assert again.sentences == pairs.sentences
    assert torch.equal(again.places, pairs.places)
    said = run(example, "--data", str(path), "--seeds", "2", "--steps", "0")
    assert "no difference beyond the spread between splits: +0.0000 ± 0.0000" in said, (
        "no step, no difference"
    )


def test_it_starts_as_the_mean(example: ModuleType) -> None:
    tokens = pp.Packed(normal(9, 4, dtype=torch.float32), torch.tensor([0, 5, 9]))
    close(example.attention(4, heads=2).pool(tokens), pp.build("mean")(tokens))


@pytest.mark.parametrize("seed", range(4))
def test_no_sentence_is_on_both_sides(example: ModuleType, seed: int) -> None:
    rows = [(f"s{i % 23}", f"s{(i * 7 + 3) % 31}", float(i % 5)) for i in range(0, 40, 2)]
    pairs = example.numbered([*rows, *[(f"a{i}", f"b{i}", 1.0) for i in range(30)]])
    chosen = torch.arange(0, len(pairs.scores), 2) if seed else torch.arange(len(pairs.scores))
    fitted, held_out = example.split(pairs, chosen, 0.3, seed)
    assert sorted([*fitted.tolist(), *held_out.tolist()]) == chosen.tolist()
    assert not set(pairs.places[fitted].flatten().tolist()) & set(pairs.places[held_out].flatten().tolist())
    assert 0.3 * len(chosen) <= len(held_out) < len(chosen)


def test_spearman_is_that_of_scipy(example: ModuleType) -> None:
    from scipy import stats

    a, b = normal(50).round(decimals=1), normal(50, seed=1).round(decimals=0)
    ours = float(example.correlation(example.ranks(a), example.ranks(b)))
    assert ours == pytest.approx(stats.spearmanr(a.numpy(), b.numpy()).statistic, abs=1e-12)


def test_a_fit_finds_the_token_that_matters(example: ModuleType) -> None:
    """One channel marks the token that carries the meaning; the rest of each sentence is noise."""
    meaning, count = normal(400, 4, seed=1, dtype=torch.float32), 5
    noise = normal(400, count, 5, seed=2, dtype=torch.float32) * torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0])
    noise[:, 0] = torch.cat([meaning, torch.ones(400, 1)], 1)
    places = torch.stack([torch.arange(0, 400, 2), torch.arange(1, 400, 2)], 1)
    scores = torch.cosine_similarity(meaning[::2], meaning[1::2])
    pairs = example.Pairs([str(i) for i in range(400)], places, scores)
    outcome, _ = example.compare(pairs, list(noise), 0.3, 0, 1, steps=400, rate=0.05)
    assert outcome.attention_held_out > 0.8 > outcome.mean_held_out
    assert outcome.gain > 0.2
    assert "better than the mean: " in example.verdict([outcome, example.Outcome(0.0, 0.1, 0.0, 0.8, 1)])


def test_a_fit_on_noise_stops_early_or_where_it_began(example: ModuleType) -> None:
    """Scores that have nothing to do with the sentences: learning them by heart must not count as a gain."""
    states = list(normal(80, 6, 8, seed=3, dtype=torch.float32))
    places = torch.arange(80).view(40, 2)
    pairs = example.Pairs([str(i) for i in range(80)], places, normal(40, seed=4, dtype=torch.float32))
    outcome, _ = example.compare(pairs, states, 0.3, 0, 1, steps=400, rate=0.05)
    assert outcome.steps < 50
    teach, judge = (example.Side(pairs, states, torch.arange(*ends)) for ends in ((0, 20), (20, 40)))
    pool = example.attention(8, 1).pool
    before = judge.spearman(pool)
    taken = example.fit(pool, teach, judge, 200, 0.05)
    assert judge.spearman(pool) >= before
    assert (judge.spearman(pool) == before) == (taken == 0)
