"""Where torch has the pooling too, ours gives its numbers: on all samples of torch's own operator database."""

from __future__ import annotations

import re

import pytest
import torch

from tests.support import close
from tests.vision.torch_samples import BINS, WINDOWS, cases, entry, module_for

# The database takes some seconds to import: one worker does.
pytestmark = pytest.mark.xdist_group("torch_samples")

# How many samples of each function map to ours and are compared: all that torch 2.11 to 2.13 ships, so that a test
# that finds none fails.
SAMPLES = {
    "avg_pool1d": 9,
    "avg_pool2d": 7,
    "avg_pool3d": 8,
    "max_pool1d": 864,
    "max_pool2d": 1440,
    "max_pool3d": 576,
    "adaptive_avg_pool1d": 6,
    "adaptive_avg_pool2d": 10,
    "adaptive_avg_pool3d": 12,
    "adaptive_max_pool1d": 8,
    "adaptive_max_pool2d": 24,
    "adaptive_max_pool3d": 20,
}


def compare(name: str, dtype: torch.dtype, every: int) -> int:
    """Values and gradients of all samples of one function; how many there were."""
    compared = 0
    for case in cases(name, dtype, every):
        found, wanted = case.ours(case.x), case.torchs(case.x)
        where = f"{name}{tuple(case.x.shape)} {case.args} {case.kwargs}"
        assert found.dtype == wanted.dtype
        close(found, wanted, where)
        if wanted.numel():
            cotangent = torch.linspace(-1, 1, wanted.numel(), dtype=dtype).reshape(wanted.shape)
            (of_ours,) = torch.autograd.grad(found, case.x, cotangent)
            (of_torch,) = torch.autograd.grad(wanted, case.x, cotangent)
            close(of_ours, of_torch, f"gradient of {where}")
        compared += 1
    return compared


@pytest.mark.parametrize("name", [*WINDOWS, *BINS])
def test_values_and_gradients(name: str) -> None:
    """Every sample of most functions, and some of those that have hundreds."""
    every = 1 if SAMPLES[name] < 100 else 23
    assert compare(name, torch.float64, every) == -(-SAMPLES[name] // every)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", [*WINDOWS, *BINS])
def test_values_and_gradients_of_every_sample(name: str, dtype: torch.dtype) -> None:
    assert compare(name, dtype, 1) == SAMPLES[name]


# What torch says of each of its error samples, and what we say.
SAID = {
    "pad must be non-negative": r"padding must be >= 0; found -1",
    r"pad should be at most half of effective kernel size": r"padding must be at most half of a window",
    r"Expected .* tensor with optional 0 dim batch size|positive length|Input dimension should be|non-empty 4D": (
        r"must have shape \(B, C, \*S\)|one per spatial dimension|kernel must fit the grid"
    ),
    r"stride must be greater than zero": r"stride must be >= 1; found 0",
    r"dilation must be greater than zero": r"dilation must be >= 1; found 0",
    r"kernel_size must be greater than zero": r"kernel must be >= 1; found 0",
    r"Invalid computed output size|Output size is too small": r"kernel must fit the grid|one per spatial dimension",
    r"should contain one int|output_size must be \d|internal error": r"output_size must be one int or one per spatial",
    r"greater than or equal to 0|negative dimension": r"output_size must be >= 1; found -1",
}
# A divisor is no setting of ours.
ELSEWHERE = "divisor must be not zero"
ERRORS = {
    "avg_pool1d": 2,
    "avg_pool2d": 4,
    "avg_pool3d": 5,
    "max_pool1d": 24,
    "max_pool2d": 7,
    "max_pool3d": 7,
    "adaptive_avg_pool1d": 2,
    "adaptive_avg_pool2d": 3,
    "adaptive_avg_pool3d": 3,
    "adaptive_max_pool1d": 2,
    "adaptive_max_pool2d": 3,
    "adaptive_max_pool3d": 3,
}


@pytest.mark.parametrize("name", [*WINDOWS, *BINS])
def test_what_is_an_error_in_torch_is_one_here_and_says_why(name: str) -> None:
    compared = 0
    for error in entry(name).error_inputs("cpu"):
        sample = error.sample_input
        if error.error_regex == ELSEWHERE:
            continue
        found = [said for torchs, said in SAID.items() if re.search(torchs, error.error_regex)]
        assert len(found) == 1, f"{len(found)} lines for {error.error_regex!r}"
        with pytest.raises((ValueError, TypeError), match=found[0]):
            module_for(name, tuple(sample.args), dict(sample.kwargs))(sample.input)
        compared += 1
    assert compared == ERRORS[name]
