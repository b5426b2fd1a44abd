"""
Sounds of different lengths
===========================

**The claim.** A recording is as long as it is. Pooling the frames of its spectrogram gives one vector for any length:
the mean tells what it sounds like on the whole, the maximum what was in it at all, attentive statistics the mean and
the spread of the frames that matter.

**What is measured.** Synthesised recordings of 0.4 to 1.6 seconds with noise in the background and one event of a
quarter of a second: a tone, a rising or a falling chirp, or a burst of noise. They are written as 16-bit WAV and read
back, as recordings come. A small convolution over the frames, one pooling, a linear layer: test accuracy of each
pooling, and what becomes of it when the same recordings are padded with more and more silence.

**Where the claim stops being true.** Without a mask the padding is part of the average, and the more of it a recording
has, the more decisions change. The maximum does not mind silence, and attention can learn to pass over it; neither is a
promise. With a mask no padding changes anything. And no pooling of single frames hears the difference between rising
and falling: played backwards, a recording has the same frames. What hears it is the convolution over neighbouring
frames, before anything is pooled.
"""

import io
import math
import wave
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

import polypool as pp

RATE = 8000
FRAME, HOP, BANDS = 256, 200, 32
KINDS = ("tone", "rising", "falling", "burst")
POOLS = ("mean", "max", "attentive_stats")
EXTRA = (0.0, 1.0, 2.0, 4.0)
COLOURS = dict(zip(POOLS, ("#0072B2", "#D55E00", "#009E73"), strict=True))
MARKERS = dict(zip(POOLS, "os^", strict=True))


@dataclass(frozen=True)
class Result:
    """What the page measures.

    Attributes:
        numbers: What is printed.
        pictures: The spectrogram `(frames, BANDS)` of one recording of each kind.
        accuracy: Test accuracy `(seeds, paddings)`, by pooling and whether padding was masked.
    """

    numbers: dict[str, float]
    pictures: dict[str, Tensor]
    accuracy: dict[tuple[str, bool], Tensor]


# %%
# Recordings
# ----------


def recording(kind: str, generator: torch.Generator) -> Tensor:
    """Samples in [-1, 1]."""

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    samples = 0.02 * torch.randn(int(between(0.4, 1.6) * RATE), generator=generator)
    length = RATE // 4
    time = torch.arange(length) / RATE
    low, high = between(300, 1500), between(2000, 3500)
    if kind == "burst":
        event = torch.randn(length, generator=generator) / 2
    else:
        ends = {"tone": (between(300, 3500),) * 2, "rising": (low, high), "falling": (high, low)}[kind]
        pitch = torch.linspace(*ends, length)
        event = torch.sin(2 * math.pi * pitch.cumsum(0) / RATE)
    event = event * torch.sin(math.pi * time * RATE / length) * between(0.05, 0.3)
    start = int(between(0, len(samples) - length))
    samples[start : start + length] += event
    return samples.clamp(-1, 1)


def as_wav(samples: Tensor) -> bytes:
    """A WAV file: one channel, 16 bit."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((samples * 32767).round().numpy().astype("<i2").tobytes())
    return file.getvalue()


def from_wav(data: bytes) -> Tensor:
    """The samples of a WAV file as `as_wav` writes it."""
    with wave.open(io.BytesIO(data), "rb") as file:
        frames = file.readframes(file.getnframes())
    return torch.from_numpy(np.frombuffer(frames, dtype="<i2").astype(np.float32)) / 32767


# %%
# Spectrograms
# ------------
# The power of each frame in 32 bands of equal width: 129 frequencies do not divide by 32, so the bins share some.


def spectrogram(samples: Tensor) -> Tensor:
    """`(frames, BANDS)`, decibels over the background, scaled to about 1."""
    frames = torch.stft(
        samples, FRAME, HOP, window=torch.hann_window(FRAME), center=False, return_complex=True
    )
    power = pp.build("mean")(pp.Grid(frames.abs().square().T[:, None]).bins(BANDS))[:, 0]
    return (power.clamp(min=1e-6).log10() + 1) / 2


def padded(sounds: list[Tensor], extra: float) -> tuple[Tensor, Tensor]:
    """`(B, T, BANDS)` with zeros after the end and `extra` seconds more of them, and the real lengths."""
    lengths = torch.tensor([len(sound) for sound in sounds])
    batch = nn.utils.rnn.pad_sequence(sounds, batch_first=True)
    return F.pad(batch, (0, 0, 0, int(extra * RATE / HOP))), lengths


# %%
# One network for each pooling
# ----------------------------


class Listener(nn.Module):
    """A convolution over frames, a pooling, a linear layer."""

    def __init__(self, pool: str, masked: bool, width: int, channels: int = 24) -> None:
        super().__init__()
        self.masked = masked
        self.frames = nn.Conv1d(BANDS, channels, width, padding=width // 2)
        self.pool = pp.build(pool, channels=channels)
        self.head = nn.Linear(self.pool.out_channels(channels), len(KINDS))

    def forward(self, batch: Tensor, lengths: Tensor) -> Tensor:
        heard = self.frames(batch.transpose(1, 2)).relu().transpose(1, 2)
        return self.head(
            self.pool(pp.Tokens.from_lengths(heard, lengths) if self.masked else pp.Tokens(heard))
        )


def trained(
    pool: str, masked: bool, width: int, sounds: list[Tensor], kinds: Tensor, seed: int, epochs: int
) -> Listener:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        listener = Listener(pool, masked, width)
    generator = torch.Generator().manual_seed(seed)
    batch, lengths = padded(sounds, 0)
    optimizer = torch.optim.Adam(listener.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.03, total_steps=epochs * -(-len(sounds) // 50)
    )
    for _ in range(epochs):
        for rows in torch.randperm(len(sounds), generator=generator).split(50):
            loss = F.cross_entropy(listener(batch[rows], lengths[rows]), kinds[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return listener.eval()


@torch.no_grad()
def logits(listener: Listener, sounds: list[Tensor], extra: float = 0.0) -> Tensor:
    return listener(*padded(sounds, extra))


def told_apart(listener: Listener, sounds: list[Tensor], kinds: Tensor) -> Tensor:
    """How often a chirp's better logit of the two is the right one; 0.5 is a coin."""
    pair = [KINDS.index("rising"), KINDS.index("falling")]
    chirps = (kinds == pair[0]) | (kinds == pair[1])
    better = logits(listener, sounds)[chirps][:, pair].argmax(1)
    return (better == kinds[chirps] - pair[0]).double().mean()


def measure(seeds: int = 3, epochs: int = 15, learn: int = 300, test: int = 200) -> Result:
    """Makes the recordings, takes them through WAV, trains a network for each pooling with and without a mask."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.arange(learn + test) % len(KINDS)
    samples = [recording(KINDS[kind], generator) for kind in kinds.tolist()]
    read = [from_wav(as_wav(sound)) for sound in samples]
    off = max(float((a - b).abs().max()) for a, b in zip(samples, read, strict=True))
    sounds = [spectrogram(sound) for sound in read]
    target, tested = kinds[learn:], sounds[learn:]
    pictures = {kind: sounds[row] for row, kind in enumerate(KINDS)}
    numbers = {
        "shortest recording, frames": float(min(map(len, sounds))),
        "longest recording, frames": float(max(map(len, sounds))),
        "largest error of a sample through WAV": off,
    }
    accuracy, listeners = {}, {}
    for pool in POOLS:
        for masked in (True, False):
            runs, changed = [], []
            for seed in range(seeds):
                listener = trained(pool, masked, 5, sounds[:learn], kinds[:learn], seed, epochs)
                listeners[pool, masked, seed] = listener
                heard = torch.stack([logits(listener, tested, extra).argmax(1) for extra in EXTRA])
                runs.append((heard == target).double().mean(1))
                changed.append((heard[-1] != heard[0]).double().mean())
            accuracy[pool, masked] = torch.stack(runs)
            how = f"{pool}, {'masked' if masked else 'not masked'}"
            numbers[f"accuracy, {how}"] = float(accuracy[pool, masked][:, 0].mean())
            numbers[f"decisions changed by 4 s of padding, {how}"] = float(torch.stack(changed).mean())
    singles = [trained("mean", True, 1, sounds[:learn], kinds[:learn], seed, epochs) for seed in range(seeds)]
    fives = [listeners["mean", True, seed] for seed in range(seeds)]
    for frames, group in (("single frames", singles), ("5 frames at a time", fives)):
        right = [told_apart(listener, tested, target) for listener in group]
        numbers[f"rising or falling, mean of {frames}"] = float(torch.stack(right).mean())
    return Result(numbers, pictures, accuracy)


def draw(result: Result) -> Figure:
    """A recording of each kind, and accuracy against padding."""
    figure = plt.figure(figsize=(9.5, 5.8), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.2), squeeze=False)[:, 0]
    axes = above.subplots(1, len(KINDS), sharey=True)
    longest = max(map(len, result.pictures.values()))
    for ax, (kind, sound) in zip(axes, result.pictures.items(), strict=True):
        seconds = len(sound) * HOP / RATE
        ax.imshow(
            sound.T.numpy(),
            origin="lower",
            aspect="auto",
            cmap="cividis",
            vmin=-0.5,
            vmax=1,
            extent=(0, seconds, 0, RATE / 2000),
        )
        ax.axvspan(seconds, longest * HOP / RATE, fc="w", ec="0.7", hatch="//", lw=0)
        ax.set(title=kind, xlabel="seconds", xlim=(0, longest * HOP / RATE))
    axes[0].set(ylabel="kHz")
    left, right = below.subplots(1, 2, sharey=True)
    for ax, masked in ((left, True), (right, False)):
        for pool in POOLS:
            runs = result.accuracy[pool, masked]
            mean, spread = runs.mean(0), runs.std(0, correction=0)
            ax.fill_between(EXTRA, mean - spread, mean + spread, color=COLOURS[pool], alpha=0.2, lw=0)
            ax.plot(EXTRA, mean, color=COLOURS[pool], marker=MARKERS[pool], label=pool)
        ax.set(title="padding masked" if masked else "padding pooled as if it were sound", ylim=(0.5, 1.01))
        ax.set(xlabel="seconds of silence after the longest recording")
    left.set(ylabel="test accuracy")
    left.legend(loc="lower right", fontsize=9)
    return figure


# %%
# What came out
# -------------
# With a mask the lines are flat: no decision changes. Attentive statistics and the maximum hear a short event in a long
# recording better than the mean, which dilutes it. Without a mask the mean is the one that suffers. Rising and falling
# are a coin toss for single frames and easy for five at a time.

if __name__ == "__main__":
    result = measure()
    for name, value in result.numbers.items():
        print(f"{name:64} {value:8.4g}")
    draw(result)
    plt.show()
