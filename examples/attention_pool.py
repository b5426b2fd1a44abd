"""Fits an attention pool on the frozen token states of a sentence model, and compares it with the mean.

The model is never trained: its token states are computed once, and what is fitted is one vector per head, which scores
the tokens. It starts as the mean (all scores 0), so that whatever it gains or loses comes from the fit. When to stop
is decided on a part of the pairs to fit on, never on those held out.

    python examples/attention_pool.py --data stsb-en-dev.csv

DATA is a CSV file without header, `sentence1,sentence2,score`. Each seed draws another split, and no sentence is on
both sides. The splits overlap, so that their spread is smaller than that of as many data sets would be. Without --data
a small list that comes with polypool is used, which only shows that everything runs.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

import polypool as pp
from polypool.demo.corpus import PAIRS
from polypool.demo.encoder import find_model, stay_offline
from polypool.text import SentencePooling, TextEncoder

BATCH = 64
# The share of the pairs to fit on that only says when to stop, and after how many steps without a gain that is.
JUDGES = 0.25
PATIENCE = 10


@dataclass(frozen=True)
class Pairs:
    """Pairs of sentences and how similar people find them.

    Attributes:
        sentences: Each sentence once.
        places: `(P, 2)`, the two sentences of each pair.
        scores: `(P,)`, larger for more similar.
    """

    sentences: list[str]
    places: Tensor
    scores: Tensor


@dataclass(frozen=True)
class Outcome:
    """Spearman correlation with the scores, for one split."""

    mean_fitted: float
    mean_held_out: float
    attention_fitted: float
    attention_held_out: float
    steps: int

    @property
    def gain(self) -> float:
        """What the attention adds on sentences that it was not fitted on."""
        return self.attention_held_out - self.mean_held_out


def read(path: Path) -> Pairs:
    """The pairs of a CSV file without header."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(first, second, float(score)) for first, second, score in csv.reader(file)]
    return numbered(rows)


def built_in() -> Pairs:
    """Sentences that mean the same have the score 1, neighbours in the list 0."""
    firsts = [first for first, _ in PAIRS]
    same = [(first, second, 1.0) for first, second in PAIRS]
    other = [(first, second, 0.0) for first, (_, second) in zip(firsts[::2], PAIRS[1::2], strict=True)]
    return numbered([*same, *other])


def numbered(rows: list[tuple[str, str, float]]) -> Pairs:
    """Gives each sentence its number."""
    number: dict[str, int] = {}
    places = [[number.setdefault(text, len(number)) for text in row[:2]] for row in rows]
    return Pairs(list(number), torch.tensor(places), torch.tensor([row[2] for row in rows]))


@torch.no_grad()
def token_states(encoder: TextEncoder, sentences: list[str]) -> list[Tensor]:
    """The states of the tokens of each sentence, `(n, C)`; sentences of one length go through the model together."""
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    found: dict[int, Tensor] = {}
    for batch in track(batches, "token states", transient=True):
        features = encoder.tokenizer(
            [sentences[i] for i in batch],
            padding=True,
            truncation=True,
            max_length=encoder.max_tokens,
            return_tensors="pt",
        )
        states = encoder.states({key: value.to(encoder.device) for key, value in features.items()}).cpu()
        for place, row, mask in zip(batch, states, features["attention_mask"].bool(), strict=True):
            found[place] = row[mask]
    return [found[i] for i in range(len(sentences))]


def split(pairs: Pairs, chosen: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Some pairs in two parts, the second with the share; pairs that have a sentence in common stay together."""
    group = list(range(len(pairs.sentences)))

    def root(i: int) -> int:
        while group[i] != i:
            group[i] = group[group[i]]
            i = group[i]
        return i

    places = pairs.places[chosen].tolist()
    for first, second in places:
        group[root(first)] = root(second)
    groups: dict[int, list[int]] = defaultdict(list)
    for pair, (first, _) in zip(chosen.tolist(), places, strict=True):
        groups[root(first)].append(pair)
    listed = list(groups.values())
    wanted, left, right = share * len(chosen), list[int](), list[int]()
    for i in torch.randperm(len(listed), generator=torch.Generator().manual_seed(seed)).tolist():
        (right if len(right) < wanted else left).extend(listed[i])
    return torch.tensor(sorted(left), dtype=torch.int64), torch.tensor(sorted(right), dtype=torch.int64)


class Side:
    """The pairs of one side of a split, with the token states of their sentences."""

    def __init__(self, pairs: Pairs, states: list[Tensor], chosen: Tensor) -> None:
        used, self.places = pairs.places[chosen].unique(return_inverse=True)
        self.tokens = pp.Packed.from_list([states[i] for i in used.tolist()])
        self.scores = pairs.scores[chosen]

    def similarities(self, pool: pp.Pooling) -> Tensor:
        """`(P,)`, the cosine of each pair."""
        first, second = pool(self.tokens)[self.places].unbind(1)
        return torch.cosine_similarity(first, second)

    @torch.no_grad()
    def spearman(self, pool: pp.Pooling) -> float:
        """How well the cosines order the pairs."""
        return float(correlation(ranks(self.similarities(pool)), ranks(self.scores)))


def ranks(x: Tensor) -> Tensor:
    """The place of each number in ascending order; equal ones share the middle of their places."""
    _, inverse, counts = x.unique(return_inverse=True, return_counts=True)
    ends = counts.cumsum(0).double()
    return (ends - (counts - 1) / 2)[inverse]


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's."""
    return torch.cosine_similarity(a - a.mean(), b - b.mean(), dim=0)


def fit(pool: pp.Pooling, side: Side, judge: Side, steps: int, rate: float) -> int:
    """Makes the cosines follow the scores: one minus their correlation, all pairs in each step.

    A few steps help and more of them learn the pairs by heart, so that the pool is left as it was when it ordered the
    pairs of `judge` best; that may be after no step at all.

    Returns:
        How many steps that was.
    """
    optimizer = torch.optim.AdamW(pool.parameters(), lr=rate, weight_decay=0.01)
    best, kept, at = judge.spearman(pool), deepcopy(pool.state_dict()), 0
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss = 1 - correlation(side.similarities(pool), side.scores)
        loss.backward()
        optimizer.step()
        reached = judge.spearman(pool)
        if reached > best:
            best, kept, at = reached, deepcopy(pool.state_dict()), step
        elif step - at >= PATIENCE:
            break
    pool.load_state_dict(kept)
    return at


def attention(channels: int, heads: int) -> SentencePooling:
    """An attention pool whose scores are all 0, which makes it the mean."""
    pooling = SentencePooling(channels, "attention", settings={"heads": heads})
    for parameter in pooling.parameters():
        torch.nn.init.zeros_(parameter)
    return pooling


def compare(
    pairs: Pairs, states: list[Tensor], held_out: float, seed: int, heads: int, steps: int, rate: float
) -> tuple[Outcome, SentencePooling]:
    """Fits on one side of a split and measures both poolings on both sides."""
    mine, rest = split(pairs, torch.arange(len(pairs.scores)), held_out, seed)
    teach, judge = split(pairs, mine, JUDGES, seed)
    fitted, other = Side(pairs, states, mine), Side(pairs, states, rest)
    plain, pooling = pp.build("mean"), attention(states[0].shape[1], heads)
    taken = fit(pooling.pool, Side(pairs, states, teach), Side(pairs, states, judge), steps, rate)
    outcome = Outcome(
        fitted.spearman(plain),
        other.spearman(plain),
        fitted.spearman(pooling.pool),
        other.spearman(pooling.pool),
        taken,
    )
    return outcome, pooling


def verdict(outcomes: list[Outcome]) -> str:
    """What the splits say, in words."""
    gains = [each.gain for each in outcomes]
    better, spread = sum(gain > 0 for gain in gains), stdev(gains)
    if abs(mean(gains)) <= spread:
        said = "makes no difference beyond the spread between splits"
    else:
        said = "is better than the mean" if mean(gains) > 0 else "is worse than the mean"
    return (
        f"On sentences it has not seen, the attention pool {said}: {mean(gains):+.4f} ± {spread:.4f} (mean and "
        f"standard deviation over {len(gains)} splits), better in {better} of them."
    )


def main(
    data: Annotated[
        Path | None, typer.Option(metavar="CSV", help="sentence1,sentence2,score", exists=True)
    ] = None,
    model: Annotated[Path | None, typer.Option(metavar="DIR", help="Another sentence model.")] = None,
    seeds: Annotated[int, typer.Option(min=2, help="How many splits.")] = 5,
    held_out: Annotated[
        float, typer.Option(min=0.1, max=0.9, help="Share of the pairs to measure on.")
    ] = 0.3,
    heads: Annotated[int, typer.Option(min=1, help="Scores per token; a divisor of the channels.")] = 1,
    steps: Annotated[int, typer.Option(min=0, help="At most so many.")] = 200,
    rate: Annotated[float, typer.Option(min=0.0, help="Learning rate.")] = 0.002,
    save: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Save the encoder with the last pool.")
    ] = None,
) -> None:
    """Fit an attention pool on frozen token states and compare it with the mean."""
    stay_offline()
    console = Console(highlight=False)
    encoder = TextEncoder.load(find_model(model), pool="mean")
    pairs = built_in() if data is None else read(data)
    states = token_states(encoder, pairs.sentences)
    outcomes = []
    for seed in track(range(seeds), "fits", transient=True):
        outcome, pooling = compare(pairs, states, held_out, seed, heads, steps, rate)
        outcomes.append(outcome)
    table = Table(
        "split", "steps", "pairs", "mean", "attention", "gain", title="Spearman correlation with the scores"
    )
    for seed, each in enumerate(outcomes):
        for name, plain, fitted in (
            ("fitted on", each.mean_fitted, each.attention_fitted),
            ("held out", each.mean_held_out, each.attention_held_out),
        ):
            table.add_row(
                str(seed), str(each.steps), name, f"{plain:.4f}", f"{fitted:.4f}", f"{fitted - plain:+.4f}"
            )
    console.print(table)
    if data is None:
        console.print(
            f"{len(pairs.scores)} pairs that come with polypool: too few to say anything. This is only a "
            "demonstration; pass --data with the pairs of STS-B."
        )
    else:
        console.print(verdict(outcomes))
    if save is not None:
        encoder.pooling = pooling
        encoder.save(save)
        console.print(f"Saved to {save}, for TextEncoder.load.")


if __name__ == "__main__":
    typer.run(main)
