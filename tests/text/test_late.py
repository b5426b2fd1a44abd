"""Late chunking: the same token states as one pass over the text, pooled span by span."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

import polypool as pp
from polypool.text import Dense, Normalize, SentencePooling, TextEncoder
from polypool.text.cuts import chunk_spans, sentence_spans, word_spans
from polypool.text.late import chunk_embeddings
from tests.support import close
from tests.text import tiny

TEXT = "The cat sleeps. Unbelievable: a dog runs on the bank! Water boils."


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.plain_folder(tmp_path_factory.mktemp("late") / "model", longest=64)


@pytest.fixture
def encoder(plain: Path) -> TextEncoder:
    return TextEncoder.load(plain, pool="mean", device="cpu")


def by_hand(encoder: TextEncoder, text: str, spans: list[tuple[int, int]], prompt: str = "") -> torch.Tensor:
    """Mean over the tokens whose characters meet the span, token by token."""
    batch = encoder.tokenizer([prompt + text], return_offsets_mapping=True, return_tensors="pt")
    offsets = batch.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        states = encoder.states(dict(batch))[0]
    rows = []
    for start, end in spans:
        start, end = start + len(prompt), end + len(prompt)
        own = [states[i] for i, (a, b) in enumerate(offsets) if max(a, start) < min(b, end)]
        rows.append(torch.stack(own).mean(0) if own else torch.zeros(states.shape[1]))
    return torch.stack(rows)


@pytest.mark.parametrize("cut", [sentence_spans, word_spans, lambda text: chunk_spans(text, 10, 4)])
def test_one_text(encoder: TextEncoder, cut: Any) -> None:
    spans = cut(TEXT)
    found = chunk_embeddings(encoder, TEXT, spans)
    close(found.vectors, by_hand(encoder, TEXT, spans))
    assert found.empty == ()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("batch_tokens", [None, 1, 40])
def test_several_texts_in_any_batches(encoder: TextEncoder, batch_tokens: int | None, side: str) -> None:
    encoder.tokenizer.padding_side = side
    # BERT counts positions from the padding, so that padding on the left gives other states.
    torch.nn.init.zeros_(encoder.model.get_submodule("embeddings.position_embeddings").weight)  # type: ignore[arg-type]
    texts = [*tiny.TEXTS, TEXT]
    spans = [[*sentence_spans(text), (0, 0), (0, len(text))] for text in texts]
    spans[2] = []
    found = chunk_embeddings(encoder, texts, spans, batch_tokens=batch_tokens)
    expected = [by_hand(encoder, text, own) for text, own in zip(texts, spans, strict=True) if own]
    close(found.vectors, torch.cat(expected))
    assert found.of(2).shape == (0, tiny.HIDDEN)
    flat = [(row, span) for row, own in enumerate(spans) for span in own]
    assert found.token_spans[:, 0].tolist() == [row for row, _ in flat]
    assert found.empty == tuple(i for i, (_, (start, end)) in enumerate(flat) if start == end)
    alone = [chunk_embeddings(encoder, text, own) for text, own in zip(texts, spans, strict=True)]
    counted = [one.token_spans[:, 1:].tolist() for one in alone]
    assert found.token_spans[:, 1:].tolist() == list(itertools.chain.from_iterable(counted))


def test_a_prompt_is_read_and_not_pooled(encoder: TextEncoder) -> None:
    spans = sentence_spans(TEXT)
    found = chunk_embeddings(encoder, TEXT, spans, prompt="query: ")
    close(found.vectors, by_hand(encoder, TEXT, spans, "query: "))
    assert not torch.allclose(found.vectors, chunk_embeddings(encoder, TEXT, spans).vectors, atol=1e-3)


def test_what_comes_after_the_pooling(encoder: TextEncoder) -> None:
    spans = [*sentence_spans(TEXT), (3, 4)]
    plain = chunk_embeddings(encoder, TEXT, spans).vectors
    dense = Dense(torch.eye(4, tiny.HIDDEN), torch.full((4,), 0.5))
    encoder.append(dense).append(Normalize())
    found = chunk_embeddings(encoder, TEXT, spans)
    expected = torch.nn.functional.normalize(plain[:, :4] + 0.5, dim=1)
    close(found.vectors[:-1], expected[:-1])
    assert found.empty == (len(spans) - 1,)
    assert not found.vectors[-1].any(), "a bias must not make a vector of a span without tokens"
    close(chunk_embeddings(encoder, TEXT, spans, normalize=False).vectors[:-1], plain[:-1, :4] + 0.5)


def test_another_pooling_and_gradients_afterwards(encoder: TextEncoder) -> None:
    found = chunk_embeddings(encoder, TEXT, [(0, 14)], "mean+max")
    assert found.vectors.shape == (1, 2 * tiny.HIDDEN)
    weight = torch.ones(2 * tiny.HIDDEN, requires_grad=True)
    (found.vectors @ weight).sum().backward()
    close(
        chunk_embeddings(encoder, TEXT, [(0, 14)], pp.build("mean")).vectors,
        by_hand(encoder, TEXT, [(0, 14)]),
    )


def test_a_whole_text_is_what_encode_gives_but_for_its_special_tokens(encoder: TextEncoder) -> None:
    words = tiny.tokenizer(longest=64, framed=False)
    bare = TextEncoder(encoder.model, words, encoder.pooling, max_tokens=64)
    texts = [text for text in tiny.TEXTS if text]
    found = chunk_embeddings(bare, texts, [[(0, len(text))] for text in texts])
    close(found.vectors, bare.encode(texts, as_tensor=True))


def test_nothing(encoder: TextEncoder) -> None:
    assert chunk_embeddings(encoder, [], []).vectors.shape == (0, tiny.HIDDEN)
    assert chunk_embeddings(encoder, "", []).vectors.shape == (0, tiny.HIDDEN)
    bare = TextEncoder(encoder.model, tiny.tokenizer(framed=False), encoder.pooling)
    assert chunk_embeddings(bare, "", [(0, 0)]).empty == (0,)


def test_a_text_that_is_too_long_is_refused_and_nothing_is_cut(encoder: TextEncoder) -> None:
    long = "a cat runs. " * 20
    with pytest.raises(
        ValueError, match=r"text 1 has 82 tokens, and the model reads 64 at once.*Cut the text"
    ):
        chunk_embeddings(encoder, ["a cat", long], [[], sentence_spans(long)])
    just = "a cat runs. " * 15
    assert len(chunk_embeddings(encoder, just, sentence_spans(just)).vectors) == 15


@pytest.mark.parametrize("pool", ["cls", "lasttoken", "first+mean"])
def test_a_pooling_that_reads_one_place_has_to_be_replaced(plain: Path, pool: str) -> None:
    encoder = TextEncoder.load(plain, pool=pool, device="cpu")
    with pytest.raises(ValueError, match="pool must be given for this encoder"):
        chunk_embeddings(encoder, TEXT, [(0, 5)])
    close(chunk_embeddings(encoder, TEXT, [(0, 5)], "mean").vectors, by_hand(encoder, TEXT, [(0, 5)]))


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((["a", 3], [[], []]), TypeError, "text must be a str, or a list of them; found int at place 1"),
        (("a cat", [(0, 6)]), ValueError, "found the end 6 in text 0, which has 5 characters"),
        (("a cat", [(3, 1)]), ValueError, "0 <= start <= end"),
        (("a cat", [[(0, 1)]]), TypeError, "must be two integers"),
        ((["a cat"], [(0, 1)]), TypeError, r"must be a list of \(start, end\)"),
        ((["a cat"], []), ValueError, "for each of 1 texts; found 0"),
        (("a cat", [(0, 1)], "meen"), ValueError, "Did you mean 'mean'"),
        (("a cat", [(0, 1)], "attention"), TypeError, "attention needs channels"),
        (("a cat", [(0, 1)], "gem"), TypeError, "gem has parameters"),
        ((None, [(0, 1)]), TypeError, "text must be a str, or a list of them; found NoneType"),
        (("a cat", None), TypeError, r"spans\[0\] must be a list"),
        ((["a", "b"], None), TypeError, "spans must be a list .* found NoneType"),
        (("a \ud83d", [(0, 1)]), ValueError, "half of a surrogate pair"),
    ],
)
def test_arguments_that_do_not_fit(
    encoder: TextEncoder, arguments: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        chunk_embeddings(encoder, *arguments)


def test_a_pooling_of_another_width_than_what_follows(encoder: TextEncoder) -> None:
    encoder.append(Dense(torch.eye(4, tiny.HIDDEN)))
    with pytest.raises(ValueError, match="takes vectors of 16 numbers; what comes before it makes 32"):
        chunk_embeddings(encoder, TEXT, [(0, 5)], "mean+max")


def test_a_slow_tokenizer_knows_no_characters(encoder: TextEncoder) -> None:
    class Slow:
        is_fast = False

    encoder.tokenizer = Slow()
    with pytest.raises(ValueError, match=r"spans need a fast tokenizer.*found Slow"):
        chunk_embeddings(encoder, TEXT, [(0, 5)])


def test_the_encoders_own_pooling_may_be_a_learned_one(plain: Path) -> None:
    pooling = SentencePooling(tiny.HIDDEN, "attention")
    encoder = TextEncoder.load(plain, pool=pooling, device="cpu")
    found = chunk_embeddings(encoder, TEXT, [(0, 15)]).vectors
    states = chunk_embeddings(
        encoder, TEXT, word_spans(TEXT)[:3], "sum"
    )  # "The", "cat", "sleeps": one token each
    assert states.counts.tolist() == [1, 1, 1]
    stop = chunk_embeddings(encoder, TEXT, [(14, 15)], "sum").vectors
    close(found, pooling.pool(pp.Tokens(torch.cat([states.vectors, stop])[None])).detach())


def test_only_the_model_computes_in_half_precision(plain: Path, encoder: TextEncoder) -> None:
    spans = sentence_spans(TEXT)
    half = chunk_embeddings(
        TextEncoder.load(plain, "mean", dtype="bfloat16", device="cpu"), TEXT, spans
    ).vectors
    full = chunk_embeddings(encoder, TEXT, spans).vectors
    assert half.dtype is torch.float32
    assert bool((torch.cosine_similarity(half, full) > 0.999).all())


def test_vectors_are_cut_where_the_encoder_cuts_them(encoder: TextEncoder) -> None:
    full = chunk_embeddings(encoder, TEXT, [(0, 15)], normalize=False).vectors
    encoder.truncate = 4
    close(chunk_embeddings(encoder, TEXT, [(0, 15)]).vectors, full[:, :4])
    close(chunk_embeddings(encoder, TEXT, [(0, 15)], "mean").vectors, full[:, :4])
