"""Spans: words of sub-words, sentences of a document, chunks that overlap."""

from __future__ import annotations

import pytest
import torch

import polypool as pp
from tests.support import close, identical, normal

NAN = float("nan")

states = normal(3, 6, 4)
mask = torch.tensor([[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1], [1, 0, 1, 0, 1, 0]]).bool()
spans = torch.tensor([[0, 0, 2], [0, 1, 6], [1, 0, 3], [2, 0, 6], [2, 3, 4], [1, 5, 5], [0, 0, 2]])


@pytest.mark.parametrize("name", pp.names())
def test_a_span_of_tokens_is_its_real_tokens_alone(name: str) -> None:
    pool = pp.build(name, channels=4).double()
    found = pool(pp.Tokens(states, mask).spans(spans))
    for at, (row, start, end) in enumerate(spans.tolist()):
        inside = states[row, start:end][mask[row, start:end]]
        close(
            found[at],
            pool(pp.Nodes(inside))[0] if len(inside) else torch.zeros_like(found[at]),
            f"{name}, span {at}",
        )


@pytest.mark.parametrize("name", pp.names())
def test_a_span_of_a_packed_sequence_counts_from_its_start(name: str) -> None:
    pool = pp.build(name, channels=4).double()
    rows, ends = normal(9, 4), torch.tensor([0, 4, 4, 9])
    listed = torch.tensor([[2, 0, 5], [0, 1, 3], [2, 4, 5], [1, 0, 0], [2, 1, 4]])
    found = pool(pp.Packed(rows, ends).spans(listed))
    for at, (row, start, end) in enumerate(listed.tolist()):
        inside = rows[int(ends[row]) + start : int(ends[row]) + end]
        close(
            found[at],
            pool(pp.Nodes(inside))[0] if len(inside) else torch.zeros_like(found[at]),
            f"{name}, span {at}",
        )


def test_padding_inside_a_span_is_never_read() -> None:
    hidden = states.masked_fill(~mask[..., None], NAN).requires_grad_()
    for name in pp.names():
        pool = pp.build(name, channels=4).double()
        out = pool(pp.Tokens(hidden, mask).spans(spans))
        identical(out, pool(pp.Tokens(states, mask).spans(spans)), name)
        (gradient,) = torch.autograd.grad(out.sum(), hidden, materialize_grads=True)
        assert not gradient[~mask].any()
        assert bool(gradient.isfinite().all())


def test_weights_of_tokens_are_weights_in_spans() -> None:
    weight = normal(3, 6).abs() * mask
    found = pp.build("mean")(pp.Tokens(states, weight=weight).spans(spans))
    for at, (row, start, end) in enumerate(spans.tolist()):
        w, x = weight[row, start:end, None], states[row, start:end]
        wanted = (w * x).sum(0) / w.sum() if bool(w.any()) else torch.zeros(4, dtype=torch.float64)
        close(found[at], wanted, f"span {at}")


def test_a_span_over_each_row_is_the_row() -> None:
    whole = torch.tensor([[row, 0, 6] for row in range(3)])
    for name in pp.names():
        pool = pp.build(name, channels=4).double()
        tokens = pp.Tokens(states, mask)
        close(pool(tokens.spans(whole)), pool(tokens), name)


def test_words_of_sub_words() -> None:
    """The usual use: mean of the pieces of each word, in the order in which spans are given."""
    words = torch.tensor([[0, 3, 4], [0, 0, 3]])
    found = pp.build("mean")(pp.Tokens(states).spans(words))
    close(found, torch.stack([states[0, 3], states[0, :3].mean(0)]), "words")


def test_a_span_lifts_to_the_shape_of_the_tokens() -> None:
    tokens = pp.Tokens(states, mask)
    layout = tokens.spans(torch.tensor([[0, 0, 3], [1, 1, 5]]))
    lifted = layout.lift(torch.tensor([[1.0], [2.0]]))
    assert lifted[..., 0].tolist() == [[1, 1, 1, 0, 0, 0], [0, 0, 2, 2, 2, 0], [0] * 6]


def test_no_spans_and_no_rows() -> None:
    empty = torch.zeros(0, 3, dtype=torch.long)
    assert pp.build("mean")(pp.Tokens(states).spans(empty)).shape == (0, 4)
    assert pp.build("max")(pp.Tokens(states[:0]).spans(empty)).shape == (0, 4)
    assert pp.build("max")(pp.Packed(states[0, :0], torch.tensor([0])).spans(empty)).shape == (0, 4)


def test_spans_in_any_integers() -> None:
    for dtype in (torch.uint8, torch.int16, torch.int32):
        found = pp.build("sum")(pp.Tokens(states).spans(spans.to(dtype)))
        identical(found, pp.build("sum")(pp.Tokens(states).spans(spans)), str(dtype))
