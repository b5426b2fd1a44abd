"""The step that a user waits for: graph convolutions, a Squeeze-and-Excitation block, a sentence encoder."""

from __future__ import annotations

from polypool.bench.suites import block, convolution, encoder
from polypool.bench.suites.case import Case


def cases() -> list[Case]:
    """All models."""
    return [*convolution.cases(), *block.cases(), *encoder.cases()]
