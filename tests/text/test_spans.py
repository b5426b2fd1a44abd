"""Spans of characters become spans of tokens, one overlap rule for all; and what is cut from a text."""

import itertools
import random
from typing import Any

import pytest
import torch

import polypool as pp
from polypool.text.cuts import chunk_spans, sentence_spans, word_spans
from polypool.text.spans import (
    char_spans_to_token_spans,
    content_mask,
    pool_spans,
    word_ids_to_token_spans,
)
from tests.support import close, normal

# [CLS] un ##believ ##able , she said [SEP]
OFFSETS = torch.tensor([[[0, 0], [0, 2], [2, 8], [8, 12], [12, 13], [14, 17], [18, 22], [0, 0]]])


def random_text(rng: random.Random, tokens: int) -> list[tuple[int, int]]:
    """Offsets as tokenizers give them: gaps for spaces, touching sub-words, several tokens for one character."""
    found: list[tuple[int, int]] = []
    at = 0
    for _ in range(tokens):
        kind = rng.random()
        if kind < 0.15 and found:
            found.append(found[-1])  # bytes of one character
            continue
        if kind < 0.25:
            found.append((at, at))  # no character at all
            continue
        at += rng.choice((0, 0, 1, 3))
        found.append((at, at + rng.randint(1, 4)))
        at = found[-1][1]
    return found


def by_hand(tokens: list[tuple[int, int]], span: tuple[int, int]) -> list[int]:
    """The rule, token by token."""
    return [i for i, (a, b) in enumerate(tokens) if max(a, span[0]) < min(b, span[1])]


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("seed", range(8))
def test_every_token_that_shares_a_character_and_no_other(seed: int, packed: bool) -> None:
    rng = random.Random(seed)
    texts = [random_text(rng, rng.randint(0, 12)) for _ in range(4)]
    spans = [
        [tuple(sorted((rng.randint(0, 25), rng.randint(0, 25)))) for _ in range(rng.randint(0, 6))]
        for _ in texts
    ]
    left = seed % 2  # padding on either side
    longest = max(map(len, texts)) + 2
    whole, mask, special, flat, lengths = [], [], [], [], []
    for text in texts:
        inside = [(0, 0), *text, (0, 0)]
        padding = [(0, 0)] * (longest - len(inside))
        whole.append([*padding, *inside] if left else [*inside, *padding])
        real = [1] * len(inside)
        mask.append([0] * len(padding) + real if left else real + [0] * len(padding))
        special.append([int(pair == (0, 0)) for pair in whole[-1]])
        flat += inside
        lengths.append(len(inside))
    if packed:
        offsets = torch.tensor(flat)
        cu: dict[str, Any] = {"cu_seqlens": torch.tensor([0, *itertools.accumulate(lengths)])}
    else:
        offsets, cu = torch.tensor(whole), {"attention_mask": torch.tensor(mask)}
    hidden = normal(*offsets.shape[:-1], 3, seed=seed)
    found = pool_spans(hidden, offsets, spans, "sum", **cu)  # type: ignore[arg-type]
    rows = list(itertools.chain.from_iterable([i] * len(own) for i, own in enumerate(spans)))
    assert found.token_spans[:, 0].tolist() == rows
    number = 0
    for i, own in enumerate(spans):
        first = sum(lengths[:i]) + 1 if packed else (longest - lengths[i] if left else 0) + 1
        for span in own:
            members = by_hand(texts[i], span)  # type: ignore[arg-type]
            states = hidden[first:] if packed else hidden[i, first:]
            expected = (
                torch.stack([states[m] for m in members]).sum(0) if members else torch.zeros(3).double()
            )
            close(found.vectors[number], expected)
            assert int(found.counts[number]) == len(members)
            if not members:
                assert found.token_spans[number].tolist() == [i, 0, 0]
            number += 1
    assert found.empty == tuple(i for i, n in enumerate(found.counts.tolist()) if n == 0)
    close(found.of(2), found.vectors[torch.tensor(rows, dtype=torch.int64) == 2])


def test_sub_words_of_words() -> None:
    spans = char_spans_to_token_spans(OFFSETS, [[(0, 12), (12, 13), (14, 22), (13, 14), (3, 4), (7, 15)]])
    assert spans[:, 1:].tolist() == [[1, 4], [4, 5], [5, 7], [0, 0], [2, 3], [2, 6]]


def test_a_token_on_the_border_is_in_both_and_an_empty_span_in_none() -> None:
    offsets = torch.tensor([[[0, 4], [4, 8]]])
    spans = char_spans_to_token_spans(offsets, [[(0, 6), (6, 8), (6, 6), (8, 9), (4, 4)]])
    assert spans[:, 1:].tolist() == [[0, 2], [1, 2], [0, 0], [0, 0], [0, 0]]


def test_what_the_tokenizer_calls_special_is_left_out_inside_a_span() -> None:
    offsets, special = torch.tensor([[[0, 3], [3, 8], [8, 11]]]), torch.tensor([[0, 1, 0]])
    hidden = torch.tensor([[[1.0], [float("nan")], [3.0]]])
    found = pool_spans(hidden, offsets, [[(0, 11), (4, 6)]], special_tokens_mask=special)
    close(found.vectors, torch.tensor([[2.0], [0.0]]))
    assert found.counts.tolist() == [2, 0]
    assert found.token_spans.tolist() == [[0, 0, 3], [0, 0, 0]]
    assert content_mask(offsets, special_tokens_mask=special).tolist() == [[True, False, True]]


@pytest.mark.parametrize("pool", ["mean", "max", "median", "first", "mean+std"])
def test_any_pooling(pool: str) -> None:
    hidden = normal(1, 8, 4)
    found = pool_spans(hidden, OFFSETS, [[(0, 13), (14, 22)]], pool)
    expected = pp.build(pool)(pp.Packed(hidden[0, 1:7], torch.tensor([0, 4, 6])))
    close(found.vectors, expected)
    packed = pool_spans(hidden[0], OFFSETS[0], [[(0, 13), (14, 22)]], pool, cu_seqlens=torch.tensor([0, 8]))
    close(packed.vectors, expected)


def test_gradients_reach_the_tokens_of_a_span_alone() -> None:
    hidden = normal(1, 8, 2).requires_grad_()
    pool = pp.build("attention", channels=2).double()
    pool_spans(hidden, OFFSETS, [[(14, 22)]], pool).vectors.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad[0].any(-1).tolist() == [False] * 5 + [True, True, False]


def test_nothing_to_pool() -> None:
    assert pool_spans(normal(1, 8, 2), OFFSETS, [[]]).vectors.shape == (0, 2)
    assert pool_spans(torch.zeros(0, 0, 2), torch.zeros(0, 0, 2, dtype=torch.int64), []).vectors.shape == (
        0,
        2,
    )
    nowhere = pool_spans(torch.ones(1, 0, 2), torch.zeros(1, 0, 2, dtype=torch.int64), [[(0, 3)]])
    assert (nowhere.vectors.tolist(), nowhere.empty) == ([[0.0, 0.0]], (0,))


def test_words_of_a_tokenizer() -> None:
    spans = word_ids_to_token_spans([[None, 0, 0, 2, None], [], [None, None], [None, 0, 1, 1, None, None]])
    assert spans.tolist() == [[0, 1, 3], [0, 0, 0], [0, 3, 4], [3, 1, 2], [3, 2, 4]]
    assert word_ids_to_token_spans([]).shape == (0, 3)


@pytest.mark.parametrize(
    ("spans", "kind", "message"),
    [
        ([[(0, 3)], [(1, 2)]], ValueError, r"one list of \(start, end\) for each of 1 texts; found 2"),
        ([(0, 3)], TypeError, r"spans\[0\] must be a list of \(start, end\); found \(0, 3\). For one text"),
        ([[(0, 3), (5, 4)]], ValueError, r"spans\[0\]\[1\] must have 0 <= start <= end; found \(5, 4\)"),
        ([[(-1, 3)]], ValueError, r"spans\[0\]\[0\] must have 0 <= start <= end; found \(-1, 3\)"),
        ([[(0, 3, 4)]], TypeError, r"spans\[0\]\[0\] must be two integers"),
        ([[(0.0, 3.0)]], TypeError, r"spans\[0\]\[0\] must be two integers"),
        ([["ab"]], TypeError, r"spans\[0\]\[0\] must be two integers"),
        (["ab"], TypeError, r"spans\[0\] must be a list"),
    ],
)
def test_spans_that_do_not_fit(spans: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        char_spans_to_token_spans(OFFSETS, spans)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"offset_mapping": OFFSETS.float()}, TypeError, "offset_mapping must hold integers"),
        ({"offset_mapping": OFFSETS.tolist()}, TypeError, "offset_mapping must be a torch.Tensor; found list"),
        ({"offset_mapping": OFFSETS[0]}, ValueError, r"must have shape \(1, 8, 2\); found \(8, 2\)"),
        ({"offset_mapping": OFFSETS[..., :1]}, ValueError, r"offset_mapping must have shape \(B, T, 2\)"),
        ({"offset_mapping": OFFSETS[:, :5]}, ValueError, r"must have shape \(1, 8, 2\); found \(1, 5, 2\)"),
        ({"attention_mask": torch.ones(1, 7).long()}, ValueError, r"attention_mask must have shape \(B, T\)"),
        ({"special_tokens_mask": torch.ones(1, 8)}, TypeError, "special_tokens_mask must be bool or 0/1"),
        ({"hidden": torch.ones(8, 4)}, ValueError, r"hidden must have shape \(B, T, C\)"),
        ({"cu_seqlens": torch.tensor([0, 8])}, ValueError, r"hidden must have shape .* with cu_seqlens"),
        ({"pool": "meen"}, ValueError, "Did you mean 'mean'"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    given: dict[str, Any] = {"hidden": normal(1, 8, 4), "offset_mapping": OFFSETS, "spans": [[(0, 3)]]}
    with pytest.raises(kind, match=message):
        pool_spans(**(given | arguments))


def test_a_pair_of_texts_in_one_row_is_refused() -> None:
    pair = torch.tensor([[[0, 0], [0, 3], [4, 6], [0, 0], [0, 5], [0, 0]]])
    with pytest.raises(ValueError, match=r"those of text 0 go back from 4 to 0\. Encode one text"):
        char_spans_to_token_spans(pair, [[(0, 3)]])
    with pytest.raises(ValueError, match="those of text 1 go back from 1 to 0"):
        word_ids_to_token_spans([[0], [0, 1, None, 0]])


@pytest.mark.parametrize(
    ("ids", "kind", "message"),
    [
        ([["a"]], TypeError, r"word_ids\[0\] must hold integers and None. Pass batch.word_ids\(0\)"),
        ([[0], [-1]], ValueError, r"word_ids\[1\] must not be negative"),
    ],
)
def test_word_ids_that_do_not_fit(ids: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        word_ids_to_token_spans(ids)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  \n ", []),
        ("No end", ["No end"]),
        ("  One. Two!  Three?? ", ["One.", "Two!", "Three??"]),
        ('He said "no." (Really.) Then left.', ['He said "no."', "(Really.)", "Then left."]),
        ("Pi is 3.14 and more... ok", ["Pi is 3.14 and more...", "ok"]),
        ("A heading\n\nwraps over\na line. End", ["A heading", "wraps over\na line.", "End"]),
        ("今日は。元気?はい！！", ["今日は。", "元気?はい！！"]),
        ("Dr. No", ["Dr.", "No"]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in sentence_spans(text)] == expected


def test_sentences_leave_out_nothing_but_spaces_and_take_linear_time() -> None:
    text = "".join(random.Random(0).choices("a. \n!?'\"。", k=20_000))
    spans = sentence_spans(text)
    assert "".join("".join(text[s:e].split()) for s, e in spans) == "".join(text.split())
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


def test_words() -> None:
    text = "L'été, c'est 2 fois-trois; naïve_x!"
    assert [text[s:e] for s, e in word_spans(text)] == ["L'été", "c'est", "2", "fois", "trois", "naïve_x"]


@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 7, 8, 12])
@pytest.mark.parametrize(("size", "overlap"), [(4, 0), (4, 1), (4, 3), (1, 0), (20, 5)])
def test_chunks_cover_everything_once_but_for_the_overlap(length: int, size: int, overlap: int) -> None:
    chunks = chunk_spans("x" * length, size, overlap)
    assert all(0 < end - start <= size for start, end in chunks)
    assert all(start == before[1] - overlap for before, (start, _) in itertools.pairwise(chunks))
    assert all(before[1] - before[0] == size < length + 1 for before, _ in itertools.pairwise(chunks))
    if length:
        assert (chunks[0][0], chunks[-1][1]) == (0, length)
    else:
        assert chunks == []


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (("abc", 0), ValueError, "size must be >= 1; found 0"),
        (("abc", 2.5), TypeError, "size must be an int"),
        (("abc", 3, 3), ValueError, "overlap must be < size = 3; found 3"),
        (("abc", 3, -1), ValueError, "overlap must be >= 0"),
        ((["abc"], 3), TypeError, "text must be a str; found list"),
    ],
)
def test_chunks_that_cannot_be(arguments: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        chunk_spans(*arguments)


def test_a_packed_batch_comes_with_its_offsets() -> None:
    with pytest.raises(ValueError, match=r"\(B, T, 2\) without cu_seqlens; found \(8, 2\)"):
        char_spans_to_token_spans(OFFSETS[0], [[(0, 3)]])
    with pytest.raises(ValueError, match=r"\(N, 2\) with cu_seqlens; found \(1, 8, 2\)"):
        char_spans_to_token_spans(OFFSETS, [[(0, 3)]], cu_seqlens=torch.tensor([0, 8]))
    with pytest.raises(ValueError, match="offsets must end at N = 8; found 7"):
        char_spans_to_token_spans(OFFSETS[0], [[(0, 3)]], cu_seqlens=torch.tensor([0, 7]))
