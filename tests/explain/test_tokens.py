"""Contributions of tokens, from hidden states and from models with a tokenizer."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import polypool as pp
from polypool.explain import contributions, token_contributions
from tests.support import Tolerance, close, normal

SINGLE = Tolerance(1e-5, 1e-5)
WORDS = {"[PAD]": 0, "a": 1, "<b>": 2, "man": 3, "plays": 4, "$": 5}


class Tokenizer:
    """As much of one as is needed: words between spaces, padded on the left."""

    def __call__(
        self, texts: list[str], padding: bool, truncation: bool, max_length: int | None, return_tensors: str
    ) -> dict[str, Tensor]:
        rows = [[WORDS[word] for word in text.split()][:max_length] for text in texts]
        width = max(map(len, rows))
        padded = torch.tensor([[0] * (width - len(row)) + row for row in rows])
        return {"input_ids": padded, "attention_mask": (padded != 0).long()}

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [list(WORDS)[i] for i in ids]


class Output:
    def __init__(self, last_hidden_state: Tensor) -> None:
        self.last_hidden_state = last_hidden_state


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.dropout = nn.Embedding(len(WORDS), 8), nn.Dropout(0.5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Output:
        return Output(self.dropout(self.words(input_ids) + attention_mask.cumsum(1)[..., None] / 9))


class Silent(nn.Module):
    def forward(self, **inputs: Tensor) -> int:
        return 3


def test_hidden_states() -> None:
    hidden, mask, direction = normal(2, 5, 8), torch.tensor([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1]]), normal(2, 8)
    for pool in ("mean", "max", pp.build("std")):
        found = token_contributions(hidden, mask, direction, pool=pool)
        own = pp.build(pool) if isinstance(pool, str) else pool
        expected = contributions(own, pp.Tokens(hidden, mask), direction)
        close(found.values, expected.values)
        assert found.of(1).tolist() == found.values[1, [1, 3, 4]].tolist()
        assert found.tokens == ()
    assert token_contributions(hidden, None, direction).mask.all()


@pytest.mark.parametrize("pool", ["mean", "max", "std", "median", "attention"])
def test_the_tokens_add_up_to_the_similarity(pool: str) -> None:
    model, tokenizer = Encoder().train(), Tokenizer()
    torch.manual_seed(0)
    pooling = pp.build(pool, channels=8)
    texts, other = ["a man plays", "man $ <b> a plays"], "a <b> plays"
    found = token_contributions(model, tokenizer=tokenizer, text=texts, to=other, pool=pooling)
    assert model.training
    model.eval()
    own, there = (
        pooling(model(**b).last_hidden_state, mask=b["attention_mask"])
        for b in (tokenizer(t, True, True, None, "pt") for t in (texts, [other]))
    )
    close(found.score, F.cosine_similarity(own, there).detach(), tolerance=SINGLE)
    close(found.values.sum(1), found.score, tolerance=SINGLE)
    assert found.tokens == (("a", "man", "plays"), ("man", "$", "<b>", "a", "plays"))
    assert found.other == (other, other)
    assert (found.values[0, :2] == 0).all()
    assert all(p.grad is None for p in model.parameters())


def test_a_text_and_itself_a_direction_and_a_limit() -> None:
    model, tokenizer = Encoder(), Tokenizer()
    itself = token_contributions(model, tokenizer=tokenizer, text="a man plays")
    close(itself.values.sum(), torch.tensor(1.0), tolerance=SINGLE)
    direction = torch.arange(8.0)
    along = token_contributions(model, None, direction, tokenizer=tokenizer, text="a man plays", max_length=2)
    assert along.tokens == (("a", "man"),)
    assert along.other is None
    close(along.values.sum(1), along.score, tolerance=SINGLE)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"model_or_hidden": torch.ones(1, 2, 8)}, TypeError, "direction must be given with hidden states"),
        ({"model_or_hidden": torch.ones(1, 2, 8), "direction": torch.ones(8), "text": "a"}, ValueError, "text and"),
        ({"model_or_hidden": "bert"}, TypeError, "model_or_hidden must be hidden states or a model; found str"),
        ({"text": None}, TypeError, "tokenizer and text must be given with a model"),
        ({"mask": torch.ones(1, 2)}, ValueError, "mask goes with hidden states"),
        ({"to": "a", "direction": torch.ones(8)}, ValueError, "either to or direction may be given"),
        ({"to": ["a", "man"]}, ValueError, "to must be one text, or one for each of 1; found 2"),
        ({"text": []}, TypeError, "text and to must be a text or several, at least one"),
        ({"model_or_hidden": Silent()}, TypeError, "the model must give last_hidden_state; found int"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    given: dict[str, Any] = {"model_or_hidden": Encoder(), "tokenizer": Tokenizer(), "text": "a man"}
    if not isinstance(arguments.get("model_or_hidden", nn.Module()), nn.Module):
        given = {}
    with pytest.raises(kind, match=message):
        token_contributions(**(given | arguments))


def test_a_model_of_the_transformers_library() -> None:
    tf = import_module("transformers")
    torch.manual_seed(0)
    config = tf.BertConfig(
        vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model = tf.BertModel(config)
    found = token_contributions(model, tokenizer=Tokenizer(), text="a man plays", to="man $", pool="mean+max")
    close(found.values.sum(), found.score[0], tolerance=SINGLE)
