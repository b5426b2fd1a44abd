"""The oracle against values done by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import polypool as pp
from polypool.testing.oracle import ORACLES, ask, oracle_for, settings_of

INF, NAN = math.inf, math.nan

# name, settings, elements of one channel, weights, result by channel blocks
GOLDEN: list[tuple[str, dict[str, Any], list[float], list[float] | None, list[float]]] = [
    ("sum", {}, [1, 2, 4], None, [7]),
    ("sum", {}, [1, 2, 4], [1, 0, 2], [9]),
    ("sum", {}, [NAN, 2], [0, 3], [6]),
    ("mean", {}, [1, 2, 6], None, [3]),
    ("mean", {}, [1, 2, 6], [1, 1, 2], [3.75]),
    ("mean_sqrt_len", {}, [1, 2, 3, 4], None, [5]),
    ("mean_sqrt_len", {}, [1, 2], [1, 3], [3.5]),
    ("max", {}, [1, 5, 2], None, [5]),
    ("max", {}, [1, 5, 2], [1, 0, 1], [2]),
    ("max", {}, [1, NAN, 2], None, [NAN]),
    ("min", {}, [1, 5, -INF], None, [-INF]),
    ("var", {}, [1, 3], None, [1]),
    ("var", {}, [1, 3], [1, 3], [0.75]),
    ("var", {}, [INF, 1], None, [NAN]),
    ("std", {}, [1, 5], None, [2]),
    ("std", {}, [4], None, [0]),
    ("moments", {}, [0, 0, 0, 4], None, [1, math.sqrt(3), 6 / 3**1.5, 21 / 9]),
    ("moments", {}, [2, 2], None, [2, 0, 0, 0]),
    ("logsumexp", {"t": 1.0}, [0, math.log(3)], None, [math.log(2)]),
    ("logsumexp", {"t": 0.5}, [0, math.log(3)], None, [0.5 * math.log(5)]),
    ("logsumexp", {"t": 1.0}, [0, math.log(3)], [3, 1], [math.log(1.5)]),
    ("logsumexp", {"t": 1.0}, [0, INF], None, [INF]),
    ("logsumexp", {"t": 1.0}, [0, -INF], None, [-math.log(2)]),
    ("logsumexp", {"t": 1.0}, [5000, 5000], None, [5000]),
    ("softmax", {"t": 1.0}, [0, math.log(3)], None, [0.75 * math.log(3)]),
    ("softmax", {"t": 1.0}, [0, math.log(3)], [3, 1], [0.5 * math.log(3)]),
    ("softmax", {"t": 1.0}, [2, -INF], None, [2]),
    ("softmax", {"t": 1.0}, [2, INF, INF], None, [INF]),
    ("power", {"p": 2.0, "signed": False}, [3, -4, 0, 0], None, [2.5]),
    ("power", {"p": 1.0, "signed": True}, [3, -4], None, [-0.5]),
    ("power", {"p": 2.0, "signed": True}, [3, -5], None, [-math.sqrt(8)]),
    ("power", {"p": 2.0, "signed": False}, [1, 3], [3, 1], [math.sqrt(3)]),
    ("gem", {"p": 3.0, "eps": 1e-6}, [2, 0], None, [4 ** (1 / 3)]),
    ("gem", {"p": 1.0, "eps": 0.5}, [1, -3], None, [0.75]),
    ("median", {}, [5, 1, 2], None, [2]),
    ("median", {}, [1, 2, 4, 9], None, [3]),
    ("median", {}, [1, 2, NAN], None, [NAN]),
    ("median", {}, [1, 2, INF], None, [2]),
    ("quantile", {"q": 0.25}, [0, 10, 20], None, [5]),
    ("quantile", {"q": 1.0}, [0, INF], None, [INF]),
    ("trimmed", {"t": 0.25}, [100, 1, 2, -50], None, [1.5]),
    ("trimmed", {"t": 0.25}, [1, 2, 6], None, [3]),
    ("top_k", {"k": 2}, [1, 7, 5], None, [6]),
    ("top_k", {"k": 9}, [1, 7, 4], None, [4]),
    ("first", {}, [3, 1, 2], None, [3]),
    ("first", {}, [3, 1, 2], [0, 1, 1], [1]),
    ("last", {}, [3, 1, 2], None, [2]),
    ("last", {}, [3, 1, NAN], [1, 1, 0], [1]),
    ("position_weighted", {}, [1, 2, 4], None, [17 / 6]),
    ("position_weighted", {}, [9, 1, 4], [0, 1, 1], [3]),
]


@pytest.mark.parametrize(("name", "settings", "elements", "weights", "result"), GOLDEN)
def test_golden(
    name: str,
    settings: dict[str, Any],
    elements: list[float],
    weights: list[float] | None,
    result: list[float],
) -> None:
    x = np.array(elements, dtype=np.float64)[:, None]
    w = None if weights is None else np.array(weights, dtype=np.float64)
    np.testing.assert_allclose(ask(ORACLES[name], x, w, settings), result, rtol=1e-14, atol=1e-14)


LOG3 = math.log(3)


def test_attention_by_hand() -> None:
    x = np.array([[0.0, 8.0], [LOG3, 4.0]])
    one = {"score.weight": np.array([[1.0, 0.0]]), "score.bias": np.array([5.0])}
    np.testing.assert_allclose(ask(ORACLES["attention"], x, None, one), [0.75 * LOG3, 5.0])
    np.testing.assert_allclose(ask(ORACLES["attention"], x, np.array([3.0, 1.0]), one), [0.5 * LOG3, 6.0])
    two = {"score.weight": np.array([[1.0, 0.0], [-1.0, 0.0]]), "score.bias": np.zeros(2)}
    np.testing.assert_allclose(ask(ORACLES["attention"], x, None, two), [0.75 * LOG3, 7.0])


def test_attention_with_a_hidden_layer_by_hand() -> None:
    settings = {
        "score.0.weight": np.array([[1e9, 0.0]]),
        "score.0.bias": np.zeros(1),
        "score.2.weight": np.array([[LOG3]]),
        "score.2.bias": np.zeros(1),
    }
    x = np.array([[0.0, 8.0], [1.0, 4.0]])
    np.testing.assert_allclose(ask(ORACLES["attention"], x, None, settings), [0.75, 5.0])
    found = ask(ORACLES["attentive_stats"], x, None, settings)
    np.testing.assert_allclose(found, [0.75, 5.0, math.sqrt(0.1875), math.sqrt(3.0)])


def test_gated_attention_by_hand() -> None:
    settings = {
        "score.content.weight": np.array([[1e9, 0.0]]),
        "score.content.bias": np.zeros(1),
        "score.gate.weight": np.zeros((1, 2)),
        "score.gate.bias": np.zeros(1),
        "score.score.weight": np.array([[2 * LOG3]]),
        "score.score.bias": np.array([1.0]),
    }
    x = np.array([[0.0, 8.0], [1.0, 4.0]])
    np.testing.assert_allclose(ask(ORACLES["gated_attention"], x, None, settings), [0.75, 5.0])


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_an_empty_cell_is_zeros(name: str) -> None:
    pool = pp.build(name, channels=3)
    found = ask(ORACLES[name], np.zeros((0, 3)), None, settings_of(pool))
    assert found.tolist() == [0.0] * pool.out_channels(3)


def test_every_operator_of_the_package_has_an_oracle() -> None:
    ours = [
        name for name in pp.names() if type(pp.build(name, channels=2)).__module__.startswith("polypool.")
    ]
    assert [name for name in ours if oracle_for(name) is None] == []
    assert set(ORACLES) <= set(ours)


def test_the_oracle_shares_no_code_with_the_package() -> None:
    import polypool.testing.oracle as oracle

    assert oracle.__file__ is not None
    with open(oracle.__file__, encoding="utf-8") as source:
        assert not [line for line in source if line.startswith(("import", "from")) and "polypool" in line]
