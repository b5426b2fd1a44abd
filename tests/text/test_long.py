"""Long documents: every token counted once, and pooled as if the text had been read at once."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import polypool as pp
from polypool.text import Normalize, SentencePooling, TextEncoder
from polypool.text.long import Piece, pieces
from polypool.text.tokenizing import Encoded, Frame
from tests.support import close
from tests.text import tiny

DOCUMENTS = [
    "the cat sleeps and the dog runs, " * 20,
    "a cat",
    "",
    "unbelievable rivers of bread. " * 9,
    "water boils on the new bank. " * 31,
    "star",
]


class Bag(nn.Module):
    """A model that reads each token for itself: cutting the text must then change nothing at all."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.table = nn.Embedding(vocabulary, tiny.HIDDEN)
        self.config = type("Config", (), {"hidden_size": tiny.HIDDEN})()
        self.longest = 0
        self.read = 0

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        self.longest = max(self.longest, input_ids.shape[1])
        self.read += int(attention_mask.sum())
        states = self.table(input_ids)
        # Padding must not be read.
        states = torch.where(attention_mask[..., None] > 0, states, torch.nan)
        return type("Output", (), {"last_hidden_state": states})()


def bag(pool: str, side: str = "right", **settings: Any) -> TextEncoder:
    words = tiny.tokenizer(longest=10**30, side=side)
    pooling = SentencePooling(tiny.HIDDEN, pool, **settings)
    for parameter in pooling.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5, generator=torch.Generator().manual_seed(0))
    return TextEncoder(Bag(len(words)), words, pooling)


#: Every pooling of tokens, and combinations: of mergeable ones, of others, and of both.
EVERY = (*pp.names("tokens"), "mean+max+std", "mean+last", "median+attention")


@pytest.mark.parametrize("overlap", [0, 5])
@pytest.mark.parametrize("pool", EVERY)
def test_pieces_are_pooled_as_the_whole(pool: str, overlap: int) -> None:
    encoder = bag(pool)
    expected = encoder.encode(DOCUMENTS)
    encoder.max_tokens = 20
    with pp.kernels("reference"):
        found = encoder.encode_long(DOCUMENTS, overlap=overlap, batch_tokens=64)
    close(torch.from_numpy(found), torch.from_numpy(expected))
    assert (encoder.report.texts, encoder.report.empty, encoder.report.truncated) == (6, 1, 0)


@pytest.mark.parametrize("pool", ["mean+std", "median", "position_weighted"])
@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_prompt_is_in_every_piece_and_counts_once_or_never(
    pool: str, include_prompt: bool, side: str
) -> None:
    encoder = bag(pool, side, include_prompt=include_prompt)
    with pp.kernels("reference"):
        expected = encoder.encode(DOCUMENTS, prompt="query: ")
        encoder.max_tokens = 20
        found = encoder.encode_long(DOCUMENTS, overlap=3, prompt="query: ")
    close(torch.from_numpy(found), torch.from_numpy(expected))


def test_no_more_than_the_limit_goes_through_the_model() -> None:
    encoder = bag("mean")
    encoder.max_tokens = 20
    encoder.encode_long(DOCUMENTS, overlap=4)
    model = encoder.model
    assert isinstance(model, Bag)
    assert model.longest == 20
    assert encoder.report.tokens == model.read
    encoder.encode_long(DOCUMENTS[0])
    assert encoder.report.longest == 20 * 8 + 2


@pytest.mark.parametrize("limit", [7, 8, 20])
@pytest.mark.parametrize("overlap", [0, 1, 2])
@pytest.mark.parametrize(
    ("frame", "prompt"), [(Frame(1, 1), 0), (Frame(0, 0), 0), (Frame(1, 2), 2), (Frame(0, 1), 1)]
)
def test_each_token_counts_once(limit: int, overlap: int, frame: Frame, prompt: int) -> None:
    head = max(frame.lead, prompt)
    for length in (*range(5, 60), 100, 101):
        ids = list(range(length))
        cut = pieces(Encoded(ids, ids), 3, limit, overlap, frame, prompt)
        assert [token for piece in cut for token in counted(piece)] == ids
        assert len(cut) == 1 or {len(piece.tokens) for piece in cut} == {limit}
        assert all(piece.tokens.types == piece.tokens.ids and piece.text == 3 for piece in cut)
        body = [piece.tokens.ids[head : len(piece.tokens) - frame.tail] for piece in cut]
        for piece, own in zip(cut, body, strict=True):
            assert piece.tokens.ids[:head] == ids[:head]
            assert own == list(range(own[0], own[-1] + 1))
        for (before, first), (after, second) in pairwise(zip(cut, body, strict=True)):
            shared = first[-1] - second[0] + 1
            assert shared >= overlap
            # Where one stops counting and the other begins, both have seen what lies around.
            border = counted(after)[0]
            assert counted(before)[-1] == border - 1
            assert border - second[0] >= shared // 2
            assert first[-1] + 1 - border >= shared // 2


def counted(piece: Piece) -> list[int]:
    return piece.tokens.ids[piece.start : piece.stop]


@pytest.mark.parametrize("overlap", [1, 12])
@pytest.mark.parametrize("pool", ["mean+max", "position_weighted"])
def test_other_overlaps(pool: str, overlap: int) -> None:
    test_pieces_are_pooled_as_the_whole(pool, overlap)


@pytest.mark.parametrize(
    ("length", "overlap", "starts"),
    # 660 tokens in stretches of 254 (256 without [CLS] and [SEP]): 222 new ones each, so three stretches.
    [
        (660, 32, (0, 203, 406)),
        (660, 0, (0, 203, 406)),
        (762, 0, (0, 254, 508)),
        (763, 0, (0, 169, 339, 509)),
    ],
)
def test_what_goes_through_the_model_by_hand(length: int, overlap: int, starts: tuple[int, ...]) -> None:
    text = Encoded([-1, *range(length), -2])
    found = [piece.tokens.ids for piece in pieces(text, 0, 256, overlap, Frame(1, 1))]
    assert found == [[-1, *range(start, start + 254), -2] for start in starts]


def test_one_piece_more_only_where_it_is_needed() -> None:
    for length, count in ((20, 1), (21, 2), (2 + 18 + 14, 2), (2 + 18 + 14 + 1, 3)):
        assert len(pieces(Encoded(list(range(length))), 0, 20, 4, Frame(1, 1))) == count


def test_texts_that_fit_are_as_ever(tmp_path: Path) -> None:
    encoder = TextEncoder.load(tiny.plain_folder(tmp_path), pool="mean", device="cpu").append(Normalize())
    short = [text for text in tiny.TEXTS if len(text) < 60]
    np.testing.assert_array_equal(encoder.encode_long(short), encoder.encode(short))
    one = encoder.encode_long(DOCUMENTS[0])
    assert one.shape == (tiny.HIDDEN,)
    np.testing.assert_allclose(np.linalg.norm(one), 1, rtol=1e-6)
    # The part that is cut off is read.
    other = encoder.encode_long(DOCUMENTS[0] + " bread and water")
    assert np.abs(one - other).max() > 1e-4
    np.testing.assert_array_equal(
        encoder.encode(DOCUMENTS[0]), encoder.encode(DOCUMENTS[0] + " bread and water")
    )


@pytest.mark.parametrize(
    ("overlap", "error", "message"),
    [
        (
            18,
            ValueError,
            "overlap must be below 18, what 20 tokens leave beside 2 of the prompt and special ones",
        ),
        (-1, ValueError, "overlap must be >= 0; found -1"),
        (1.5, TypeError, "overlap must be an int; found float"),
    ],
)
def test_overlaps_that_do_not_fit(overlap: Any, error: type[Exception], message: str) -> None:
    encoder = bag("mean")
    encoder.max_tokens = 20
    with pytest.raises(error, match=message):
        encoder.encode_long(DOCUMENTS, overlap=overlap)


def test_half_precision(tmp_path: Path) -> None:
    folder = tiny.plain_folder(tmp_path)
    exact, half = (
        TextEncoder.load(folder, pool="mean", dtype=dtype, device="cpu") for dtype in ("float32", "bfloat16")
    )
    a, b = exact.encode_long(DOCUMENTS), half.encode_long(DOCUMENTS)
    assert 0 < np.abs(a - b).max() < 0.1
    assert b.dtype == np.float32
