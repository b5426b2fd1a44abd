"""What each operator should give, as plain float64 numpy: one cell at a time, sharing no code with the package.

An oracle takes the elements of one cell `(n, C)`, their weights `(n,)` or None, and the pooling's settings (its
public numbers and its parameters, by name), and returns the cell's vector `(C_out,)`. Formulas are written as in
the literature rather than for speed; limits (an infinite value, a spread of zero) are spelled out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

Array = NDArray[np.float64]
Settings = Mapping[str, Any]
Oracle = Callable[[Array, "Array | None", Settings], Array]

ORACLES: dict[str, Oracle] = {}


def oracle_for(name: str) -> Oracle | None:
    """The oracle of a registered operator, `None` if there is none."""
    return ORACLES.get(name)


def settings_of(pool: nn.Module) -> dict[str, Any]:
    """The public numbers of a pooling and everything in its state_dict, tensors as float64 arrays."""
    found = {key: value for key, value in vars(pool).items() if isinstance(value, (bool, int, float, str))}
    found |= {key: value.detach().double().cpu().numpy() for key, value in pool.state_dict().items()}
    return {key: value for key, value in found.items() if not key.startswith("_")}


def ask(oracle: Oracle, elements: Array, weights: Array | None, settings: Settings) -> Array:
    """The oracle's answer for one cell: elements of weight 0 are dropped first, and an empty cell is zeros."""
    if weights is not None:
        elements, weights = elements[weights > 0], weights[weights > 0]
    if elements.shape[0] == 0:
        return np.zeros_like(ask(oracle, np.ones((1, elements.shape[1])), None, settings))
    with np.errstate(all="ignore"):
        return np.asarray(oracle(elements, weights, settings), dtype=np.float64)


def of(name: str) -> Callable[[Oracle], Oracle]:
    """Files an oracle under the name of its operator."""

    def file(oracle: Oracle) -> Oracle:
        ORACLES[name] = oracle
        return oracle

    return file


def share(x: Array, w: Array | None) -> Array:
    """The share of the cell's mass that each element brings, (n, 1)."""
    w = np.ones(len(x)) if w is None else w
    return (w / w.sum())[:, None]


def weighted(p: Array, x: Array) -> Array:
    """The sum of p x over the elements, in which a share of exactly 0 counts for nothing, whatever x is."""
    return np.where(p == 0, 0.0, p * np.where(p == 0, 0.0, x)).sum(axis=0)


@of("sum")
def sum_(x: Array, w: Array | None, s: Settings) -> Array:
    return x.sum(axis=0) if w is None else (w[:, None] * x).sum(axis=0)


@of("mean")
def mean(x: Array, w: Array | None, s: Settings) -> Array:
    return (share(x, w) * x).sum(axis=0)


@of("mean_sqrt_len")
def mean_sqrt_len(x: Array, w: Array | None, s: Settings) -> Array:
    return sum_(x, w, s) / np.sqrt(len(x) if w is None else w.sum())


@of("max")
def max_(x: Array, w: Array | None, s: Settings) -> Array:
    return x.max(axis=0)


@of("min")
def min_(x: Array, w: Array | None, s: Settings) -> Array:
    return x.min(axis=0)


@of("var")
def var(x: Array, w: Array | None, s: Settings) -> Array:
    return central(x, w, 2)


@of("std")
def std(x: Array, w: Array | None, s: Settings) -> Array:
    return np.sqrt(var(x, w, s))


@of("moments")
def moments(x: Array, w: Array | None, s: Settings) -> Array:
    spread = var(x, w, s)
    unit = np.where(spread == 0, 1.0, spread)  # no spread: skewness and kurtosis are 0
    return np.concatenate(
        [mean(x, w, s), np.sqrt(spread), central(x, w, 3) / unit**1.5, central(x, w, 4) / unit**2]
    )


def central(x: Array, w: Array | None, order: int) -> Array:
    """The central moment, dividing by the mass."""
    deviations = x - mean(x, w, {})
    return (share(x, w) * deviations**order).sum(axis=0)


@of("logsumexp")
def logsumexp(x: Array, w: Array | None, s: Settings) -> Array:
    t = s["t"]
    y = x / t
    top = y.max(axis=0)
    finite = np.where(np.isfinite(top), top, 0.0)
    tail = np.log((share(x, w) * np.exp(y - finite)).sum(axis=0))
    return t * np.where(np.isfinite(top), finite + tail, top)


@of("softmax")
def softmax(x: Array, w: Array | None, s: Settings) -> Array:
    return weighted(density(x / s["t"], w), x)


def density(scores: Array, w: Array | None) -> Array:
    """w e^s / sum w e^s over the elements; infinite scores share all of it."""
    top = scores.max(axis=0)
    e = share(scores, w) * np.exp(np.where(scores == top, 0.0, scores - top))
    return e / e.sum(axis=0)


@of("power")
def power(x: Array, w: Array | None, s: Settings) -> Array:
    p, q = s["p"], share(x, w)
    if s["signed"]:
        m = (q * np.sign(x) * np.abs(x) ** p).sum(axis=0)
        return np.sign(m) * np.abs(m) ** (1 / p)
    return (q * np.abs(x) ** p).sum(axis=0) ** (1 / p)


@of("gem")
def gem(x: Array, w: Array | None, s: Settings) -> Array:
    return (share(x, w) * np.maximum(x, s["eps"]) ** s["p"]).sum(axis=0) ** (1 / s["p"])


@of("quantile")
def quantile(x: Array, w: Array | None, s: Settings) -> Array:
    ranked = np.sort(x, axis=0)
    place = s["q"] * (len(x) - 1)
    low = int(np.floor(place))
    part = place - low
    between = ranked[low] if part == 0 else (1 - part) * ranked[low] + part * ranked[low + 1]
    return spoil(between, x)


@of("median")
def median(x: Array, w: Array | None, s: Settings) -> Array:
    return quantile(x, w, {"q": 0.5})


@of("trimmed")
def trimmed(x: Array, w: Array | None, s: Settings) -> Array:
    cut = int(np.floor(s["t"] * len(x)))
    return spoil(np.sort(x, axis=0)[cut : len(x) - cut].mean(axis=0), x)


@of("top_k")
def top_k(x: Array, w: Array | None, s: Settings) -> Array:
    return spoil(np.sort(x, axis=0)[::-1][: s["k"]].mean(axis=0), x)


def spoil(y: Array, x: Array) -> Array:
    """A NaN among the elements makes the channel NaN, wherever sorting puts it."""
    return np.where(np.isnan(x).any(axis=0), np.nan, y)


@of("first")
def first(x: Array, w: Array | None, s: Settings) -> Array:
    return x[0]


@of("last")
def last(x: Array, w: Array | None, s: Settings) -> Array:
    return x[-1]


@of("position_weighted")
def position_weighted(x: Array, w: Array | None, s: Settings) -> Array:
    places = np.arange(1.0, len(x) + 1)
    return mean(x, places if w is None else places * w, s)


@of("attention")
def attention(x: Array, w: Array | None, s: Settings) -> Array:
    if "score.2.weight" in s:
        hidden = np.tanh(linear(x, s, "score.0"))
        scores = linear(hidden, s, "score.2")
    else:
        scores = linear(x, s, "score")
    return by_head(scores, x, w)


@of("gated_attention")
def gated_attention(x: Array, w: Array | None, s: Settings) -> Array:
    gate = 1 / (1 + np.exp(-linear(x, s, "score.gate")))
    return by_head(linear(np.tanh(linear(x, s, "score.content")) * gate, s, "score.score"), x, w)


@of("attentive_stats")
def attentive_stats(x: Array, w: Array | None, s: Settings) -> Array:
    scores = linear(np.tanh(linear(x, s, "score.0")), s, "score.2")
    p = density(scores, w)
    m = weighted(p, x)
    return np.concatenate([m, np.sqrt(weighted(p, (x - m) ** 2))])


def linear(x: Array, s: Settings, name: str) -> Array:
    """x W^T + b of the named layer; the bias may be missing."""
    return x @ s[f"{name}.weight"].T + s.get(f"{name}.bias", 0.0)


def by_head(scores: Array, x: Array, w: Array | None) -> Array:
    """Head h weighs channels h C / H to (h + 1) C / H."""
    channels, heads = x.shape[1], scores.shape[1]
    return weighted(np.repeat(density(scores, w), channels // heads, axis=1), x)
