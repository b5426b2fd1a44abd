"""How much each place counts in windows and bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Counts = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Windows:
    """The windows of a torch layer along each spatial dimension; `mean` when a window shares 1 among its places."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    mean: bool = False
    count_include_pad: bool = False

    def counts(self, lengths: Sequence[int], results: Sequence[int]) -> Counts:
        """How much each place counts, along each dimension, in so many windows."""
        return tuple(
            relative(self._along(d, length, count))
            for d, (length, count) in enumerate(zip(lengths, results, strict=True))
        )

    def _along(self, d: int, length: int, count: int) -> list[float]:
        kernel, stride, padding, dilation = (
            sizes[d] for sizes in (self.kernel, self.stride, self.padding, self.dilation)
        )
        counted = [0.0] * length
        for o in range(count):
            start = o * stride - padding
            inside = [x for x in range(start, start + kernel * dilation, dilation) if 0 <= x < length]
            # torch counts the zeros that it adds, and nothing beyond them.
            among = min(start + kernel, length + padding) - start if self.count_include_pad else len(inside)
            for x in inside:
                counted[x] += 1 / among if self.mean else 1.0
        return counted


def binned(length: int, bins: int, mean: bool) -> tuple[float, ...]:
    """How much each place counts in the bins of torch's adaptive poolings, which share the places on their edges."""
    counted = [0.0] * length
    for i in range(bins):
        start, stop = i * length // bins, -(-(i + 1) * length // bins)
        for x in range(start, stop):
            counted[x] += 1 / (stop - start) if mean else 1.0
    return relative(counted)


def relative(counted: Sequence[float]) -> tuple[float, ...]:
    """With 1 as the average."""
    average = sum(counted) / max(len(counted), 1)
    return tuple(round(x / average, 6) if average else 0.0 for x in counted)
