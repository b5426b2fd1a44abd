"""
The last state, the mean of the states, or attention
====================================================

**The claim.** The last state of a sequence is one noisy reading; the mean of T states divides its variance by T; and
attention reads the states that matter.

**What is measured.** Sequences of T noisy elements that carry a number, read by the last element, the mean and
attention: bias and variance of each, against their formulas. First all elements carry the number, then four of T do,
and a second channel marks them. After that a GRU learns to find a short motif in noise through each of the three.

**Where the claim stops being true.** Averaging removes variance and no bias: when four elements of T carry the
number, the mean tends to 0 as surely as the last element does. Attention is no cure for any length either: its weights
add up to 1, so a marker worth a factor of 55 is diluted as well, 55 times later. Where nothing needs finding, weights
that follow a noisy marker only add variance. And the last state of a *learned* recurrence is no single reading: it
gathers what came before it, about as well as the mean, and forgets what is long ago.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

import polypool as pp

READOUTS = ("last", "mean", "attention")
SIGNAL, NOISE = 1.0, 1.0
CARRIERS = 4
SCORE, MARKER_NOISE = 4.0, 0.1
LENGTHS = (4, 8, 16, 32, 64, 128, 256)
LEARNED_AT = 16
TESTED_AT = (8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Result:
    """What the page measures.

    Attributes:
        numbers: What is printed.
        errors: Bias and variance `(lengths, 2)` by carriers ("all" or "four") and readout, as measured.
        formulas: The same, by the formulas.
        accuracy: Of the GRU, `(seeds, lengths)` for each readout.
    """

    numbers: dict[str, float]
    errors: dict[tuple[str, str], Tensor]
    formulas: dict[tuple[str, str], Tensor]
    accuracy: dict[str, Tensor]


# %%
# Bias and variance
# -----------------
# Channel 0 is the number 1 plus noise where an element carries it, and noise alone elsewhere. Channel 1 marks the
# carriers, with a little noise of its own, and is all that attention scores: a carrier has the score 4, another 0.


def readout(name: str) -> pp.Pooling:
    """A pooling of the two channels."""
    pool = pp.build(name, channels=2)
    if isinstance(pool, pp.poolings.AttentionPool) and isinstance(pool.score, nn.Linear):
        with torch.no_grad():
            pool.score.weight.copy_(torch.tensor([[0.0, SCORE]]))
    return pool


def sequences(runs: int, length: int, carriers: int, generator: torch.Generator) -> Tensor:
    """`(runs, length, 2)`: noisy numbers, and the marker of those that carry the signal."""
    order = torch.rand(runs, length, generator=generator).argsort(1).argsort(1)
    carries = (order < carriers).float()
    value = SIGNAL * carries + NOISE * torch.randn(runs, length, generator=generator)
    marker = carries + MARKER_NOISE * torch.randn(runs, length, generator=generator)
    return torch.stack([value, marker], dim=-1)


@torch.no_grad()
def measured(name: str, carriers: int | None, runs: int) -> Tensor:
    """Bias and variance at each length, `(lengths, 2)`."""
    generator = torch.Generator().manual_seed(0)
    pool, rows = readout(name), []
    for length in LENGTHS:
        found = pool(pp.Tokens(sequences(runs, length, carriers or length, generator)))[:, 0].double()
        rows.append(torch.stack([found.mean() - SIGNAL, found.var(correction=0)]))
    return torch.stack(rows)


def formula(name: str, length: int, carriers: int) -> tuple[float, float]:
    """Bias and variance: the share of the weight that is on carriers, and the sum of the squared weights.

    That of attention holds for many carriers: weights `e^s` with noise in s have squares larger by `e^(variance)`.
    """
    share = carriers / length
    if name == "last":
        return SIGNAL * (share - 1), NOISE**2 + SIGNAL**2 * share * (1 - share)
    if name == "mean":
        return SIGNAL * (share - 1), NOISE**2 / length
    factor = math.exp(SCORE)
    whole = carriers * factor + length - carriers
    uneven = math.exp((SCORE * MARKER_NOISE) ** 2)
    squares = (carriers * factor**2 + length - carriers) / whole**2
    return SIGNAL * (carriers * factor / whole - 1), NOISE**2 * squares * uneven


# %%
# A GRU with a motif to find
# --------------------------
# Four channels of noise; somewhere, for three steps, one of them is 2.5 higher. Which one? The network learns on
# sequences of 8 to 16 steps, padded and masked, and is then tested on longer ones.


class Reader(nn.Module):
    """A GRU and a readout."""

    def __init__(self, name: str, hidden: int = 16) -> None:
        super().__init__()
        self.states = nn.GRU(4, hidden, batch_first=True)
        self.pool = pp.build(name, channels=hidden)
        self.head = nn.Linear(hidden, 4)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.head(self.pool(pp.Tokens.from_lengths(self.states(x)[0], lengths)))


def motifs(count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Sequences of half the length to all of it, their lengths, and which channel the motif is in."""
    x = torch.randn(count, length, 4, generator=generator)
    lengths = torch.randint(length // 2, length + 1, (count,), generator=generator)
    target = torch.randint(4, (count,), generator=generator)
    start = (torch.rand(count, generator=generator) * (lengths - 2)).long()
    rows = torch.arange(count)[:, None]
    x[rows, start[:, None] + torch.arange(3), target[:, None]] += 2.5
    return x, lengths, target


def accuracy(name: str, seed: int, steps: int) -> Tensor:
    """Trains one network; its accuracy at each tested length."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reader = Reader(name)
    optimizer = torch.optim.Adam(reader.parameters(), 0.02)
    for _ in range(steps):
        x, lengths, target = motifs(64, LEARNED_AT, generator)
        loss = F.cross_entropy(reader(x, lengths), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        batches = [motifs(500, length, generator) for length in TESTED_AT]
        right = [reader(x, lengths).argmax(1) == target for x, lengths, target in batches]
    return torch.stack(right).double().mean(1)


def measure(seeds: int = 3, steps: int = 120, runs: int = 2000) -> Result:
    """Bias and variance of the three readouts, and the accuracy of a GRU behind each."""
    cases: dict[str, Callable[[int], int]] = {"all": lambda length: length, "four": lambda _: CARRIERS}
    errors, formulas = {}, {}
    for case, carriers in cases.items():
        for name in READOUTS:
            errors[case, name] = measured(name, None if case == "all" else CARRIERS, runs)
            expected = [formula(name, length, carriers(length)) for length in LENGTHS]
            formulas[case, name] = torch.tensor(expected, dtype=torch.float64)
    learned = {name: torch.stack([accuracy(name, seed, steps) for seed in range(seeds)]) for name in READOUTS}
    numbers = {}
    for name in READOUTS:
        numbers[f"variance of {name}, all of 64 carry"] = float(errors["all", name][LENGTHS.index(64), 1])
    for length in (64, 256):
        for name in READOUTS:
            bias, variance = errors["four", name][LENGTHS.index(length)].tolist()
            numbers[f"bias of {name}, 4 of {length} carry"] = bias
            numbers[f"variance of {name}, 4 of {length} carry"] = variance
    for length in (LEARNED_AT, 128):
        for name in READOUTS:
            numbers[f"accuracy of a GRU and {name}, up to {length} steps"] = float(
                learned[name][:, TESTED_AT.index(length)].mean()
            )
    return Result(numbers, errors, formulas, learned)


def draw(result: Result) -> Figure:
    """Squared errors against length, and the accuracy of the GRU."""
    figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.6), layout="constrained")
    styles = dict(zip(READOUTS, (("#D55E00", "s"), ("#0072B2", "o"), ("#009E73", "^")), strict=True))
    titles = {"all": "All elements carry the signal", "four": "Four of T carry the signal"}
    for ax, (case, title) in zip(axes, titles.items(), strict=False):
        for name, (colour, marker) in styles.items():
            bias, variance = result.errors[case, name].unbind(1)
            ax.plot(LENGTHS, bias**2 + variance, marker, color=colour, label=name)
            bias, variance = result.formulas[case, name].unbind(1)
            ax.plot(LENGTHS, bias**2 + variance, color=colour, lw=1.2)
            if case == "four" and name != "last":
                ax.plot(LENGTHS[1:], bias[1:] ** 2, color=colour, lw=1.2, ls=":")
        ax.set(title=title, xlabel="length T", xscale="log", yscale="log", ylim=(2e-3, 4))
        ax.set_xticks(LENGTHS, [str(length) for length in LENGTHS])
        ax.minorticks_off()
    axes[0].set(ylabel="squared error (points measured, lines formula)")
    axes[1].text(
        0.97,
        0.04,
        "dotted: squared bias alone",
        transform=axes[1].transAxes,
        ha="right",
        fontsize=8,
    )
    axes[0].legend(fontsize=9)
    for name, (colour, marker) in styles.items():
        runs = result.accuracy[name]
        mean, spread = runs.mean(0), runs.std(0, correction=0)
        axes[2].fill_between(TESTED_AT, mean - spread, mean + spread, color=colour, alpha=0.2, lw=0)
        axes[2].plot(TESTED_AT, mean, color=colour, marker=marker, label=name)
    axes[2].axhline(0.25, color="0.6", lw=0.8, ls="--")
    axes[2].text(TESTED_AT[-1], 0.26, "chance", color="0.4", fontsize=8, ha="right")
    axes[2].axvline(LEARNED_AT, color="0.6", lw=0.8, ls=":")
    axes[2].text(LEARNED_AT, 0.21, " trained up to here", color="0.4", fontsize=8)
    axes[2].set(
        title="A GRU looks for a motif", xlabel="length T", ylabel="accuracy", xscale="log", ylim=(0.2, 1)
    )
    axes[2].set_xticks(TESTED_AT, [str(length) for length in TESTED_AT])
    axes[2].minorticks_off()
    return figure


# %%
# What came out
# -------------
# With signal everywhere the mean is best, its variance exactly 1/T, and attention pays for its noisy marker. With four
# carriers the last element and the mean share one bias, which no length removes; attention keeps most of the number
# until T nears 55 times the carriers. The GRU repeats it: last state and mean fall together, attention later.

if __name__ == "__main__":
    result = measure()
    for name, value in result.numbers.items():
        print(f"{name:52} {value:8.4g}")
    draw(result)
    plt.show()
