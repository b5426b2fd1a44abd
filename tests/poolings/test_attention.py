"""Attention, gated attention and attentive statistics: what is special to each."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn

import polypool as pp
from tests.support import close, identical, normal

x = normal(2, 7, 6)
mask = normal(2, 7, seed=1) > -0.5
tokens = pp.Tokens(x, mask)


def scored(scores: Tensor) -> Tensor:
    """Softmax over the real tokens of each row."""
    return scores.masked_fill(~mask[..., None], -torch.inf).softmax(1)


@pytest.mark.parametrize("name", ["attention", "gated_attention"])
@pytest.mark.parametrize("heads", [1, 2, 3, 6])
def test_heads_weigh_blocks_of_channels(name: str, heads: int) -> None:
    pool = pp.build(name, channels=6, heads=heads).double()
    share = scored(pool.score(x)).repeat_interleave(6 // heads, -1)  # type: ignore[operator]
    close(pool(tokens), (share * x).sum(1), "by hand")
    weights = pool.weights(tokens)
    assert weights.shape == (2, 7, 1 if heads == 1 else 6)
    close(weights, (share if heads > 1 else share[..., :1]).double(), "weights")


def test_linear_and_hidden_scores() -> None:
    linear = pp.build("attention", channels=6).double()
    assert dict(linear.named_parameters())["score.weight"].shape == (1, 6)
    hidden = pp.build("attention", channels=6, hidden=4, heads=2).double()
    shapes = {name: tuple(p.shape) for name, p in hidden.named_parameters()}
    assert shapes["score.0.weight"] == (4, 6)
    assert shapes["score.2.weight"] == (2, 4)
    first, _, second = cast("nn.Sequential", hidden.score)
    share = scored(second(first(x).tanh())).repeat_interleave(3, -1)
    close(hidden(tokens), (share * x).sum(1), "v^T tanh(U x)")


def test_the_gate_is_a_product() -> None:
    pool = pp.build("gated_attention", channels=6, hidden=5).double()
    score: nn.Module = pool.score  # type: ignore[assignment]
    v, u, w = score.content, score.gate, score.score
    share = scored(w(v(x).tanh() * u(x).sigmoid()))  # type: ignore[operator]
    close(pool(tokens), (share * x).sum(1), "w^T (tanh(V x) * sigmoid(U x))")


def test_default_widths() -> None:
    for channels, width in ((6, 3), (1, 1), (7, 3)):
        gated = dict(pp.build("gated_attention", channels=channels).named_parameters())
        stats = dict(pp.build("attentive_stats", channels=channels).named_parameters())
        assert gated["score.content.weight"].shape == (width, channels)
        assert stats["score.0.weight"].shape == (width, channels)


def test_attentive_statistics() -> None:
    pool = pp.build("attentive_stats", channels=6).double()
    share = scored(pool.score(x))  # type: ignore[operator]
    mean = (share * x).sum(1)
    deviation = (share * (x - mean[:, None]) ** 2).sum(1).sqrt()
    close(pool(tokens), torch.cat([mean, deviation], -1), "mean and deviation")
    assert pool.out_channels(6) == 12
    assert not pool.card.has_weights


def test_attentive_statistics_of_one_token_have_gradient_0() -> None:
    pool = pp.build("attentive_stats", channels=3).double()
    one = normal(1, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(pool(pp.Nodes(one))[:, 3:].sum(), one)
    assert not gradient.any()


@pytest.mark.parametrize("name", ["attention", "gated_attention", "attentive_stats"])
def test_the_score_sees_no_padding(name: str) -> None:
    """Nor any other cell: what a token counts depends on its own row alone."""
    pool = pp.build(name, channels=6).double()
    spoilt = x.masked_fill(~mask[..., None], float("nan"))
    found = pool(pp.Tokens(spoilt, mask))
    identical(found, pool(tokens), "NaN in padding")
    gradients = torch.autograd.grad(found.sum(), list(pool.parameters()))
    wanted = torch.autograd.grad(pool(tokens).sum(), list(pool.parameters()))
    for one, other in zip(gradients, wanted, strict=True):
        identical(one, other, "gradient of a parameter")


@pytest.mark.parametrize("name", ["attention", "gated_attention", "attentive_stats"])
def test_scores_far_apart_do_not_overflow(name: str) -> None:
    pool = pp.build(name, channels=6)
    with torch.no_grad():
        for parameter in pool.parameters():
            parameter.mul_(1e4)
    pooled = pool(pp.Tokens(x.float(), mask))
    assert bool(pooled.isfinite().all())
    for gradient in torch.autograd.grad(pooled.sum(), list(pool.parameters())):
        assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("name", ["attention", "gated_attention", "attentive_stats"])
def test_another_number_of_channels(name: str) -> None:
    pool = pp.build(name, channels=4)
    with pytest.raises(
        ValueError, match=f"values must have the 4 channels that {name} was built for; found 6. Build"
    ):
        pool(tokens)


def test_an_operator_may_be_built_without_the_registry() -> None:
    identical(
        pp.poolings.AttentionPool(6, 2).out_channels(6) * torch.ones(1),
        torch.full((1,), 6.0),
        "AttentionPool(6, 2)",
    )
    assert pp.poolings.MeanPool().card.name == "mean"
