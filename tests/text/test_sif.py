"""Weights of tokens by their frequency, against the authors' formula written out."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

import polypool as pp
from polypool.text.sif import TokenCounts, count_tokens
from tests.support import close, integers, normal
from tests.text import tiny

IDS = integers(20, 7, 9, seed=3)


def test_the_formula() -> None:
    mask = integers(2, 7, 9, seed=4)
    counts = TokenCounts(25, special=[0, 3]).update(IDS, mask)
    seen = Counter(
        int(i) for i, m in zip(IDS.flatten(), mask.flatten(), strict=True) if m and int(i) not in (0, 3)
    )
    assert counts.counts.tolist() == [seen[i] for i in range(25)]
    total = seen.total()
    expected = [0.0 if i in (0, 3) else 1e-3 / (1e-3 + seen[i] / total) for i in range(25)]
    np.testing.assert_allclose(counts.weights().numpy(), expected, rtol=1e-6)
    assert counts.weights()[24] == 1, "a token that never occurred"


def test_batches_and_shards_count_the_same() -> None:
    whole = TokenCounts(20, special=[1]).update(IDS)
    streamed = TokenCounts(20, special=[1])
    for row in IDS:
        streamed.update(row)
    merged = TokenCounts(20, special=[1]).update(IDS[:3]).merge(TokenCounts(20, special=[1]).update(IDS[3:]))
    assert torch.equal(streamed.counts, whole.counts)
    assert torch.equal(merged.counts, whole.counts)
    assert whole.total == int((IDS != 1).sum())


def test_a_sentence_as_the_authors_write_it() -> None:
    """Their `1/|s| sum a/(a+p) v` is the weighted sum over the number of tokens, and points where the mean does."""
    table = TokenCounts(20, special=[0]).update(IDS).weights(a=0.01).double()
    hidden, ids = normal(7, 9, 4), IDS
    tokens = pp.Tokens(hidden, weight=table[ids])
    for row in range(7):
        real = ids[row] != 0
        theirs = (table[ids[row]][real, None] * hidden[row][real]).sum(0) / real.sum()
        close(pp.build("sum")(tokens)[row] / real.sum(), theirs)
        close(
            torch.cosine_similarity(pp.build("mean")(tokens)[row], theirs, dim=0), torch.tensor(1.0).double()
        )


def test_tokens_of_weight_0_are_never_read() -> None:
    table = TokenCounts(4, special=[0]).update(torch.tensor([1, 2, 2])).weights()
    hidden = torch.tensor([[[float("nan")], [2.0], [2.0]]])
    close(pp.build("mean")(pp.Tokens(hidden, weight=table[torch.tensor([[0, 1, 2]])])), torch.tensor([[2.0]]))


def test_texts_are_counted_in_full_and_without_special_tokens() -> None:
    tokenizer = tiny.tokenizer(longest=6)
    texts = [*tiny.TEXTS, " ".join(tiny.TEXTS * 3), ""]
    counts = count_tokens(tokenizer, iter(texts), chunk=2)
    expected: Counter[int] = Counter()
    for text in texts:
        expected.update(tokenizer(text, add_special_tokens=False)["input_ids"])
    for special in tokenizer.all_special_ids:
        expected.pop(special, None)
    assert Counter({i: n for i, n in enumerate(counts.counts.tolist()) if n}) == expected
    weights = counts.weights()
    assert all(weights[i] == 0 for i in tokenizer.all_special_ids)
    assert len(weights) == len(tokenizer)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: TokenCounts(0), ValueError, "vocabulary must be >= 1"),
        (lambda: TokenCounts(4, special=[4]), ValueError, r"special must hold ids in \[0, 4\)"),
        (lambda: TokenCounts(4).update(torch.tensor([4])), ValueError, "input_ids must be in .* found 4"),
        (lambda: TokenCounts(4).update(torch.tensor([0.5])), TypeError, "input_ids must hold integers"),
        (lambda: TokenCounts(4).update(IDS, IDS[:2]), ValueError, "attention_mask must have shape"),
        (lambda: TokenCounts(4).weights(), ValueError, "counts must hold at least one token"),
        (
            lambda: TokenCounts(4).update(torch.tensor([1])).weights(0),
            ValueError,
            "a must be > 0 and finite; found 0",
        ),
        (lambda: TokenCounts(4).merge(TokenCounts(5)), ValueError, "other must count the same vocabulary"),
        (lambda: count_tokens(tiny.tokenizer(), "a text"), TypeError, "texts must be several texts"),
        (lambda: count_tokens(tiny.tokenizer(), []), ValueError, "texts must hold at least one token"),
        (lambda: count_tokens(tiny.tokenizer(), ["a"], chunk=0), ValueError, "chunk must be >= 1"),
    ],
)
def test_what_cannot_be(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_nothing_is_counted_of_a_batch_that_is_refused() -> None:
    counts = TokenCounts(4)
    with pytest.raises(ValueError, match="input_ids"):
        counts.update(torch.tensor([1, 2, 9]))
    assert counts.total == 0
