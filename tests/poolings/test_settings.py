"""Settings of operators: wrong ones are errors that say what is allowed, right ones are shown and do what they say."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

import polypool as pp
from tests.support import close, identical, normal

NAN, INF = float("nan"), float("inf")

positive = "must be > 0 and finite; found "
WRONG: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    *[("logsumexp", {"t": t}, ValueError, f"t {positive}{t}") for t in (0, -1.0, INF, NAN)],
    *[("softmax", {"t": t}, ValueError, f"t {positive}{t}") for t in (0.0, -2, INF, NAN)],
    *[("power", {"p": p}, ValueError, f"p {positive}{p}") for p in (0, -1.0, INF, NAN)],
    *[("gem", {"p": p}, ValueError, f"p {positive}{p}") for p in (0.0, -3, INF, NAN)],
    *[("gem", {"eps": e}, ValueError, f"eps {positive}{e}") for e in (0.0, -1e-6, INF, NAN)],
    *[("quantile", {"q": q}, ValueError, f"q must be in [0, 1]; found {q}") for q in (-0.1, 1.1, NAN, INF)],
    *[("trimmed", {"t": t}, ValueError, f"t must be in [0, 0.5); found {t}") for t in (-0.1, 0.5, 0.7, NAN)],
    *[("top_k", {"k": k}, ValueError, f"k must be > 0; found {k}") for k in (0, -1)],
    ("top_k", {"k": 2.0}, TypeError, "k must be an int; found float"),
    ("top_k", {"k": True}, TypeError, "k must be an int; found bool"),
    ("top_k", {"k": "3"}, TypeError, "k must be an int; found str"),
    ("logsumexp", {"t": "1"}, TypeError, "t must be a number; found str"),
    ("logsumexp", {"t": True}, TypeError, "t must be a number; found bool"),
    ("softmax", {"t": None}, TypeError, "t must be a number; found NoneType"),
    ("softmax", {"t": torch.tensor(1.0)}, TypeError, "t must be a number; found Tensor"),
    ("softmax", {"learn": "yes"}, TypeError, "learn must be a bool; found str"),
    ("power", {"p": "2"}, TypeError, "p must be a number; found str"),
    ("power", {"signed": "no"}, TypeError, "signed must be a bool; found str"),
    ("gem", {"p": None}, TypeError, "p must be a number; found NoneType"),
    ("gem", {"learn": "no"}, TypeError, "learn must be a bool; found str"),
    ("gem", {"per_channel": "no"}, TypeError, "per_channel must be a bool; found str"),
    ("gem", {"per_channel": True}, TypeError, "gem with per_channel=True needs channels"),
    ("gem", {"per_channel": True, "channels": 0}, ValueError, "channels must be > 0; found 0"),
    ("quantile", {"q": "0.5"}, TypeError, "q must be a number; found str"),
    ("trimmed", {"t": False}, TypeError, "t must be a number; found bool"),
    *[(n, {}, TypeError, f"{n} needs channels") for n in ("attention", "gated_attention", "attentive_stats")],
    *[
        (n, {"channels": c}, error, text)
        for n in ("attention", "gated_attention", "attentive_stats")
        for c, error, text in (
            (0, ValueError, "channels must be > 0; found 0"),
            (-4, ValueError, "channels must be > 0; found -4"),
            (4.0, TypeError, "channels must be an int; found float"),
            (True, TypeError, "channels must be an int; found bool"),
        )
    ],
    *[
        (n, {"channels": 4, **wrong}, error, text)
        for n in ("attention", "gated_attention")
        for wrong, error, text in (
            ({"heads": 3}, ValueError, "heads must divide channels = 4; found 3"),
            ({"heads": 8}, ValueError, "heads must divide channels = 4; found 8"),
            ({"heads": 0}, ValueError, "heads must be > 0; found 0"),
            ({"heads": 1.0}, TypeError, "heads must be an int; found float"),
            ({"hidden": 0}, ValueError, "hidden must be > 0; found 0"),
            ({"hidden": 2.5}, TypeError, "hidden must be an int; found float"),
        )
    ],
    ("attentive_stats", {"channels": 4, "hidden": 0}, ValueError, "hidden must be > 0; found 0"),
    ("attentive_stats", {"channels": 4, "hidden": "8"}, TypeError, "hidden must be an int; found str"),
    *[
        (name, {"p_": 1}, TypeError, f"{name} has no setting 'p_'; its settings are: ")
        for name in ("mean", "gem", "quantile", "max", "std", "first")
    ],
]


@pytest.mark.parametrize(
    ("name", "settings", "error", "text"), WRONG, ids=[f"{name}-{settings}" for name, settings, _, _ in WRONG]
)
def test_wrong_settings(name: str, settings: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        pp.build(name, **settings)


ENDS: list[tuple[str, dict[str, Any]]] = [
    ("quantile", {"q": 0}),
    ("quantile", {"q": 1}),
    ("trimmed", {"t": 0}),
    ("top_k", {"k": 1}),
    ("gem", {"p": 1}),
    ("power", {"p": 1e-3}),
    ("attention", {"channels": 1}),
    ("gated_attention", {"channels": 1}),
    ("attentive_stats", {"channels": 1}),
    ("attention", {"channels": 6, "heads": 6, "hidden": 1}),
]


@pytest.mark.parametrize(("name", "settings"), ENDS, ids=str)
def test_the_ends_of_what_is_allowed(name: str, settings: dict[str, Any]) -> None:
    channels = settings.get("channels", 3)
    pool = pp.build(name, **settings).double()
    assert bool(pool(pp.Nodes(normal(5, channels))).isfinite().all())


SHOWN: dict[str, tuple[dict[str, Any], str]] = {
    "logsumexp": ({"t": 0.5}, "t=0.5"),
    "softmax": ({"t": 2.0}, "t=2.0"),
    "power": ({"p": 3.0, "signed": True}, "p=3.0, signed=True"),
    "gem": ({"p": 2.5, "learn": False, "eps": 1e-3}, "p=2.5, eps=0.001"),
    "quantile": ({"q": 0.9}, "q=0.9"),
    "trimmed": ({"t": 0.25}, "t=0.25"),
    "top_k": ({"k": 7}, "k=7"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_settings_are_shown(name: str) -> None:
    settings, shown = SHOWN[name]
    assert repr(pp.build(name, **settings)) == f"{type(pp.build(name)).__name__}({shown})"


def test_learned_settings_are_shown() -> None:
    assert "p=[3.0]" in repr(pp.build("gem"))
    assert "p=[2.0, 2.0]" in repr(pp.build("gem", p=2.0, per_channel=True, channels=2))
    assert "learned t" in repr(pp.build("softmax", learn=True))


@pytest.mark.parametrize("name", pp.names())
def test_every_operator_can_be_shown(name: str) -> None:
    pool = pp.build(name, channels=4)
    assert type(pool).__name__ in repr(pool)
    assert repr(pp.blocks.SqueezeExcite(4, 1, pool=pool))


@pytest.mark.parametrize("name", [name for name in pp.names() if not pp.card(name).learnable])
def test_operators_without_parameters_take_any_number_of_channels(name: str) -> None:
    pool = pp.build(name, channels=17)
    assert pool(pp.Nodes(normal(5, 2))).shape == (1, pool.out_channels(2))
    assert not list(pool.parameters())


def test_the_median_is_the_quantile_of_one_half() -> None:
    x = normal(9, 3)
    identical(pp.build("median")(pp.Nodes(x)), pp.build("quantile")(pp.Nodes(x)), "median")


def test_ends_meet_other_operators() -> None:
    x = pp.Nodes(normal(9, 3))
    pairs = {
        "quantile at 0 is min": (pp.build("quantile", q=0.0), "min"),
        "quantile at 1 is max": (pp.build("quantile", q=1.0), "max"),
        "top 1 is max": (pp.build("top_k", k=1), "max"),
        "top of more than all is mean": (pp.build("top_k", k=100), "mean"),
        "trimmed by nothing is mean": (pp.build("trimmed", t=0.0), "mean"),
        "trimmed to the middle is median": (pp.build("trimmed", t=0.45), "median"),
        "signed power of 1 is mean": (pp.build("power", p=1.0, signed=True), "mean"),
        "large temperature is mean": (pp.build("logsumexp", t=1e12), "mean"),
        "small temperature is max": (pp.build("softmax", t=1e-9), "max"),
    }
    for what, (pool, other) in pairs.items():
        close(pool(x), pp.build(other)(x), what)
