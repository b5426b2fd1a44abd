"""Mean and covariance of any number of vectors, in one pass and in memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from polypool import _checks

if TYPE_CHECKING:
    from polypool.text.encoder import TextEncoder

#: Rows that are widened to float64 at a time.
_ROWS = 4096


class Moments:
    """Number, mean and scatter of vectors, added to batch by batch and merged across processes, in float64.

    The scatter `sum (x - mean)(x - mean)^T` is kept around the mean of what has been seen and moved with it (Chan,
    Golub, LeVeque 1979), so that vectors far from 0 lose no digits. `C^2 + C` numbers in all.

    Attributes:
        n: How many vectors have been seen.
        mean: `(C,)` float64, on the CPU.
        scatter: `(C, C)` float64, on the CPU.

    Example:
        >>> import torch
        >>> from polypool.text import Moments
        >>> vectors = torch.randn(100, 3)
        >>> moments = Moments()
        >>> for batch in vectors.split(32):
        ...     _ = moments.update(batch)
        >>> torch.allclose(moments.covariance, vectors.double().T.cov(correction=0))
        True
    """

    def __init__(self) -> None:
        self.n = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self.scatter = torch.zeros(0, 0, dtype=torch.float64)

    @property
    def channels(self) -> int:
        """The numbers C in a vector; 0 before the first batch."""
        return self.mean.shape[0]

    @property
    def covariance(self) -> Tensor:
        """`(C, C)`, `E (x - mean)(x - mean)^T`, divided by n."""
        return self.scatter / max(self.n, 1)

    @property
    def second_moment(self) -> Tensor:
        """`(C, C)`, `E x x^T`: not centred."""
        return self.covariance + torch.outer(self.mean, self.mean)

    @torch.no_grad()
    def update(self, vectors: Any) -> Self:
        """Adds a batch of vectors.

        Args:
            vectors: `(N, C)` floating, a tensor or a numpy array; N may be 0.

        Raises:
            TypeError: The vectors are not floating.
            ValueError: The shape does not fit, or a vector holds NaN or inf; then nothing of the batch was added.
        """
        batch = torch.as_tensor(vectors)
        _checks.values(batch, "vectors", (2,), "(N, C)")
        if self.n and batch.shape[1] != self.channels:
            raise ValueError(
                f"vectors must have the {self.channels} channels of those before; found {batch.shape[1]}. "
                "Use one Moments for each encoder."
            )
        wrong = ~batch.isfinite().all(1)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise ValueError(
                f"vectors must be finite; found NaN or inf in row {row} of this batch, vector {self.n + row} of all. "
                "Leave it out or find out where it comes from."
            )
        for block in batch.split(_ROWS):
            self._add(_measured(block.detach().to("cpu", torch.float64)))
        return self

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets of vectors together. Exact, associative and commutative, to rounding.

        Raises:
            TypeError: `other` is no `Moments`.
            ValueError: The vectors of the two have different numbers of channels.
        """
        given: object = other
        if not isinstance(given, Moments):
            raise TypeError(f"other must be a Moments; found {type(given).__name__}. Pass vectors to update.")
        if self.n and other.n and self.channels != other.channels:
            raise ValueError(
                f"other must have {self.channels} channels; found {other.channels}. "
                "Use one Moments for each encoder."
            )
        both = Moments()
        both._add(self)
        both._add(other)
        return both

    def _add(self, other: Moments) -> None:
        if other.n == 0:
            return
        if self.n == 0:
            self.n, self.mean, self.scatter = other.n, other.mean.clone(), other.scatter.clone()
            return
        n = self.n + other.n
        apart = other.mean - self.mean
        self.scatter = self.scatter + other.scatter + torch.outer(apart, apart) * (self.n * other.n / n)
        self.mean = torch.lerp(self.mean, other.mean, other.n / n)
        self.n = n

    def __repr__(self) -> str:
        return f"Moments(n={self.n}, channels={self.channels})"


def fit_moments(encoder: TextEncoder, texts: Iterable[str], *, progress: bool | None = None) -> Moments:
    """Encodes texts and adds up the moments of their vectors; neither texts nor vectors are kept.

    Args:
        encoder: Gives the vectors, as its `encode` does, with everything that comes after its pooling.
        texts: Any number of texts; a generator is read once.
        progress: Whether to show a bar, as for `encode`.

    Raises:
        TypeError: A text is no string, or `texts` is one.
        ValueError: There is no text, a vector is not finite, or the encoder cuts its vectors with `truncate`.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be several texts; found one string. Pass [text].")
    if encoder.truncate is not None:
        raise ValueError(
            f"encoder.truncate must be None; found {encoder.truncate}. It cuts behind what is appended: use "
            "truncation(channels, dimensions) and append it."
        )
    moments = Moments()
    for vectors in encoder.stream(texts, progress=progress):
        moments.update(vectors)
    if moments.n == 0:
        raise ValueError("texts must hold at least one text; found none. A generator can be read only once.")
    return moments


def _measured(rows: Tensor) -> Moments:
    found = Moments()
    found.n = rows.shape[0]
    if found.n:
        found.mean = rows.mean(0)
        centred = rows - found.mean
        found.scatter = centred.T @ centred
    return found
