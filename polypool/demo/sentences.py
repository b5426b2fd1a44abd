"""Sentences: a transformer's tokens become one vector, by several poolings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from polypool.demo import encoder, pictures, rival
from polypool.demo.corpus import SENTENCES, partners
from polypool.demo.report import ColoredText, Picture, Section, Table
from polypool.explain import TokenContributions, draw_tokens, token_contributions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

    import polypool as pp
    from polypool.demo.budget import Budget
    from polypool.demo.encoder import Encoder

POOLINGS = ("mean", "sum", "max", "std", "mean+max+std", "gem")
TITLE = "Sentences: which ones mean the same?"


def similarities(vectors: Tensor) -> Tensor:
    """Cosine of every sentence with every other, (B, B)."""
    unit = F.normalize(vectors)
    return unit @ unit.T


def nearest(similarity: Tensor) -> Tensor:
    """The most similar other sentence, (B,)."""
    return similarity.masked_fill(torch.eye(len(similarity), dtype=torch.bool), -torch.inf).argmax(1)


def contributions(loaded: Encoder, pool: pp.Pooling) -> TokenContributions:
    """What the tokens of each of the first two sentences add to the similarity with the other."""
    return token_contributions(
        loaded.model,
        tokenizer=loaded.tokenizer,
        text=SENTENCES[:2],
        to=SENTENCES[1::-1],
        pool=pool,
        max_length=encoder.LONGEST,
    )


def pooling_row(name: str, vectors: Tensor) -> tuple[str, ...]:
    """How well one pooling pairs the sentences up."""
    similarity = similarities(vectors)
    index, other = torch.arange(len(vectors)), torch.tensor(partners())
    together = similarity[index, other]
    apart = (similarity.sum() - similarity.trace() - together.sum()) / (len(index) * (len(index) - 2))
    found = (nearest(similarity) == other).sum().item()
    return (
        name,
        f"{vectors.shape[1]:,}",
        f"{found} of {len(index)}",
        f"{together.mean().item():.3f}",
        f"{apart.item():.3f}",
    )


def compare(folder: Path, ours: Tensor, budget: Budget) -> str:
    """One sentence: how far from sentence-transformers we are."""
    if not budget.rival:
        return "The comparison with sentence-transformers was left out."
    reason = rival.why_not_comparable(folder)
    if reason:
        return f"{reason}: no comparison with sentence-transformers."
    theirs = rival.embeddings(folder, SENTENCES)
    if theirs is None:
        return "sentence-transformers is not installed: no comparison."
    return (
        f"Largest difference to sentence-transformers on the same {len(SENTENCES)} sentences: "
        f"{(ours - theirs).abs().max().item():.1e}."
    )


def section(
    pools: Mapping[str, pp.Pooling], budget: Budget, model: Path | None, tick: Callable[[], object]
) -> Section:
    """Encode the sentences once, pool them in several ways, and explain one similarity; without a model, say so."""
    try:
        loaded = encoder.load(encoder.find_model(model))
        tokens = loaded.tokens(SENTENCES)
    except encoder.NoModelError as error:
        return Section(key="sentences", title=TITLE, intro=f"Left out: {error}")
    tick()
    return _report(pools, budget, loaded, tokens)


@torch.no_grad()
def _report(
    pools: Mapping[str, pp.Pooling],
    budget: Budget,
    loaded: Encoder,
    tokens: pp.Tokens,
) -> Section:
    pooled = {name: pools[name](tokens) for name in POOLINGS}
    ours = F.normalize(pooled["mean"])
    similarity = similarities(pooled["mean"])
    neighbour = nearest(similarity).tolist()
    split = contributions(loaded, pools["mean"])
    sums = split.values.double().sum(1).tolist()
    cosine = similarity[0, 1].item()
    worst = max(abs(total - cosine) for total in sums)
    return Section(
        key="sentences",
        title=TITLE,
        intro=(
            f"{len(SENTENCES)} sentences, in pairs that say the same in other words, go through a transformer "
            f"({_name(loaded.folder)}) once. Then its token vectors are pooled in several ways, padding never counted."
        ),
        code='polypool.build("mean")(polypool.Tokens(token_vectors, attention_mask))',
        tables=[
            Table(
                title="Poolings of the same tokens",
                columns=(
                    "pooling",
                    "dimensions",
                    "partner is nearest",
                    "similarity to partner",
                    "to the others",
                ),
                rows=[pooling_row(name, vectors) for name, vectors in pooled.items()],
                note=(
                    "Cosine similarities. Sum points the same way as mean; a model is trained for one pooling, and "
                    "all-MiniLM-L6-v2 was for mean."
                ),
            ),
            Table(
                title="Nearest neighbours, mean pooling",
                columns=("sentence", f"nearest of the {len(SENTENCES) - 1} others", "similarity"),
                rows=[
                    (SENTENCES[i], SENTENCES[neighbour[i]], f"{similarity[i, neighbour[i]].item():.3f}")
                    for i in range(0, len(SENTENCES), 2)
                ],
                note="The first sentence of each pair; the model never saw which belong together.",
            ),
        ],
        facts=[
            compare(loaded.folder, ours, budget),
            f"The tokens' contributions add up to the similarity {cosine:.6f}; largest difference {worst:.1e}.",
        ],
        texts=[
            ColoredText(
                title=f"What each token adds to the similarity with: {SENTENCES[1 - row]}",
                words=words,
                values=split.of(row).tolist(),
                note=f"Sum: {total:.6f}. Similarity: {cosine:.6f}.",
            )
            for row, (words, total) in enumerate(zip(split.tokens, sums, strict=True))
        ],
        pictures=[
            Picture(
                "sentences-similarity",
                "Every sentence with every other",
                "Cosine similarity under mean pooling; the dark blocks along the diagonal are the pairs that mean "
                "the same.",
                pictures.similarity(similarity, SENTENCES),
            ),
            Picture(
                "sentences-tokens",
                "Which words make two sentences similar",
                f"What each token adds to the similarity of two sentences; each line sums to {cosine:.3f}. "
                "[CLS] and [SEP] are the marks that the model puts around a sentence.",
                draw_tokens(split, width=7),
            ),
        ],
    )


def _name(folder: Path) -> str:
    return "all-MiniLM-L6-v2" if encoder.PACKAGE in folder.parts else folder.name
