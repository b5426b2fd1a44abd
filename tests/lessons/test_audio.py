"""Sounds of different lengths, through WAV, with padding masked and not."""

import io
import wave
from types import ModuleType
from typing import Any

import pytest
import torch

import polypool as pp

LESSON = "audio"
# One worker measures for all tests of the page.
pytestmark = pytest.mark.xdist_group(LESSON)
POOLS = ("mean", "max", "attentive_stats")


def test_a_wav_file_is_one_that_others_read(lesson: ModuleType) -> None:
    samples = torch.linspace(-1, 1, 1000)
    data = lesson.as_wav(samples)
    assert data[:4] == b"RIFF"
    assert data[8:12] == b"WAVE"
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()) == (
            1,
            2,
            8000,
            1000,
        )
    # Half a step of 16 bits, and the rounding of float32.
    torch.testing.assert_close(lesson.from_wav(data), samples, rtol=0, atol=0.5001 / 32767)


@pytest.mark.parametrize("pool", POOLS)
def test_with_a_mask_padding_changes_nothing(result: Any, pool: str) -> None:
    assert result.numbers[f"decisions changed by 4 s of padding, {pool}, masked"] == 0


def test_without_a_mask_it_changes_the_mean(result: Any) -> None:
    assert result.numbers["decisions changed by 4 s of padding, mean, not masked"] > 0.05


# Standard deviations over eight seeds: 0.015, 0.008 and 0.007.


@pytest.mark.parametrize(("pool", "accuracy"), [("mean", 0.88), ("max", 0.955), ("attentive_stats", 0.97)])
def test_accuracy(result: Any, pool: str, accuracy: float) -> None:
    assert result.numbers[f"accuracy, {pool}, masked"] == pytest.approx(accuracy, abs=0.05)


def test_short_events_are_lost_in_the_mean(result: Any) -> None:
    mean = result.numbers["accuracy, mean, masked"]
    for pool in ("max", "attentive_stats"):
        assert result.numbers[f"accuracy, {pool}, masked"] > mean + 0.02


def test_single_frames_do_not_tell_rising_from_falling(result: Any) -> None:
    # A hundred chirps: the share that a coin gets right has a standard deviation of 0.05. Three of those.
    assert result.numbers["rising or falling, mean of single frames"] == pytest.approx(0.5, abs=0.15)
    assert result.numbers["rising or falling, mean of 5 frames at a time"] > 0.9


@pytest.mark.parametrize("pool", POOLS)
def test_played_backwards_the_frames_are_the_same(result: Any, pool: str) -> None:
    sound = result.pictures["rising"].double()
    module = pp.build(pool, channels=sound.shape[1]).double()
    torch.testing.assert_close(module(pp.Tokens(sound[None])), module(pp.Tokens(sound.flip(0)[None])))


def test_figure(lesson: ModuleType, result: Any) -> None:
    assert len(lesson.draw(result).axes) == 6
