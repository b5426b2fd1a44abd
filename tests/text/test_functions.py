"""The one-liners, on whatever a model returns."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import polypool as pp
from polypool.text import mean_pool, pool
from tests.support import close, normal
from tests.text.features import same

STATES = normal(3, 5, 4, dtype=torch.float32)
MASK = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1]])


def test_the_mean_by_hand() -> None:
    expected = torch.stack([row[kept.bool()].mean(0) for row, kept in zip(STATES, MASK, strict=True)])
    close(mean_pool(STATES, MASK), expected)


def test_no_mask_is_all_real() -> None:
    close(mean_pool(STATES, None), STATES.mean(1))


def test_padding_is_never_read_and_empty_rows_are_zero() -> None:
    dirty = STATES.masked_fill(MASK[..., None] == 0, float("nan"))
    same(mean_pool(dirty, MASK), mean_pool(STATES, MASK))
    assert not mean_pool(dirty, torch.zeros_like(MASK)).any()


def test_half_precision_is_summed_wide() -> None:
    ones = torch.ones(1, 70_000, 1, dtype=torch.float16)
    assert mean_pool(ones, None).item() == 1.0


@pytest.mark.parametrize("spec", ["mean", "max", "cls", "lasttoken", "mean+max", "median+std"])
def test_any_pooling(spec: str) -> None:
    same(pool(STATES, MASK, spec), pp.build(spec)(pp.Tokens(STATES, MASK)))


def test_a_pooling_that_was_built() -> None:
    attention = pp.build("attention", channels=4)
    same(pool(STATES, MASK, attention), attention(pp.Tokens(STATES, MASK)))


def test_what_models_return() -> None:
    from transformers.modeling_outputs import BaseModelOutput

    outputs: list[Any] = [
        BaseModelOutput(last_hidden_state=STATES),
        {"last_hidden_state": STATES},
        {"token_embeddings": STATES, "attention_mask": MASK},
        (STATES, torch.zeros(3, 4)),
        [STATES],
        SimpleNamespace(last_hidden_state=STATES),
    ]
    for output in outputs:
        same(mean_pool(output, MASK), mean_pool(STATES, MASK))


def test_a_model_with_a_head() -> None:
    from transformers.modeling_outputs import MaskedLMOutput

    outputs: list[Any] = [
        MaskedLMOutput(logits=STATES),
        (torch.zeros(()), STATES),
        {},
        None,
        SimpleNamespace(),
        [],
    ]
    for output in outputs:
        with pytest.raises(TypeError, match="last_hidden_state"):
            mean_pool(output, MASK)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"mask must have shape \(B, T\) = \(3, 5\); found \(3, 4\)"):
        mean_pool(STATES, MASK[:, :4])
    with pytest.raises(ValueError, match=r"\(B, T, C\)"):
        mean_pool(STATES[0], MASK[:1])
    with pytest.raises(TypeError, match="mask must be bool or 0/1 integers"):
        mean_pool(STATES, MASK.float())


def test_poolings_that_have_to_be_built() -> None:
    for spec in ("attention", "gem"):
        with pytest.raises(TypeError, match=r"[Bb]uild it once"):
            pool(STATES, MASK, spec)
    with pytest.raises(TypeError, match="pooling must be a name"):
        pool(STATES, MASK, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no pooling is named 'best'"):
        pool(STATES, MASK, "best")


def test_gradients() -> None:
    states = STATES.clone().requires_grad_()
    mean_pool(states, MASK).sum().backward()
    assert states.grad is not None
    close(states.grad, (MASK / MASK.sum(1, keepdim=True))[..., None].expand_as(STATES).to(torch.float32))
